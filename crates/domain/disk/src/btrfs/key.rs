//! Keys: what every thing in a btrfs is found by, and the numbers they are made of.
//!
//! Numbers and structures are those of the kernel's `btrfs_tree.h` and of the on-disk format's page of btrfs.readthedocs.io.

use crate::put::Put as _;

/// What a thing belongs to, of which type it is, and one number more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub object: u64,
    pub kind: u8,
    pub offset: u64,
}

impl Key {
    /// Bytes of a key.
    pub const LENGTH: usize = 17;

    pub fn new(object: u64, kind: u8, offset: u64) -> Self {
        Self { object, kind, offset }
    }

    /// Reads a key at the beginning of `bytes`.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        Some(Self { object: number(0)?, kind: *bytes.get(8)?, offset: number(9)? })
    }

    pub fn put(self, bytes: &mut [u8], at: usize) {
        bytes.le64(at, self.object);
        bytes.u8(at + 8, self.kind);
        bytes.le64(at + 9, self.offset);
    }
}

/// The numbers of trees.
pub mod tree {
    pub const ROOT: u64 = 1;
    pub const EXTENT: u64 = 2;
    pub const CHUNK: u64 = 3;
    pub const DEVICE: u64 = 4;
    pub const TOP: u64 = 5;
    pub const SUM: u64 = 7;
    pub const UUID: u64 = 9;
    pub const FREE: u64 = 10;
    /// Where subvolumes begin.
    pub const SUBVOLUMES: u64 = 256;
    pub const DATA_RELOCATION: u64 = -9_i64 as u64;
}

/// The types of keys.
pub mod kind {
    pub const INODE: u8 = 1;
    pub const INODE_REF: u8 = 12;
    pub const INODE_EXTREF: u8 = 13;
    pub const XATTR: u8 = 24;
    pub const DIR_ITEM: u8 = 84;
    pub const DIR_INDEX: u8 = 96;
    pub const EXTENT_DATA: u8 = 108;
    pub const SUM: u8 = 128;
    pub const ROOT: u8 = 132;
    pub const ROOT_BACKREF: u8 = 144;
    pub const ROOT_REF: u8 = 156;
    pub const EXTENT: u8 = 168;
    pub const METADATA: u8 = 169;
    pub const TREE_BLOCK_REF: u8 = 176;
    pub const EXTENT_DATA_REF: u8 = 178;
    pub const BLOCK_GROUP: u8 = 192;
    pub const FREE_INFO: u8 = 198;
    pub const FREE_EXTENT: u8 = 199;
    pub const DEVICE_EXTENT: u8 = 204;
    pub const DEVICE: u8 = 216;
    pub const CHUNK: u8 = 228;
    pub const UUID_SUBVOLUME: u8 = 251;
}

/// The inode of a tree's own root directory.
pub const ROOT_DIR: u64 = 256;
/// What checksums of data belong to.
pub(super) const SUMS: u64 = -10_i64 as u64;
/// What chunks belong to.
pub(super) const CHUNKS: u64 = 256;
/// The only device.
pub(super) const DEVICE: u64 = 1;
/// The transaction that everything was written in.
pub(super) const GENERATION: u64 = 1;
/// Bytes of data that one checksum is of, and the unit of allocation.
pub(super) const SECTOR: u64 = 4096;

/// One thing in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub key: Key,
    pub data: Vec<u8>,
}

impl Item {
    pub fn new(key: Key, data: Vec<u8>) -> Self {
        Self { key, data }
    }
}

/// crc32c without the inversions at both ends.
pub(super) fn raw(seed: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!seed, bytes)
}

/// Returns the number that a name is found by in a directory.
pub(super) fn name_hash(name: &[u8]) -> u64 {
    u64::from(raw(!1, name))
}
