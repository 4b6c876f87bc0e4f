//! What all threads see.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use kiln_family::deb::install::replaces::Claimant;
use kiln_model::GuestPath;
use rustix::fs::{AtFlags, Mode, OFlags, open, readlinkat, symlinkat, utimensat};
use rustix::io::Errno;

use super::Options;
use super::claims::Claims;
use super::directories::{Directories, times};
use super::error::Error;
use super::existing::Existing;
use super::handles::Handles;

/// The tree and everything the threads agree on.
pub struct Shared {
    root: OwnedFd,
    pub options: Options,
    pub existing: Existing,
    pub claims: Claims,
    pub directories: Directories,
    /// Files written beside their places until every archive was read.
    pub waiting: Mutex<Vec<Waiting>>,
    /// Paths to take out of the file list of the package filed under the name.
    pub lost: Mutex<Vec<(String, GuestPath)>>,
    /// Bits of a mode that the process's umask takes away from new files.
    pub umask: u32,
    pub stop: AtomicBool,
    counter: AtomicU64,
}

/// A file whose place another package had claimed.
pub struct Waiting {
    pub written: GuestPath,
    pub place: GuestPath,
    pub package: Arc<Claimant>,
    /// Whether it must equal what is in the place, instead of replacing it.
    pub compare: bool,
}

impl Shared {
    pub fn open(root: &Path, options: &Options) -> Result<Self, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = open(root, flags, Mode::empty());
        Ok(Self {
            root: handle.map_err(|errno| Error::tree("open", &GuestPath::root(), errno))?,
            existing: if options.bare || options.base { Existing::default() } else { Existing::read(root)? },
            options: options.clone(),
            claims: Claims::new(),
            directories: Directories::default(),
            waiting: Mutex::default(),
            lost: Mutex::default(),
            umask: umask(),
            stop: AtomicBool::new(false),
            counter: AtomicU64::new(0),
        })
    }

    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Makes the links of a merged `/usr`, and the directories they point at.
    pub fn make_links(&self) -> Result<(), Error> {
        let mut handles = Handles::new(self);
        for (path, target) in &self.options.merged_usr {
            let failed = |errno| Error::tree("make the link", path, errno);
            if let Ok(target) = GuestPath::new(target) {
                handles.directory(&target)?;
            }
            let folder = handles.parent(path)?;
            match symlinkat(target.as_str(), &folder, path.name()) {
                Ok(()) => utimensat(&folder, path.name(), &times(self.options.epoch), AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(failed)?,
                Err(Errno::EXIST)
                    if readlinkat(&folder, path.name(), Vec::new())
                        .is_ok_and(|found| found.as_bytes() == target.as_bytes()) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        Ok(())
    }

    /// Returns the path with the links of a merged `/usr` followed, so that `/lib/x` and `/usr/lib/x` are one.
    pub fn canonical(&self, path: &GuestPath) -> GuestPath {
        for (link, target) in &self.options.merged_usr {
            if path != link && path.is_under(link) {
                let rest = &path.as_bytes()[link.as_bytes().len()..];
                return GuestPath::new([target.as_bytes(), rest].concat()).unwrap_or_else(|_| path.clone());
            }
        }
        path.clone()
    }

    /// Returns an unused name beside `path`.
    pub fn beside(&self, path: &GuestPath) -> Result<GuestPath, Error> {
        let name = format!(".kiln-{}", self.counter.fetch_add(1, Ordering::Relaxed));
        let folder = path.parent().unwrap_or_else(GuestPath::root);
        folder.join(name).map_err(|error| Error::Package(error.into()))
    }

    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Reads the umask without changing it; when `/proc` does not say, every mode is set explicitly.
fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok()).unwrap_or(0o777)
}
