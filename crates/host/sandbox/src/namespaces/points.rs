//! Mount points in the tree: made when missing, and those for binds taken away again.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use rustix::fs::{flock, fstat, futimens, openat2, unlinkat};
use rustix::mount::{UnmountFlags, unmount};

use crate::error::Doing;
use crate::{Bind, Command, Result};

const ALWAYS: [&str; 5] = ["/proc", "/sys", "/dev", "/run", "/tmp"];

/// What was made for binds, in the order it was made.
pub(super) struct Points {
    /// The tree as a mount of its own, on which nothing else is mounted.
    behind: OwnedFd,
    /// A shared lock on the tree's `/proc`: removing a directory takes off what others have mounted on it.
    shared: OwnedFd,
    made: Vec<(PathBuf, bool)>,
}

impl Points {
    /// Whether a tree has every mount point that a command needs.
    pub(super) fn are_there(tree: &OwnedFd, command: &Command) -> bool {
        let there = |path: &Path| {
            openat2(tree, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT).is_ok()
        };
        let mut binds = command.binds.iter().filter(|bind| !in_memory(bind));
        ALWAYS.iter().all(|directory| there(Path::new(directory)))
            && binds.all(|bind| there(&bind.guest.under(Path::new("/"))))
    }

    /// Makes the mount points that are missing; the process's root is the tree. `directories` says of each bind whether it
    /// is a directory: the host is out of sight.
    pub(super) fn make(behind: OwnedFd, command: &Command, directories: &[bool]) -> Result<Self> {
        for directory in ALWAYS {
            make(Path::new(directory), true, &mut Vec::new()).doing(|| format!("make `{directory}` in the tree"))?;
        }
        let shared = share(&behind).doing(|| "lock the tree".into())?;
        let mut points = Self { behind, shared, made: Vec::new() };
        for (bind, directory) in command.binds.iter().zip(directories).filter(|(bind, _)| !in_memory(bind)) {
            let guest = bind.guest.under(Path::new("/"));
            make(&guest, *directory, &mut points.made).doing(|| format!("make `{}` in the tree", bind.guest))?;
        }
        Ok(points)
    }

    /// Makes those that lie on the file systems in memory, which need not be taken away.
    pub(super) fn make_in_memory(command: &Command, directories: &[bool]) -> Result<()> {
        for (bind, directory) in command.binds.iter().zip(directories).filter(|(bind, _)| in_memory(bind)) {
            let guest = bind.guest.under(Path::new("/"));
            make(&guest, *directory, &mut Vec::new()).doing(|| format!("make `{}`", bind.guest))?;
        }
        Ok(())
    }

    /// Takes away what was made, innermost first. What the program has filled stays; so does everything while another
    /// command runs in the same tree.
    pub(super) fn remove(self) {
        if self.made.is_empty() || flock(&self.shared, FlockOperation::NonBlockingLockExclusive).is_err() {
            return;
        }
        for (path, directory) in self.made.iter().rev() {
            while unmount(path, UnmountFlags::DETACH).is_ok() {}
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
            let parent = parent.strip_prefix("/").unwrap_or(parent);
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let Ok(parent) = openat2(&self.behind, parent, flags, Mode::empty(), ResolveFlags::IN_ROOT) else {
                continue;
            };
            let flags = if *directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
            let _ = keeping_times(&parent, || Ok(unlinkat(&parent, name, flags)?));
        }
    }
}

fn in_memory(bind: &Bind) -> bool {
    let guest = bind.guest.under(Path::new("/"));
    ["/run", "/tmp", "/dev"].iter().any(|memory| guest.starts_with(memory))
}

fn make(path: &Path, directory: bool, made: &mut Vec<(PathBuf, bool)>) -> io::Result<()> {
    if fs::metadata(path).is_ok() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make(parent, true, made)?;
    }
    let create = || if directory { fs::create_dir(path) } else { fs::File::create_new(path).map(drop) };
    let result = match path.parent().map(fs::File::open).transpose()? {
        Some(parent) => keeping_times(parent, create),
        None => create(),
    };
    match result {
        Ok(()) => made.push((path.into(), directory)),
        // Another command in the same tree was faster; a link that leads nowhere is an error all the same.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && fs::metadata(path).is_ok() => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Does something to a directory that shall not show in its times.
fn keeping_times<T>(directory: impl AsFd, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let before = fstat(&directory)?;
    let done = work()?;
    let time = |tv_sec, tv_nsec: u64| Timespec { tv_sec, tv_nsec: tv_nsec as i64 };
    let times = Timestamps {
        last_access: time(before.st_atime, before.st_atime_nsec),
        last_modification: time(before.st_mtime, before.st_mtime_nsec),
    };
    futimens(&directory, &times)?;
    Ok(done)
}

fn share(tree: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = openat2(tree, "proc", flags, Mode::empty(), ResolveFlags::IN_ROOT)?;
    rustix::io::retry_on_intr(|| flock(&proc, FlockOperation::LockShared))?;
    Ok(proc)
}
