//! Removes a tree without ever leaving it: no link is followed, no mount is crossed. However deep it is, few files are open:
//! what is far down is moved up first.

use std::ffi::{CStr, CString, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{
    AtFlags, Dir, Mode, OFlags, RenameFlags, ResolveFlags, chmodat, fchmod, open, openat2, renameat_with, unlinkat,
};
use rustix::io::Errno;

/// Removes `tree` and all it holds; what is already gone is fine.
pub(crate) fn remove(tree: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (tree.parent(), tree.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let parent = match open(parent, OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    let name = CString::new(name.as_bytes()).map_err(|_| io::ErrorKind::InvalidInput)?;
    Ok(remove_at(parent.as_fd(), &name, None)?)
}

/// Folders on the way down that are open at the same time, with two descriptors each.
const DEEPEST: usize = 32;

/// Where a folder is, seen from the tree's own.
#[derive(Clone, Copy)]
struct Way<'a> {
    top: BorrowedFd<'a>,
    depth: usize,
}

/// Tries the cheap ways first; a directory is emptied and tried again, as a dying writer may add to it meanwhile.
fn remove_at(parent: BorrowedFd<'_>, name: &CStr, way: Option<Way<'_>>) -> Result<(), Errno> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        other => return gone(other),
    }
    // The top fills again as often as something is raised.
    for _ in 0..if way.is_some() { 100 } else { 1_000_000 } {
        match unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => match way {
                Some(way) if way.depth == DEEPEST => return raise(parent, name, way.top),
                _ => empty(parent, name, way)?,
            },
            other => return gone(other),
        }
    }
    Err(Errno::NOTEMPTY)
}

/// Moves a folder up to the top of the tree, where it is found again: the top is not empty then.
fn raise(parent: BorrowedFd<'_>, name: &CStr, top: BorrowedFd<'_>) -> Result<(), Errno> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let higher = format!("raised-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        match renameat_with(parent, name, top, higher, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            other => return gone(other),
        }
    }
}

fn gone(result: Result<(), Errno>) -> Result<(), Errno> {
    if result == Err(Errno::NOENT) { Ok(()) } else { result }
}

fn empty(parent: BorrowedFd<'_>, name: &CStr, way: Option<Way<'_>>) -> Result<(), Errno> {
    let directory = match enter(parent, name) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    // Root of a user namespace may write anywhere in its trees; an ordinary user needs the bits.
    let _ = fchmod(&directory, Mode::RWXU);
    let below = way.map_or(Way { top: directory.as_fd(), depth: 1 }, |way| Way { depth: way.depth + 1, ..way });
    let mut list = Dir::read_from(&directory)?;
    while let Some(entry) = list.read() {
        let entry = entry?;
        let child = entry.file_name();
        if child == c"." || child == c".." {
            continue;
        }
        remove_at(directory.as_fd(), child, Some(below))?;
    }
    Ok(())
}

fn enter(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    let opened = openat2(parent, name, flags, Mode::empty(), inside);
    if opened.as_ref().err() == Some(&Errno::ACCESS) {
        chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
        return openat2(parent, name, flags, Mode::empty(), inside);
    }
    opened
}

/// Returns the mount points at and below `tree` in the order they were made, from the text of a mountinfo file.
pub(super) fn mounts_below(mountinfo: &[u8], tree: &Path) -> Vec<PathBuf> {
    let point = |line: &[u8]| Some(PathBuf::from(unescape(line.split(|&byte| byte == b' ').nth(4)?)));
    let lines = mountinfo.split(|&byte| byte == b'\n');
    lines.filter_map(point).filter(|point| point.starts_with(tree)).collect()
}

/// Undoes the kernel's `\040`.
fn unescape(text: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = (byte == b'\\').then(|| after.get(..3)).flatten();
        let value = octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(value.unwrap_or(byte));
        rest = if value.is_some() { &after[3..] } else { after };
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_mounts_with_odd_names() {
        let text = b"36 35 98:0 / /a\\040b rw - ext4 x rw\n37 35 0:1 / /a\\040b/c rw - tmpfs x rw\n38 35 0:1 / /a rw - t x rw\n";
        let found = mounts_below(text, Path::new("/a b"));
        assert_eq!(found, [Path::new("/a b"), Path::new("/a b/c")]);
    }
}
