//! The inode that keeps blocks behind each copy of the group descriptors, so that the filesystem can grow while mounted.
//!
//! Its double indirect block names the kept blocks of the first group; each of those names the blocks at the same
//! place of every other group with a copy.

use kiln_model::Extents;

use super::geometry::{BLOCK, GROUP, Geometry};
use super::inode::Inode;
use crate::put::Put as _;

/// Block numbers in a block.
const NUMBERS: u64 = BLOCK / 4;
/// Where in the inode the double indirect block stands.
const DOUBLE: usize = 13 * 4;

/// Puts the blocks of the inode into the image and returns it; `root` is its double indirect block.
pub(super) fn resize(geometry: &Geometry, root: u64, epoch: i64, image: &mut Extents) -> Inode {
    let kept = |group: u64, at: u64| group * GROUP + 1 + geometry.descriptors + at;
    let backups: Vec<u64> = geometry.backups().collect();
    let mut top = vec![0; BLOCK as usize];
    for at in 0..geometry.reserved {
        top.le32(((geometry.descriptors + at) % NUMBERS) as usize * 4, kept(0, at) as u32);
        let mut list = vec![0; BLOCK as usize];
        backups.iter().enumerate().for_each(|(slot, group)| list.le32(slot * 4, kept(*group, at) as u32));
        image.bytes(kept(0, at) * BLOCK, list);
    }
    image.bytes(root * BLOCK, top);
    let mut block = [0; 60];
    block.le32(DOUBLE, root as u32);
    Inode {
        mode: 0o100_600,
        size: (NUMBERS * NUMBERS + NUMBERS + 12) * BLOCK,
        blocks: 1 + geometry.reserved * (1 + backups.len() as u64),
        time: epoch,
        block,
        ..Inode::default()
    }
}
