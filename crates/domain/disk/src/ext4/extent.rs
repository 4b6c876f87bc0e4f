//! Where a file's blocks are: runs, and the tree of runs an inode begins.

use super::checksum::Sums;
use super::geometry::BLOCK;
use crate::put::Put as _;

/// Blocks on the disk that lie together: never more than a group has, which is what one entry can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub start: u64,
    pub blocks: u64,
}

/// Entries in the 60 bytes of an inode.
const IN_INODE: usize = 4;
const IN_BLOCK: usize = (BLOCK as usize - 12) / 12;
const MAGIC: u16 = 0xf30a;

/// A tree of runs: what stands in the inode, and the blocks below it.
pub(super) struct Tree {
    pub root: [u8; 60],
    pub nodes: Vec<(u64, Vec<u8>)>,
}

/// Returns how many blocks the tree of `runs` runs needs outside of the inode.
pub(super) fn nodes(runs: usize) -> u64 {
    let (mut level, mut total) = (runs, 0);
    while level > IN_INODE {
        level = level.div_ceil(IN_BLOCK);
        total += level as u64;
    }
    total
}

/// Builds the tree of `runs`, in the order of the file; `places` are the blocks that [`nodes`] asked for.
pub(super) fn tree(runs: &[Run], places: &[u64], sums: Sums) -> Tree {
    let (mut first, mut entries) = (0, Vec::with_capacity(runs.len()));
    for run in runs {
        entries.push((first, leaf(first, *run)));
        first += run.blocks as u32;
    }
    let (mut depth, mut nodes, mut places) = (0, Vec::new(), places.iter());
    while entries.len() > IN_INODE {
        let mut above = Vec::new();
        for part in entries.chunks(IN_BLOCK) {
            let place = *places.next().expect("as many places as nodes");
            nodes.push((place, node(part, depth, sums)));
            above.push((part[0].0, index(part[0].0, place)));
        }
        entries = above;
        depth += 1;
    }
    let mut root = [0; 60];
    fill(&mut root, &entries, IN_INODE, depth);
    Tree { root, nodes }
}

type Entry = (u32, [u8; 12]);

fn node(entries: &[Entry], depth: u16, sums: Sums) -> Vec<u8> {
    let mut block = vec![0; BLOCK as usize];
    fill(&mut block, entries, IN_BLOCK, depth);
    let end = 12 + 12 * IN_BLOCK;
    let sum = sums.of(&[&block[..end]]);
    block.le32(end, sum);
    block
}

fn fill(bytes: &mut [u8], entries: &[Entry], most: usize, depth: u16) {
    bytes.le16(0, MAGIC);
    bytes.le16(2, entries.len() as u16);
    bytes.le16(4, most as u16);
    bytes.le16(6, depth);
    entries.iter().enumerate().for_each(|(at, (_, entry))| bytes.put(12 + 12 * at, entry));
}

fn leaf(first: u32, run: Run) -> [u8; 12] {
    let mut entry = [0; 12];
    entry.le32(0, first);
    entry.le16(4, run.blocks as u16);
    entry.le16(6, (run.start >> 32) as u16);
    entry.le32(8, run.start as u32);
    entry
}

fn index(first: u32, block: u64) -> [u8; 12] {
    let mut entry = [0; 12];
    entry.le32(0, first);
    entry.le32(4, block as u32);
    entry.le16(8, (block >> 32) as u16);
    entry
}
