//! Scratch directories that do not outlive kiln, however it ends.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::Result;
use crate::error::Doing;
use crate::janitor::{Janitor, remove};

const ENDING: &str = "scratch";

/// A directory that is removed on drop, by the janitor when kiln is killed, or by the next [`sweep`].
///
/// Its owner holds a lock on it, which ends with the owner: that is how a sweep tells what is abandoned.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    lock: Option<File>,
}

impl Scratch {
    /// Makes `parent/name.<unique>.scratch`, which only its owner can enter; `parent` is made when missing.
    ///
    /// Works before [`enter`](crate::enter) too, only that a kill then leaves the directory to the next [`sweep`].
    pub fn new(parent: &Path, name: &str) -> Result<Self> {
        let doing = || format!("make a scratch directory in `{}`", parent.display());
        fs::create_dir_all(parent).doing(doing)?;
        let parent = parent.canonicalize().doing(doing)?;
        // A sweep must not see the directory between its making and its locking.
        let _quiet = lock(&parent, FlockOperation::LockShared).doing(doing)?;
        let path = parent.join(unique(name).doing(doing)?);
        if let Some(janitor) = Janitor::get() {
            janitor.guard(&path)?;
        }
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        let locked = made.and_then(|()| lock(&path, FlockOperation::NonBlockingLockExclusive)).doing(doing)?;
        Ok(Self { path, lock: Some(locked) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps the directory under a name that no sweep removes and returns its new path; unmount what is in it first.
    pub fn keep(mut self) -> Result<PathBuf> {
        let kept = self.path.with_extension("kept");
        fs::rename(&self.path, &kept).doing(|| format!("keep `{}`", self.path.display()))?;
        forget(&self.path);
        self.lock = None;
        Ok(kept)
    }

    /// Removes the directory now and tells when that failed.
    pub fn remove(mut self) -> Result<()> {
        self.take_away()
    }

    fn take_away(&mut self) -> Result<()> {
        let Some(_lock) = self.lock.take() else { return Ok(()) };
        remove(&self.path).doing(|| format!("remove `{}`", self.path.display()))?;
        forget(&self.path);
        Ok(())
    }
}

impl Drop for Scratch {
    /// What cannot be removed now the janitor tries again at the end.
    fn drop(&mut self) {
        let _ = self.take_away();
    }
}

fn forget(path: &Path) {
    if let Some(janitor) = Janitor::get() {
        let _ = janitor.forget(path);
    }
}

/// Returns a name that nobody has, chance included: process ids repeat, in containers above all, and the janitor removes what
/// is announced to it whoever made it.
fn unique(name: &str) -> io::Result<String> {
    let mut chance = [0; 8];
    rustix::rand::getrandom(&mut chance, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!("{name}.{}-{:016x}.{ENDING}", std::process::id(), u64::from_le_bytes(chance)))
}

fn lock(directory: &Path, how: FlockOperation) -> io::Result<File> {
    let file = File::open(directory)?;
    rustix::io::retry_on_intr(|| flock(&file, how))?;
    Ok(file)
}

/// Has the janitor remove `tree` when kiln is killed; for a folder that somebody else makes and removes otherwise.
///
/// Without effect before [`enter`](crate::enter).
pub fn guard(tree: &Path) -> Result<()> {
    Janitor::get().map_or(Ok(()), |janitor| janitor.guard(tree))
}

/// Removes the scratch directories under `parent` whose owners are gone; returns how many.
///
/// Files of subordinate ids can only be removed after [`enter`](crate::enter).
pub fn sweep(parent: &Path) -> Result<usize> {
    let doing = || format!("sweep `{}`", parent.display());
    if !parent.exists() {
        return Ok(0);
    }
    let _alone = lock(parent, FlockOperation::LockExclusive).doing(doing)?;
    let mut count = 0;
    for entry in fs::read_dir(parent).doing(doing)? {
        let path = entry.doing(doing)?.path();
        if path.extension().is_some_and(|ending| ending == ENDING) && abandoned(&path) {
            remove(&path).doing(|| format!("remove `{}`", path.display()))?;
            count += 1;
        }
    }
    Ok(count)
}

fn abandoned(path: &Path) -> bool {
    let real = path.symlink_metadata().is_ok_and(|data| data.is_dir());
    real && lock(path, FlockOperation::NonBlockingLockExclusive).is_ok()
}
