//! Directories that packages ship together: made at once, given their looks when everything is in them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kiln_family::deb::install::replaces::Claimant;
use kiln_model::GuestPath;
use rustix::fs::{AtFlags, Mode, Timespec, Timestamps, chmodat, chownat, utimensat};
use rustix::process::{Gid, Uid};

use super::error::Error;
use super::handles::Handles;

/// Mode, owner and time of a directory.
#[derive(Clone, Copy, Debug)]
pub struct Looks {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: i64,
}

#[derive(Default)]
struct Directory {
    /// Whether it was not in the tree before.
    made: bool,
    /// The looks that the package of the lowest rank gives it.
    shipped: Option<(Arc<Claimant>, Looks)>,
}

/// Every directory met so far, by its path without links.
#[derive(Default)]
pub struct Directories(Mutex<HashMap<GuestPath, Directory>>);

impl Directories {
    pub fn made(&self, path: GuestPath) {
        self.all().entry(path).or_default().made = true;
    }

    pub fn was_made(&self, path: &GuestPath) -> bool {
        self.all().get(path).is_some_and(|directory| directory.made)
    }

    /// Notes that a package ships a directory, and returns whether it was known already.
    pub fn ship(&self, path: &GuestPath, claimant: &Arc<Claimant>, looks: Looks) -> bool {
        let mut all = self.all();
        let known = all.contains_key(path);
        let directory = all.entry(path.clone()).or_default();
        if directory.shipped.as_ref().is_none_or(|(other, _)| claimant.rank() < other.rank()) {
            directory.shipped = Some((Arc::clone(claimant), looks));
        }
        known
    }

    /// Gives every directory its looks: those that were made, and `all` of them in a base. Those that nobody ships keep
    /// mode 0755 and get the time `epoch`.
    pub fn dress(&self, handles: &mut Handles<'_>, epoch: i64, umask: u32, all: bool) -> Result<(), Error> {
        for (path, directory) in self.all().iter().filter(|(_, directory)| directory.made || all) {
            let plain = Looks { mode: 0o755, uid: 0, gid: 0, mtime: epoch };
            let looks = directory.shipped.as_ref().map_or(plain, |(_, looks)| *looks);
            let fresh = directory.made && all;
            dress(handles, path, looks, !fresh || looks.mode != 0o755 || umask & 0o755 != 0, fresh)?;
        }
        Ok(())
    }

    fn all(&self) -> MutexGuard<'_, HashMap<GuestPath, Directory>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives a name owner and time, and its mode where `mode` says so (links have none).
///
/// `fresh` names were made by this run in a tree of its own, so they belong to root already.
pub fn dress(handles: &mut Handles<'_>, path: &GuestPath, looks: Looks, mode: bool, fresh: bool) -> Result<(), Error> {
    let (folder, name) = match path.parent() {
        Some(_) => (handles.parent(path)?, path.name()),
        None => (handles.directory(path)?, b".".as_slice()),
    };
    let failed = |errno| Error::tree("set mode, owner and time of", path, errno);
    if !fresh || (looks.uid, looks.gid) != (0, 0) {
        let owner = (Some(Uid::from_raw(looks.uid)), Some(Gid::from_raw(looks.gid)));
        chownat(&folder, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
    }
    if mode {
        chmodat(&folder, name, Mode::from_raw_mode(looks.mode), AtFlags::empty()).map_err(failed)?;
    }
    utimensat(&folder, name, &times(looks.mtime), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)
}

/// Returns one time for access and modification.
pub fn times(mtime: i64) -> Timestamps {
    let time = Timespec { tv_sec: mtime, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}
