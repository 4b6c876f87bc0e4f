//! Files and folders of the recipe into the tree.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

use kiln_model::action::{Download, FILES, LocalInput};
use kiln_model::fault::OrFault as _;
use kiln_model::{Digest, Fault, FaultKind, GuestPath};
use kiln_sandbox::{Command, Scratch};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use super::{Run, folder};
use crate::local::{self, Taker};
use crate::target::{Ids, Target};
use crate::upon;

impl Run<'_> {
    /// Copies what the plan pinned; a file that changed since is an error, not a surprise.
    pub fn copy(
        &self,
        to: &GuestPath,
        from: &LocalInput,
        mode: Option<u32>,
        ids: Ids,
        target: &Target,
    ) -> Result<(), Fault> {
        let path = self.loaded.folder.join(&from.path);
        let doing = || format!("copy `{}` to `{to}`", path.display());
        // The digest is of the bytes that were written: a look before or after could see others.
        let digest = local::take(&path, &mut Into { to, mode, ids, target }).fault(FaultKind::Recipe, doing)?;
        self.unchanged(&path, digest, from)
    }
}

impl Run<'_> {
    /// Copies the tree that is built upon; one that changed since is an error.
    pub fn tree(&self, from: &LocalInput, target: &Target) -> Result<(), Fault> {
        let path = self.loaded.folder.join(&from.path);
        let doing = || format!("copy the tree `{}`", path.display());
        let tree = upon::read(&path, self.loaded.completed.spec.base.family).fault(FaultKind::Recipe, doing)?;
        folder::fill(&tree, target.root()).fault(FaultKind::Recipe, doing)?;
        let digest = upon::digest(&tree).fault(FaultKind::Recipe, doing)?;
        match upon::unmapped(&tree).filter(|_| digest != from.digest) {
            Some(name) => {
                Err(Fault::recipe(format!("`{name}` belongs to an account that you have no subordinate id for"))
                    .hint("build as root, or make a copy of the tree that is yours")
                    .doing(doing()))
            }
            None => self.unchanged(&path, digest, from),
        }
    }

    /// Lends a command a copy of a folder of the recipe: with the permissions that the plan's digest covers, root's, all of one time. One
    /// that is not as the plan pinned it is an error.
    pub fn with_files(
        &self,
        from: &LocalInput,
        command: Command,
        run: impl FnOnce(Command) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let path = self.loaded.folder.join(&from.path);
        let scratch = Scratch::new(&self.kiln.config.cache.join("scratch"), "files")?;
        let doing = || format!("copy `{}` for a script", path.display());
        let target = Target::open(scratch.path()).farm(doing)?;
        let copy = kiln_plan::context::path("/files");
        let mut into = Into { to: &copy, mode: None, ids: Ids::default(), target: &target };
        let digest = local::take(&path, &mut into).fault(FaultKind::Recipe, doing)?;
        self.unchanged(&path, digest, from)?;
        let copy = copy.under(scratch.path());
        all_of(&copy, self.plan.epoch).farm(doing)?;
        run(command.bind(copy, kiln_plan::context::path(FILES), true))
    }

    /// Writes a file of the network as the lock pins it, from the cache where it is there.
    pub fn put_download(
        &self,
        to: &GuestPath,
        from: &Download,
        mode: u32,
        ids: Ids,
        target: &Target,
    ) -> Result<(), Fault> {
        let blob = self.download(from)?;
        let copy = || {
            let mut pending = target.create(to, mode, ids)?;
            io::copy(&mut File::open(&blob)?, &mut pending.file)?;
            pending.finish()
        };
        copy().farm(|| format!("write `{to}` in the tree"))
    }

    fn unchanged(&self, path: &Path, digest: Digest, from: &LocalInput) -> Result<(), Fault> {
        if digest == from.digest {
            return Ok(());
        }
        let what = format!("`{}` changed while the build ran", path.display());
        Err(Fault::recipe(what).hint("build again"))
    }
}

/// Gives a file or folder, and all that is in it, this time, in seconds since 1970.
fn all_of(path: &Path, epoch: i64) -> io::Result<()> {
    if path.symlink_metadata()?.is_dir() {
        for entry in fs::read_dir(path)? {
            all_of(&entry?.path(), epoch)?;
        }
    }
    let time = Timespec { tv_sec: epoch, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Puts what is read below a place in the tree. A folder's files keep their permissions; `mode` is for what is at the top.
struct Into<'a> {
    to: &'a GuestPath,
    mode: Option<u32>,
    ids: Ids,
    target: &'a Target,
}

impl Into<'_> {
    fn place(&self, at: &Path) -> io::Result<GuestPath> {
        let names = at.components().map(Component::as_os_str);
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
        names.into_iter().try_fold(self.to.clone(), |to, name| to.join(name.as_bytes()).map_err(invalid))
    }

    fn mode(&self, at: &Path, own: u32) -> u32 {
        self.mode.filter(|_| at.as_os_str().is_empty()).unwrap_or(own)
    }
}

impl Taker for Into<'_> {
    fn folder(&mut self, at: &Path) -> io::Result<()> {
        self.target.mkdir(&self.place(at)?, self.mode(at, 0o755), self.ids)
    }

    fn link(&mut self, at: &Path, target: &[u8]) -> io::Result<()> {
        self.target.symlink(&self.place(at)?, target, self.ids)
    }

    fn file(&mut self, at: &Path, mode: u32, bytes: &mut dyn io::Read) -> io::Result<()> {
        let mut pending = self.target.create(&self.place(at)?, self.mode(at, mode), self.ids)?;
        io::copy(bytes, &mut pending.file)?;
        pending.finish()
    }
}
