//! The journal: empty, so its first block is all there is to write.

use kiln_model::Extents;

use super::checksum::Sums;
use super::extent;
use super::geometry::BLOCK;
use super::inode::{EXTENTS, Inode};
use super::place::Place;
use crate::put::Put as _;

/// Puts the journal at `place` into the image and returns its inode.
pub(super) fn journal(place: &Place, sums: Sums, epoch: i64, image: &mut Extents) -> Inode {
    let blocks: u64 = place.runs.iter().map(|run| run.blocks).sum();
    let mut first = vec![0; BLOCK as usize];
    first.be32(0, 0xc03b_3998);
    first.be32(4, 4); // a superblock, version 2
    first.be32(12, BLOCK as u32);
    first.be32(16, blocks as u32);
    first.be32(20, 1); // the log begins in its second block
    first.be32(24, 1); // with this number
    first.be32(64, 1); // one user
    image.bytes(place.runs[0].start * BLOCK, first);
    let tree = extent::tree(&place.runs, &place.nodes, sums);
    tree.nodes.into_iter().for_each(|(at, node)| image.bytes(at * BLOCK, node));
    Inode {
        mode: 0o100_600,
        size: blocks * BLOCK,
        blocks: place.blocks(),
        flags: EXTENTS,
        time: epoch,
        block: tree.root,
        ..Inode::default()
    }
}
