//! Reading a layer's folder into a manifest, several folders at once.
//!
//! Each folder is opened once, its names are looked at relative to it, and it is closed before the folders inside are
//! visited: so few files are open however deep the tree is.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use kiln_model::{GuestPath, StageId};
use rayon::prelude::*;
use rustix::fs::{AtFlags, Mode, OFlags, RawDir, Statx, StatxFlags};
use rustix::io::Errno;

use crate::manifest::kind;
use crate::{Error, Fingerprint, Item, Manifest, Mark, Result};

/// A manifest and what the layer takes on disk.
pub(crate) struct Scanned {
    pub manifest: Manifest,
    /// Bytes on disk, each inode once.
    pub bytes: u64,
}

/// An item and its blocks of 512 bytes.
type Found = (Item, u64);

/// Reads the whole layer at `root`.
pub(crate) fn scan(stage: StageId, root: &Path) -> Result<Scanned> {
    let scan = Scan { stage, root };
    let stat = statx(rustix::fs::CWD, root.as_os_str().as_bytes()).map_err(Error::io("look at", root))?;
    let mut found = vec![scan.item(GuestPath::root(), &stat, Vec::new())?];
    found.append(&mut scan.folder(&GuestPath::root())?);
    let mut seen = HashSet::new();
    let first = |(item, _): &&Found| item.links == 1 || item.is_dir() || seen.insert(item.print.inode);
    let bytes = found.iter().filter(first).map(|(_, blocks)| blocks * 512).sum();
    let items = found.into_iter().map(|(item, _)| item).collect();
    Ok(Scanned { manifest: Manifest { stage, root: root.to_owned(), items }, bytes })
}

/// Reads any folder as a tree: every name in it with owners, modes, times, links and extended attributes.
///
/// On one thread, which is gone afterwards: a process that will be forked has none of rayon's.
pub fn tree(folder: &Path) -> Result<kiln_model::Tree> {
    let scan = || scan(StageId(kiln_model::Digest::of("")), folder);
    let alone = || match rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build() {
        Ok(pool) => pool.install(scan),
        Err(error) => Err(Error::io("list", folder)(std::io::Error::other(error))),
    };
    let scanned = std::thread::scope(|scope| scope.spawn(alone).join().expect("a scan does not panic"))?;
    Ok(crate::merge(&[&scanned.manifest]))
}

struct Scan<'a> {
    stage: StageId,
    root: &'a Path,
}

