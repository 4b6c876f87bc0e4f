//! Filesystems inside bytes: what a reader of one must tell, and the walk that makes a tree of it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::Path;

use kiln_model::tree::{Body, Place};
use kiln_model::{Digest, Entry, GuestPath, Kind};
use sha2::{Digest as _, Sha256};

/// A filesystem that can be read.
pub(super) trait Filesystem {
    /// Returns the handle of the root directory.
    fn root(&self) -> u64;

    fn inode(&self, handle: u64) -> io::Result<Inode>;

    /// Returns names and handles of what a directory holds, without `.` and `..`, in any order.
    fn children(&self, dir: &Inode) -> io::Result<Vec<(Vec<u8>, u64)>>;

    /// Hands on a file's bytes from the first to the last.
    fn content(&self, file: &Inode, sink: &mut dyn FnMut(&[u8])) -> io::Result<()>;
}

/// A file of any type, as its filesystem keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Inode {
    pub handle: u64,
    /// File type and permissions as in stat(2).
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: i64,
    pub links: u32,
    /// Bytes of the content, of a symbolic link's target too.
    pub size: u64,
    pub major: u32,
    pub minor: u32,
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

impl Inode {
    pub fn is_dir(&self) -> bool {
        self.mode & 0o170_000 == 0o040_000
    }

    /// Sets the device numbers from the kernel's 32-bit form.
    pub fn device(&mut self, dev: u32) {
        self.major = (dev >> 8) & 0xfff;
        self.minor = (dev & 0xff) | ((dev >> 12) & 0xfff00);
    }
}

/// Returns an error for bytes that cannot be what they should be.
pub(super) fn broken(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// Returns the handle of the file at `path` without following links; none when it is not there.
pub(super) fn lookup(fs: &dyn Filesystem, path: &GuestPath) -> io::Result<Option<Inode>> {
    let mut inode = fs.inode(fs.root())?;
    for name in path.relative().split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        if !inode.is_dir() {
            return Ok(None);
        }
        let Some((_, child)) = fs.children(&inode)?.into_iter().find(|(known, _)| known == name) else {
            return Ok(None);
        };
        inode = fs.inode(child)?;
    }
    Ok(Some(inode))
}

/// Returns a file's whole content; refuses more than 256 MiB.
pub(super) fn read(fs: &dyn Filesystem, file: &Inode) -> io::Result<Vec<u8>> {
    if file.size > 256 << 20 {
        return Err(broken(format!("a file of {} bytes is too large to keep", file.size)));
    }
    let mut bytes = Vec::with_capacity(file.size as usize);
    fs.content(file, &mut |piece| bytes.extend_from_slice(piece))?;
    Ok(bytes)
}

/// Returns every file of a filesystem, placed below `at`, with the digest of its content; what `keep` names is kept inline.
pub(super) fn walk(
    fs: &dyn Filesystem,
    at: &GuestPath,
    artifact: &Path,
    keep: &dyn Fn(&GuestPath) -> bool,
) -> io::Result<Vec<Entry>> {
    let mut walk = Walk { fs, artifact, keep, entries: Vec::new(), seen: HashMap::new(), open: HashSet::new() };
    walk.visit(at.clone(), fs.root())?;
    Ok(walk.entries)
}

struct Walk<'a> {
    fs: &'a dyn Filesystem,
    artifact: &'a Path,
    keep: &'a dyn Fn(&GuestPath) -> bool,
    entries: Vec<Entry>,
    /// Files with more than one name, by handle: the name that came first.
    seen: HashMap<u64, GuestPath>,
    /// Directories met so far: a second time is a loop.
    open: HashSet<u64>,
}

impl Walk<'_> {
    fn visit(&mut self, path: GuestPath, handle: u64) -> io::Result<()> {
        let inode = self.fs.inode(handle)?;
        let kind = self.kind(&path, &inode)?;
        let Inode { mode, uid, gid, mtime, .. } = inode;
        let xattrs = inode.xattrs.clone();
        self.entries.push(Entry { path: path.clone(), mode: mode & 0o7777, uid, gid, mtime, xattrs, kind });
        if !inode.is_dir() {
            return Ok(());
        }
        if !self.open.insert(handle) {
            return Err(broken(format!("the directory `{path}` holds itself")));
        }
        let mut children = self.fs.children(&inode)?;
        children.sort_unstable();
        for (name, child) in children {
            let path = path.join(&name).map_err(|error| broken(error.to_string()))?;
            self.visit(path, child)?;
        }
        Ok(())
    }

    fn kind(&mut self, path: &GuestPath, inode: &Inode) -> io::Result<Kind> {
        if !inode.is_dir() && inode.links > 1 {
            if let Some(first) = self.seen.get(&inode.handle) {
                return Ok(Kind::Hardlink(first.clone()));
            }
            self.seen.insert(inode.handle, path.clone());
        }
        let (major, minor) = (inode.major, inode.minor);
        Ok(match inode.mode & 0o170_000 {
            0o040_000 => Kind::Dir,
            0o100_000 => Kind::File(self.body(path, inode)?),
            0o120_000 => Kind::Symlink(read(self.fs, inode)?),
            0o010_000 => Kind::Fifo,
            0o140_000 => Kind::Socket,
            0o020_000 => Kind::Char { major, minor },
            0o060_000 => Kind::Block { major, minor },
            mode => return Err(broken(format!("`{path}` is of no known type ({mode:o})"))),
        })
    }

    fn body(&self, path: &GuestPath, inode: &Inode) -> io::Result<Body> {
        let keep = (self.keep)(path);
        let (mut hash, mut kept) = (Sha256::new(), Vec::new());
        let read = self.fs.content(inode, &mut |piece| {
            hash.update(piece);
            if keep {
                kept.extend_from_slice(piece);
            }
        });
        read.map_err(|error| io::Error::new(error.kind(), format!("read `{path}`: {error}")))?;
        let digest = Some(Digest::from_bytes(hash.finalize().into()));
        let place = if keep { Place::Inline(kept.into()) } else { Place::Host(self.artifact.to_owned()) };
        Ok(Body { size: inode.size, digest, token: None, place })
    }
}
