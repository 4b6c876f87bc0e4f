//! The superblock, which stands at the start and at a few other places.

use super::checksum::Sums;
use super::geometry::{BLOCK, FIRST_INODE, GROUP, Geometry, INODE};
use super::inode::Inode;
use super::{JOURNAL, Options};
use crate::put::Put as _;

/// Length in bytes, and its distance from the start of the disk.
pub(super) const LENGTH: usize = 1024;

/// What is free in the whole filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Free {
    pub blocks: u64,
    pub inodes: u64,
}

/// Returns the superblock of group 0.
pub(super) fn superblock(geometry: &Geometry, options: &Options, journal: Option<&Inode>, free: Free) -> Vec<u8> {
    let mut bytes = vec![0; LENGTH];
    counts(&mut bytes, geometry, free);
    identity(&mut bytes, options);
    features(&mut bytes, geometry, journal.is_some());
    if let Some(journal) = journal {
        bytes.le32(224, JOURNAL);
        bytes.u8(253, 1); // a copy of the journal's inode follows
        bytes.put(268, &journal.block);
        bytes.le32(268 + 60, (journal.size >> 32) as u32);
        bytes.le32(268 + 64, journal.size as u32);
    }
    bytes
}

/// Returns `master` as it stands in `group`.
pub(super) fn copy(master: &[u8], group: u64, sums: Sums) -> Vec<u8> {
    let mut bytes = master.to_vec();
    bytes.le16(90, group as u16);
    let sum = sums.superblock(&bytes[..LENGTH - 4]);
    bytes.le32(LENGTH - 4, sum);
    bytes
}

fn counts(bytes: &mut [u8], geometry: &Geometry, free: Free) {
    bytes.le32(0, geometry.inodes() as u32);
    bytes.le32(16, free.inodes as u32);
    for (low, high, count) in [(4, 336, geometry.blocks), (8, 340, geometry.for_root()), (12, 344, free.blocks)] {
        bytes.le32(low, count as u32);
        bytes.le32(high, (count >> 32) as u32);
    }
    bytes.le32(24, 2); // blocks of 1024 << 2 bytes
    bytes.le32(28, 2);
    bytes.le32(32, GROUP as u32);
    bytes.le32(36, GROUP as u32);
    bytes.le32(40, geometry.inodes_per_group as u32);
    bytes.le16(88, INODE as u16);
    bytes.le32(84, FIRST_INODE);
    bytes.le16(206, geometry.reserved as u16);
}

fn identity(bytes: &mut [u8], options: &Options) {
    for (low, high) in [(48, 0x274), (64, 0x277), (264, 0x276)] {
        bytes.le32(low, options.epoch as u32);
        bytes.u8(high, (options.epoch >> 32) as u8);
    }
    bytes.put(104, options.uuid.as_bytes());
    bytes.put(120, options.label.as_bytes());
    bytes.put(236, options.hash_seed.as_bytes());
}

fn features(bytes: &mut [u8], geometry: &Geometry, journal: bool) {
    let features = geometry.features;
    bytes.le16(54, 0xffff); // never checked for having been mounted so often
    bytes.le16(56, 0xef53);
    bytes.le16(58, 1); // cleanly unmounted
    bytes.le16(60, 1); // go on after errors
    bytes.le32(76, 1); // revision with features
    bytes.le32(92, features.compatible(journal));
    bytes.le32(96, features.incompatible());
    bytes.le32(100, features.read_only());
    bytes.u8(252, 1); // half MD4
    if features.wide {
        bytes.le16(254, features.descriptor() as u16);
    }
    bytes.le32(256, 0x4 | 0x8); // mount with user attributes and access lists
    bytes.le16(348, 32); // bytes of fields in every inode beyond the first 128
    bytes.le16(350, 32);
    bytes.le32(352, 1); // names are hashed as signed characters
    bytes.u8(372, 4); // 2^4 groups to a flexible one
    bytes.u8(373, u8::from(features.checksums));
    debug_assert_eq!(bytes.len() as u64 * 4, BLOCK);
}
