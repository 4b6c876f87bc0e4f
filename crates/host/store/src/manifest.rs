//! What one layer holds: its own entries, and what they take away from the layers below.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kiln_model::{GuestPath, StageId};

use crate::Fingerprint;

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
    /// How many names the inode has.
    pub links: u32,
    /// Its size is what the filesystem says: bytes of content for a regular file, anything for a folder.
    pub print: Fingerprint,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// What a symbolic link holds.
    pub target: Vec<u8>,
    /// By full name, without the ones overlayfs keeps for itself.
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

/// File types in `st_mode`.
pub(crate) mod kind {
    pub const MASK: u32 = 0o170000;
    pub const SOCKET: u32 = 0o140000;
    pub const SYMLINK: u32 = 0o120000;
    pub const FILE: u32 = 0o100000;
    pub const BLOCK: u32 = 0o060000;
    pub const DIR: u32 = 0o040000;
    pub const CHAR: u32 = 0o020000;
    pub const FIFO: u32 = 0o010000;
}

impl Item {
    /// Returns the file type bits of the mode.
    pub(crate) fn kind(&self) -> u32 {
        self.mode & kind::MASK
    }

    pub(crate) fn is_dir(&self) -> bool {
        self.kind() == kind::DIR
    }

    pub(crate) fn is_file(&self) -> bool {
        self.kind() == kind::FILE && self.mark == Mark::Plain
    }
}

impl Manifest {
    /// Returns the regular files, in order; digests of a layer's content follow this order.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Item> {
        self.items.iter().filter(|item| item.is_file())
    }
}
