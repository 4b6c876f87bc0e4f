//! Directories that packages ship together: made at once, given their looks when everything is in them.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kiln_family::deb::install::replaces::Claimant;
use kiln_model::GuestPath;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::fs::{chmodat, chownat, openat, statat, utimensat};
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

/// By device and inode.
type ByIdentity = BTreeMap<(u64, u64), (GuestPath, Directory)>;

#[derive(Default)]
struct Directory {
    /// Whether it was not in the tree before.
    made: bool,
    /// The looks that the package of the lowest rank gives it.
    shipped: Option<(Arc<Claimant>, Looks)>,
}

impl Directory {
    /// Notes looks, which count where no package of a lower rank gave others.
    fn ship(&mut self, claimant: Arc<Claimant>, looks: Looks) {
        if self.shipped.as_ref().is_none_or(|(other, _)| claimant.rank() < other.rank()) {
            self.shipped = Some((claimant, looks));
        }
    }

    /// Takes up what is known of the same directory by another path.
    fn merge(&mut self, other: Self) {
        self.made |= other.made;
        if let Some((claimant, looks)) = other.shipped {
            self.ship(claimant, looks);
        }
    }
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
        all.entry(path.clone()).or_default().ship(Arc::clone(claimant), looks);
        known
    }

    /// Gives every directory its looks: those that were made, and `all` of them in a base. Those that nobody ships keep
    /// mode 0755 and get the time `epoch`.
    pub fn dress(&self, handles: &mut Handles<'_>, epoch: i64, umask: u32, all: bool) -> Result<(), Error> {
        for (path, directory) in self.real(handles)?.values().filter(|(_, directory)| directory.made || all) {
            let plain = Looks { mode: 0o755, uid: 0, gid: 0, mtime: epoch };
            let looks = directory.shipped.as_ref().map_or(plain, |(_, looks)| *looks);
            let fresh = directory.made && all;
            dress(handles, path, looks, fresh)?;
            if !fresh || looks.mode != 0o755 || umask & 0o755 != 0 {
                chmod(handles, path, looks.mode)?;
            }
        }
        Ok(())
    }

    /// Takes the directories out, each once, though several paths may lead to it through links. A path that is itself a
    /// link is left alone with what it leads to, as dpkg does.
    fn real(&self, handles: &mut Handles<'_>) -> Result<ByIdentity, Error> {
        let (taken, mut real) = (std::mem::take(&mut *self.all()), BTreeMap::<_, (GuestPath, Directory)>::new());
        let mut sorted: Vec<_> = taken.into_iter().collect();
        sorted.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (path, directory) in sorted {
            let (folder, name) = place(handles, &path)?;
            let failed = |errno| Error::tree("look at", &path, errno);
            let found = statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
            if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
                continue;
            }
            match real.entry((found.st_dev, found.st_ino)) {
                Entry::Vacant(entry) => drop(entry.insert((path, directory))),
                Entry::Occupied(mut entry) => entry.get_mut().1.merge(directory),
            }
        }
        Ok(real)
    }

    fn all(&self) -> MutexGuard<'_, HashMap<GuestPath, Directory>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives a name, which may be a link, its owner and time.
///
/// `fresh` names were made by this run in a tree of its own, so they belong to root already.
pub fn dress(handles: &mut Handles<'_>, path: &GuestPath, looks: Looks, fresh: bool) -> Result<(), Error> {
    let (folder, name) = place(handles, path)?;
    let failed = |errno| Error::tree("set owner and time of", path, errno);
    if !fresh || (looks.uid, looks.gid) != (0, 0) {
        let owner = (Some(Uid::from_raw(looks.uid)), Some(Gid::from_raw(looks.gid)));
        chownat(&folder, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
    }
    utimensat(&folder, name, &times(looks.mtime), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)
}

/// Gives a directory its mode. It is opened first: `chmodat` would follow a link, and on the host's terms.
fn chmod(handles: &mut Handles<'_>, path: &GuestPath, mode: u32) -> Result<(), Error> {
    let (folder, name) = place(handles, path)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = openat(&folder, name, flags, Mode::empty());
    directory
        .and_then(|directory| chmodat(&directory, ".", Mode::from_raw_mode(mode), AtFlags::empty()))
        .map_err(|errno| Error::tree("set the mode of", path, errno))
}

/// Returns the directory a path lies in, and its name there.
fn place<'p>(handles: &mut Handles<'_>, path: &'p GuestPath) -> Result<(Rc<OwnedFd>, &'p [u8]), Error> {
    match path.parent() {
        Some(parent) => Ok((handles.directory(&parent)?, path.name())),
        None => Ok((handles.directory(path)?, b".")),
    }
}

/// Returns one time for access and modification.
pub fn times(mtime: i64) -> Timestamps {
    let time = Timespec { tv_sec: mtime, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}
