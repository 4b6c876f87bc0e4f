//! What one layer holds: its own entries, and what they take away from the layers below.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kiln_model::{GuestPath, StageId};

/// Everything in a layer, sorted as a [`kiln_model::Tree`] is, the layer's own root first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub stage: StageId,
    /// Where the layer lies: the folder an overlay takes as a lower.
    pub root: PathBuf,
    pub items: Vec<Item>,
}

/// One name in a layer, as `statx` saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub path: GuestPath,
    pub mark: Mark,
    /// File type and permission bits (`st_mode`).
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub links: u32,
    /// Bytes; zero for all that is no regular file.
    pub size: u64,
    pub inode: u64,
    /// Seconds since 1970, and nanoseconds.
    pub mtime: (i64, u32),
    pub ctime: (i64, u32),
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// What a symbolic link holds.
    pub target: Vec<u8>,
    /// Without the ones overlayfs keeps for itself.
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// What a name does to the layers below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It covers what has the same path; a directory lets the names inside show through.
    Plain,
    /// It removes what is below and is nothing itself.
    Whiteout,
    /// A directory that hides everything below.
    Opaque,
}
