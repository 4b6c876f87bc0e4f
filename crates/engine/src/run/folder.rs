//! A tree as a plain folder.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use kiln_model::tree::{Entry, Kind, Place};
use kiln_model::{Digest, Tree};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, chmodat, chownat, lsetxattr, mknodat, utimensat,
};

/// Writes `tree` to the fresh folder `to`; returns the bytes of its files and the digest of its listing.
pub fn write(tree: &Tree, to: &Path) -> io::Result<(u64, Digest)> {
    std::fs::create_dir(to)?;
    fill(tree, to)?;
    Ok((tree.content_size(), digest(tree)?))
}

/// Writes `tree` into the empty folder `to`.
pub fn fill(tree: &Tree, to: &Path) -> io::Result<()> {
    for entry in &tree.entries {
        put(entry, to)?;
    }
    // Directories last: what is made in them changes their times.
    tree.entries.iter().rev().try_for_each(|entry| dress(entry, to))
}

/// Returns the digest of everything that a tree holds.
pub fn digest(tree: &Tree) -> io::Result<Digest> {
    let listing = serde_json::to_vec(&tree.entries.iter().map(description).collect::<io::Result<Vec<_>>>()?)?;
    Ok(Digest::of(listing))
}

fn put(entry: &Entry, to: &Path) -> io::Result<()> {
    let path = entry.path.under(to);
    match &entry.kind {
        Kind::Dir if entry.path.as_bytes() == b"/" => Ok(()),
        Kind::Dir => std::fs::create_dir(&path),
        Kind::Symlink(target) => symlink(std::ffi::OsStr::from_bytes(target), &path),
        Kind::Hardlink(first) => std::fs::hard_link(first.under(to), &path),
        Kind::File(body) => match &body.place {
            Place::Inline(bytes) => std::fs::write(&path, bytes),
            Place::Host(from) => io::copy(&mut File::open(from)?, &mut File::create(&path)?).map(drop),
        },
        Kind::Fifo => Ok(mknodat(CWD, &path, FileType::Fifo, Mode::empty(), 0)?),
        Kind::Socket => Ok(mknodat(CWD, &path, FileType::Socket, Mode::empty(), 0)?),
        Kind::Char { major, minor } => device(&path, FileType::CharacterDevice, *major, *minor),
        Kind::Block { major, minor } => device(&path, FileType::BlockDevice, *major, *minor),
    }
}

fn device(path: &Path, kind: FileType, major: u32, minor: u32) -> io::Result<()> {
    Ok(mknodat(CWD, path, kind, Mode::empty(), rustix::fs::makedev(major, minor))?)
}

/// Owner before mode, since changing it clears setuid bits, and time last.
fn dress(entry: &Entry, to: &Path) -> io::Result<()> {
    if matches!(entry.kind, Kind::Hardlink(_)) {
        return Ok(());
    }
    let path = entry.path.under(to);
    let (uid, gid) = (rustix::fs::Uid::from_raw(entry.uid), rustix::fs::Gid::from_raw(entry.gid));
    chownat(CWD, &path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if !matches!(entry.kind, Kind::Symlink(_)) {
        chmodat(CWD, &path, Mode::from_raw_mode(entry.mode), AtFlags::empty())?;
    }
    for (name, value) in &entry.xattrs {
        lsetxattr(&path, name.as_str(), value, XattrFlags::empty())?;
    }
    let time = Timespec { tv_sec: entry.mtime, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// What the folder's digest is taken of: everything but where the bytes came from.
fn description(entry: &Entry) -> io::Result<serde_json::Value> {
    let mut value = serde_json::to_value(entry)?;
    if let Kind::File(body) = &entry.kind {
        let digest = match &body.place {
            Place::Inline(bytes) => Digest::of(bytes),
            Place::Host(from) => Digest::of(std::fs::read(from)?),
        };
        value["kind"] = serde_json::json!({ "file": digest, "size": body.size });
    }
    Ok(value)
}