impl Scan<'_> {
    /// Returns everything below a folder, in the order of a tree.
    fn folder(&self, path: &GuestPath) -> Result<Vec<Found>> {
        let host = path.under(self.root);
        let doing = |error: Errno| Error::io("list", &host)(error);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::open(&host, flags, Mode::empty()).map_err(doing)?;
        let mut names = names(&folder).map_err(doing)?;
        names.sort_unstable();
        let items: Vec<Found> = names.iter().map(|name| self.name(&folder, path, name)).collect::<Result<_>>()?;
        drop(folder);
        self.descend(items)
    }

    /// Puts behind every folder what it holds.
    fn descend(&self, items: Vec<Found>) -> Result<Vec<Found>> {
        if !items.iter().any(|(item, _)| item.is_dir()) {
            return Ok(items);
        }
        let below: Vec<Vec<Found>> = items
            .par_iter()
            .map(|(item, _)| if item.is_dir() { self.folder(&item.path) } else { Ok(Vec::new()) })
            .collect::<Result<_>>()?;
        let mut all = Vec::with_capacity(items.len() + below.iter().map(Vec::len).sum::<usize>());
        for (item, mut inside) in items.into_iter().zip(below) {
            all.push(item);
            all.append(&mut inside);
        }
        Ok(all)
    }

    fn name(&self, folder: &OwnedFd, parent: &GuestPath, name: &[u8]) -> Result<Found> {
        let path = parent.join(name).map_err(|source| Error::BadName { stage: self.stage, source })?;
        let doing = |error: Errno| Error::io("look at", path.under(self.root))(error);
        let stat = statx(folder, name).map_err(doing)?;
        let target = match u32::from(stat.stx_mode) & kind::MASK {
            kind::SYMLINK => rustix::fs::readlinkat(folder, name, Vec::new()).map_err(doing)?.into_bytes(),
            _ => Vec::new(),
        };
        self.item(path, &stat, target)
    }

    fn item(&self, path: GuestPath, stat: &Statx, target: Vec<u8>) -> Result<Found> {
        let device = (stat.stx_rdev_major, stat.stx_rdev_minor);
        let mode = u32::from(stat.stx_mode);
        let (mut mark, mut xattrs) = (Mark::Plain, BTreeMap::new());
        if mode & kind::MASK == kind::CHAR && device == (0, 0) {
            mark = Mark::Whiteout;
        } else {
            let found =
                xattrs_of(&path.under(self.root)).map_err(Error::io("read attributes of", path.under(self.root)))?;
            (mark, xattrs) = self.sort_out(&path, mark, found)?;
        }
        let (uid, gid, links) = (stat.stx_uid, stat.stx_gid, stat.stx_nlink);
        let item = Item { path, mark, mode, uid, gid, links, print: print(stat), device, target, xattrs };
        Ok((item, stat.stx_blocks))
    }

    /// Takes the attributes of overlayfs out and reads what they mean.
    fn sort_out(&self, path: &GuestPath, mut mark: Mark, found: Xattrs) -> Result<(Mark, Xattrs)> {
        let mut kept = BTreeMap::new();
        for (name, value) in found {
            match name.strip_prefix("user.overlay.").or(name.strip_prefix("trusted.overlay.")) {
                Some("opaque") if value == b"y" => mark = Mark::Opaque,
                Some("whiteout") => mark = Mark::Whiteout,
                Some("redirect" | "metacopy") => {
                    return Err(Error::Refers { stage: self.stage, path: path.clone(), xattr: name });
                }
                Some(_) => {}
                // The label of the host's own policy, which the host gives to every file.
                None if name == "security.selinux" => {}
                None => drop(kept.insert(name, value)),
            }
        }
        Ok((mark, kept))
    }
}

/// Looks at a name without following it.
pub(crate) fn statx(folder: impl std::os::fd::AsFd, name: &[u8]) -> Result<Statx, Errno> {
    rustix::fs::statx(folder, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS)
}

/// Returns the fingerprint in a `statx` answer.
pub(crate) fn print(stat: &Statx) -> Fingerprint {
    Fingerprint {
        size: stat.stx_size,
        inode: stat.stx_ino,
        mtime: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
        ctime: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
    }
}

fn names(folder: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut buffer = Vec::with_capacity(32 * 1024);
    let mut names = Vec::new();
    let mut list = RawDir::new(folder, buffer.spare_capacity_mut());
    while let Some(entry) = list.next() {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    Ok(names)
}

type Xattrs = BTreeMap<String, Vec<u8>>;

/// Reads the extended attributes of what `path` names, symbolic links not followed.
fn xattrs_of(path: &PathBuf) -> Result<Xattrs, Errno> {
    let mut list = [0_u8; 1024];
    let names = match rustix::fs::llistxattr(path, &mut list) {
        Ok(0) | Err(Errno::NOTSUP) => return Ok(BTreeMap::new()),
        Ok(count) => list[..count].to_vec(),
        Err(Errno::RANGE) => long_list(path)?,
        Err(error) => return Err(error),
    };
    let names = names.split(|&byte| byte == 0).filter(|name| !name.is_empty());
    names.map(|name| Ok((String::from_utf8_lossy(name).into_owned(), value(path, name)?))).collect()
}

/// The kernel's own bound on a list of names, and on a value.
const LARGEST: usize = 64 * 1024;

fn long_list(path: &PathBuf) -> Result<Vec<u8>, Errno> {
    let mut list = vec![0; LARGEST];
    let count = rustix::fs::llistxattr(path, &mut list)?;
    list.truncate(count);
    Ok(list)
}

fn value(path: &PathBuf, name: &[u8]) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0; LARGEST];
    let count = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value)?;
    value.truncate(count);
    Ok(value)
}
