//! File work the whole store shares: hashing, writing whole files, removing trees.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use kiln_model::Digest;
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use crate::{Error, Result};

/// Bytes read at once when hashing.
const BLOCK: usize = 256 * 1024;

/// Last uses closer together than this are one.
const SAME_USE: Duration = Duration::from_secs(60);

/// Returns the digest of a file's bytes.
pub(crate) fn hash(mut file: File) -> io::Result<Digest> {
    let (mut hasher, mut block) = (Sha256::new(), vec![0; BLOCK]);
    loop {
        match file.read(&mut block)? {
            0 => return Ok(Digest::from_bytes(hasher.finalize().into())),
            count => hasher.update(&block[..count]),
        }
    }
}

/// Makes a folder and its parents that only we can enter: layers hold set-uid programs.
pub(crate) fn make_folder(path: &Path) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::io("make", path))
}

/// Writes a file so that others see the old content or the new one; `scratch` is in the same filesystem.
pub(crate) fn write_atomically(path: &Path, scratch: &Path, bytes: &[u8]) -> Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let draft = scratch.join(format!("draft-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
    fs::write(&draft, bytes).map_err(Error::io("write", &draft))?;
    rename(&draft, path)
}

/// Renames, making the folder of the new name when it is missing.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && from.symlink_metadata().is_ok() => {
            make_folder(to.parent().unwrap_or(to))?;
            fs::rename(from, to).map_err(Error::io("rename to", to))
        }
        other => other.map_err(Error::io("rename to", to)),
    }
}

/// Reads a file that may be missing.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some).map_err(Error::io("read", path)),
    }
}

/// Lists the names in a folder that may be missing; names that are not UTF-8 are none of ours.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>> {
    let list = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(Error::io("list", folder))?,
    };
    Ok(list.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
}

/// Notes that a file of ours was used, in its modification time.
pub(crate) fn touch(path: &Path) {
    let old = fs::metadata(path).and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    if old.elapsed().is_ok_and(|since| since < SAME_USE) {
        return;
    }
    // Only the order of collection depends on it: a failure is no reason to fail a build.
    let _ = File::open(path).and_then(|file| file.set_modified(SystemTime::now()));
}

/// Removes a tree, also through folders whose modes forbid it, and one deeper than files may be open.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    let removed = match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(path).and_then(|()| fs::remove_dir_all(path))
        }
        Err(error) if error.raw_os_error() == Some(Errno::MFILE.raw_os_error()) => {
            flatten(path).and_then(|()| fs::remove_dir_all(path))
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => fs::remove_file(path),
        other => other,
    };
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    removed.or_else(|error| if gone(&error) { Ok(()) } else { Err(error) }).map_err(Error::io("remove", path))
}

/// Levels below which [`flatten`] moves a folder up; a path of so many names is no longer than the kernel takes.
const SHALLOW: usize = 12;

/// Moves folders up until none is deep: removing a tree keeps every folder on the way down open.
fn flatten(tree: &Path) -> io::Result<()> {
    let mut waiting = vec![(tree.to_owned(), 0)];
    let mut moved = 0_u64;
    while let Some((folder, depth)) = waiting.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                continue;
            }
            if depth < SHALLOW {
                waiting.push((entry.path(), depth + 1));
                continue;
            }
            let higher = loop {
                moved += 1;
                let higher = tree.join(format!("flat-{moved}"));
                if higher.symlink_metadata().is_err() {
                    break higher;
                }
            };
            fs::rename(entry.path(), &higher)?;
            waiting.push((higher, 1));
        }
    }
    Ok(())
}

/// Gives the owner all rights on every folder of a tree.
fn open_up(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_deeper_than_files_may_be_open_go() {
        let home = tempfile::tempdir().unwrap();
        let deep = home.path().join("tree").join("d/".repeat(900));
        make_folder(&deep).unwrap();
        fs::write(deep.join("file"), "x").unwrap();
        fs::write(home.path().join("tree/flat-1"), "x").unwrap();
        let before = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let few = rustix::process::Rlimit { current: Some(300), ..before };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, few).unwrap();
        let removed = remove_tree(&home.path().join("tree"));
        rustix::process::setrlimit(rustix::process::Resource::Nofile, before).unwrap();
        removed.unwrap();
        assert_eq!(names(home.path()).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn trees_with_closed_folders_go() {
        let home = tempfile::tempdir().unwrap();
        let closed = home.path().join("tree/closed");
        make_folder(&closed.join("inside")).unwrap();
        fs::write(closed.join("inside/file"), "x").unwrap();
        fs::set_permissions(&closed, Permissions::from_mode(0o0)).unwrap();
        remove_tree(&home.path().join("tree")).unwrap();
        assert_eq!(names(home.path()).unwrap(), Vec::<String>::new());
        remove_tree(&home.path().join("tree")).unwrap();
    }
}
