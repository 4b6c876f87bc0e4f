//! No file of an image is younger than its sources: what a build itself wrote gets the build's epoch.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, openat, statat, utimensat,
};

/// Sets every modification time after `epoch` (seconds since 1970) in the folder `root` to `epoch`.
pub fn clamp(root: &Path, epoch: i64) -> io::Result<()> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = openat(CWD, root, flags, Mode::empty())?;
    inside(&directory, epoch)?;
    one(&directory, OsStr::new("."), epoch).map(drop)
}

fn inside(directory: &OwnedFd, epoch: i64) -> io::Result<()> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let name = OsStr::from_bytes(name);
        if entry.file_type() == FileType::Directory {
            inside(&openat(directory, name, flags, Mode::empty())?, epoch)?;
        }
        one(directory, name, epoch)?;
    }
    Ok(())
}

fn one(directory: &OwnedFd, name: &OsStr, epoch: i64) -> io::Result<()> {
    let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
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
}
