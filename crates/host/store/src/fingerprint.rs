//! Fingerprints: what `stat` tells of a file, enough to know that nobody touched it.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Size, inode and times of a file. The kernel moves `ctime` with every change and lets nobody set it, so an equal
/// fingerprint means untouched bytes; what it cannot see is a disk that forgets ([`crate::Store::verify`] does).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Length in bytes.
    pub size: u64,
    pub inode: u64,
    /// Seconds since 1970, and nanoseconds.
    pub mtime: (i64, u32),
    pub ctime: (i64, u32),
}

impl Fingerprint {
    /// Takes the fingerprint of what `path` names, symbolic links not followed.
    pub fn of(path: &Path) -> io::Result<Self> {
        Ok(Self::from(&std::fs::symlink_metadata(path)?))
    }
}

impl From<&Metadata> for Fingerprint {
    fn from(meta: &Metadata) -> Self {
        Self {
            size: meta.size(),
            inode: meta.ino(),
            mtime: (meta.mtime(), meta.mtime_nsec() as u32),
            ctime: (meta.ctime(), meta.ctime_nsec() as u32),
        }
    }
}
