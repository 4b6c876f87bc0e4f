//! Inodes and the roots of trees, as both are written.

use uuid::Uuid;

use super::key::{GENERATION, ROOT_DIR};
use super::node::NODE;
use crate::put::Put as _;

/// A file of any type.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Inode {
    /// For directories, twice the bytes of all names in it.
    pub size: u64,
    /// Bytes of its data on the disk.
    pub bytes: u64,
    pub links: u32,
    pub uid: u32,
    pub gid: u32,
    /// With the type's bits.
    pub mode: u32,
    pub device: u64,
    pub flags: u64,
    /// Seconds since 1970.
    pub time: i64,
}

impl Inode {
    pub const LENGTH: usize = 160;

    pub fn render(&self) -> Vec<u8> {
        let mut bytes = vec![0; Self::LENGTH];
        bytes.le64(0, GENERATION);
        bytes.le64(8, GENERATION);
        bytes.le64(16, self.size);
        bytes.le64(24, self.bytes);
        bytes.le32(40, self.links);
        bytes.le32(44, self.uid);
        bytes.le32(48, self.gid);
        bytes.le32(52, self.mode);
        bytes.le64(56, self.device);
        bytes.le64(64, self.flags);
        // Access, change, modification, making.
        (0..4).for_each(|at| bytes.le64(112 + 12 * at, self.time as u64));
        bytes
    }
}

/// Where the root of a tree is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Root {
    /// Logical address.
    pub address: u64,
    pub level: u8,
    /// How many nodes the tree has.
    pub nodes: u64,
    /// Of trees that hold files.
    pub files: Option<Uuid>,
    /// Seconds since 1970.
    pub time: i64,
}

/// That the inode in a root item is as it is meant.
const ROOT_ITEM_INIT: u64 = 1 << 31;

impl Root {
    pub fn render(&self) -> Vec<u8> {
        let flags = if self.files.is_some() { ROOT_ITEM_INIT } else { 0 };
        let inode = Inode { size: 3, bytes: NODE, links: 1, mode: 0o040_755, flags, ..Inode::default() };
        let mut bytes = vec![0; 439];
        bytes.put(0, &inode.render());
        bytes.le64(160, GENERATION);
        bytes.le64(168, if self.files.is_some() { ROOT_DIR } else { 0 });
        bytes.le64(176, self.address);
        bytes.le64(192, self.nodes * NODE);
        bytes.le32(216, 1);
        bytes.u8(238, self.level);
        bytes.le64(239, GENERATION);
        if let Some(uuid) = self.files {
            bytes.put(247, uuid.as_bytes());
            bytes.le64(295, GENERATION);
            bytes.le64(303, GENERATION);
            bytes.le64(327, self.time as u64);
            bytes.le64(339, self.time as u64);
        }
        bytes
    }
}
