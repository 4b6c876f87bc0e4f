//! No file of an image is younger than its sources: what a build itself wrote gets the build's epoch.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, openat, statat, utimensat,
};

/// Sets every modification time after `epoch` (seconds since 1970) in the folder `root` to `epoch`.
///
/// One folder is open at a time, however deep the tree is. The way up is `..`: nobody else moves folders in a tree that is
/// a build's own.
pub fn clamp(root: &Path, epoch: i64) -> io::Result<()> {
    let mut here = enter(CWD, root.as_os_str())?;
    let mut waiting = vec![inside(&here, epoch)?];
    while let Some(folders) = waiting.last_mut() {
        if let Some(name) = folders.pop() {
            here = enter(&here, &name)?;
            waiting.push(inside(&here, epoch)?);
        } else {
            let own = OsStr::new(".");
            settle(&here, own, &statat(&here, own, AtFlags::SYMLINK_NOFOLLOW)?, epoch)?;
            waiting.pop();
            if !waiting.is_empty() {
                here = enter(&here, OsStr::new(".."))?;
            }
        }
    }
    Ok(())
}

fn enter(parent: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(parent, name, flags, Mode::empty())?)
}

/// Sets the times of what a folder holds and returns the names of the folders in it, whose own times come after their content's.
fn inside(directory: &OwnedFd, epoch: i64) -> io::Result<Vec<OsString>> {
    let mut folders = vec![];
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        // Not every filesystem says in a listing what is a folder.
        let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            folders.push(name.to_owned());
        } else {
            settle(directory, name, &stat, epoch)?;
        }
    }
    Ok(folders)
}

fn settle(directory: &OwnedFd, name: &OsStr, stat: &Stat, epoch: i64) -> io::Result<()> {
    let late = stat.st_mtime > epoch || (stat.st_mtime == epoch && stat.st_mtime_nsec > 0);
    if !late {
        return Ok(());
    }
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: epoch, tv_nsec: 0 },
    };
    Ok(utimensat(directory, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn only_what_is_too_young_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("a")).unwrap();
        std::fs::write(path("a/young"), "").unwrap();
        std::fs::write(path("old"), "").unwrap();
        let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(5);
        std::fs::File::open(path("old")).unwrap().set_modified(old).unwrap();
        clamp(folder.path(), 1000).unwrap();
        let time = |name: &str| std::fs::metadata(path(name)).unwrap().mtime();
        assert_eq!([time("a"), time("a/young"), time("old"), time("")], [1000, 1000, 5, 1000]);
    }

    #[test]
    fn a_tree_deeper_than_files_may_be_open_is_clamped() {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("d/".repeat(900));
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(deep.join("young"), "").unwrap();
        let before = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(300), ..before }).unwrap();
        let clamped = clamp(folder.path(), 1000);
        setrlimit(Resource::Nofile, before).unwrap();
        clamped.unwrap();
        let time = |path: &Path| std::fs::metadata(path).unwrap().mtime();
        assert_eq!([time(&deep.join("young")), time(&deep), time(folder.path())], [1000; 3]);
    }
}
