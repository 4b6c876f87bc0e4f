//! Directories: their blocks, in order of names while one block is enough, hashed beyond.

use std::ops::Range;

use super::checksum::Sums;
use super::geometry::BLOCK;
use super::hash::{NameHash, half_md4};
use crate::put::Put as _;

const BLOCK_SIZE: usize = BLOCK as usize;
const ROOT_ENTRIES: usize = 32;
const NODE_ENTRIES: usize = 8;
/// Bytes of `.` and `..` with their headers.
const DOTS: usize = 24;

/// What a name stands for: an inode and its kind.
pub(super) type Target = (u32, u8);

pub(super) const DIRECTORY: u8 = 2;

/// A directory whose names have their places.
pub(super) struct Packed<'a> {
    /// Names with the caller's items, in the order of the leaves.
    names: Vec<(&'a [u8], usize)>,
    hashes: Vec<NameHash>,
    leaves: Vec<Range<usize>>,
    hashed: bool,
    tail: usize,
    /// Empty blocks at the end.
    spare: u64,
}

impl<'a> Packed<'a> {
    /// Places `children`; `seed` hashes their names where hashed directories are wanted.
    pub fn new(children: &[(&'a [u8], usize)], seed: Option<&[u8; 16]>, sums: Sums, spare: u64) -> Self {
        let mut packed = Self {
            names: children.to_vec(),
            hashes: Vec::new(),
            leaves: Vec::new(),
            hashed: false,
            tail: sums.tail(),
            spare,
        };
        packed.leaves = packed.pack(DOTS, BLOCK_SIZE - packed.tail);
        if let Some(seed) = seed.filter(|_| packed.leaves.len() > 1) {
            packed.sort(seed);
            // An eighth stays free, so that names added later do not split every block at once.
            packed.leaves = packed.pack(0, (BLOCK_SIZE - packed.tail) / 8 * 7);
            packed.hashed = true;
        }
        packed
    }

    fn sort(&mut self, seed: &[u8; 16]) {
        let mut all: Vec<_> = self.names.iter().map(|(name, item)| (half_md4(name, seed), *name, *item)).collect();
        all.sort();
        self.hashes = all.iter().map(|(hash, ..)| *hash).collect();
        self.names = all.into_iter().map(|(_, name, item)| (name, item)).collect();
    }

    fn pack(&self, first: usize, room: usize) -> Vec<Range<usize>> {
        let (mut leaves, mut start, mut used) = (Vec::new(), 0, first);
        for (at, (name, _)) in self.names.iter().enumerate() {
            if used + length(name) > room {
                leaves.push(start..at);
                (start, used) = (at, 0);
            }
            used += length(name);
        }
        leaves.push(start..self.names.len());
        leaves
    }

    pub fn hashed(&self) -> bool {
        self.hashed
    }

    /// Returns its length in blocks.
    pub fn blocks(&self) -> u64 {
        self.leaves.len() as u64 + self.spare + if self.hashed { 1 + self.nodes() as u64 } else { 0 }
    }

    /// Blocks of the index below its root.
    fn nodes(&self) -> usize {
        let leaves = self.leaves.len();
        if leaves <= limit(ROOT_ENTRIES, self.tail) { 0 } else { leaves.div_ceil(limit(NODE_ENTRIES, self.tail)) }
    }

    /// Whether its index would need more levels than the format has.
    pub fn too_large(&self) -> bool {
        self.hashed && self.nodes() > limit(ROOT_ENTRIES, self.tail)
    }

    /// Returns the bytes; `target` says what an item is, `sums` are those of this directory's inode.
    pub fn render(&self, own: u32, parent: u32, sums: Sums, target: impl Fn(usize) -> Target) -> Vec<u8> {
        let dots: [(&[u8], Target); 2] = [(b".", (own, DIRECTORY)), (b"..", (parent, DIRECTORY))];
        let mut bytes = Vec::with_capacity((self.blocks() * BLOCK) as usize);
        if self.hashed {
            self.index(&dots, sums, &mut bytes);
        }
        for (at, leaf) in self.leaves.iter().enumerate() {
            let dots = dots.iter().copied().filter(|_| at == 0 && !self.hashed);
            let names = self.names[leaf.clone()].iter().map(|(name, item)| (*name, target(*item)));
            bytes.extend(block(dots.chain(names), sums));
        }
        (0..self.spare).for_each(|_| bytes.extend(block(std::iter::empty(), sums)));
        bytes
    }

    fn index(&self, dots: &[(&[u8], Target)], sums: Sums, bytes: &mut Vec<u8>) {
        let nodes = self.nodes();
        let leaf = |at: usize| (self.lowest(at), (1 + nodes + at) as u32);
        let leaves: Vec<_> = (0..self.leaves.len()).map(leaf).collect();
        let mut root = vec![0; BLOCK_SIZE];
        name(&mut root, 0, 12, dots[0]);
        name(&mut root, 12, BLOCK_SIZE - 12, dots[1]);
        root.u8(28, 1); // half MD4
        root.u8(29, 8); // length of this information
        root.u8(30, u8::from(nodes > 0));
        if nodes == 0 {
            entries(&mut root, ROOT_ENTRIES, &leaves, sums);
            bytes.extend(root);
            return;
        }
        let parts: Vec<_> = leaves.chunks(limit(NODE_ENTRIES, self.tail)).collect();
        let tops: Vec<_> = parts.iter().enumerate().map(|(at, part)| (part[0].0, 1 + at as u32)).collect();
        entries(&mut root, ROOT_ENTRIES, &tops, sums);
        bytes.extend(root);
        for part in parts {
            let mut node = vec![0; BLOCK_SIZE];
            node.le16(4, BLOCK_SIZE as u16);
            entries(&mut node, NODE_ENTRIES, part, sums);
            bytes.extend(node);
        }
    }

    /// The lowest hash of a leaf; its last bit says that the leaf before holds this hash too.
    fn lowest(&self, leaf: usize) -> u32 {
        let start = self.leaves[leaf].start;
        let hash = self.hashes[start].0;
        if start > 0 && self.hashes[start - 1].0 == hash { hash | 1 } else { hash }
    }
}

/// Entries that fit behind a header of `start` bytes.
fn limit(start: usize, tail: usize) -> usize {
    (BLOCK_SIZE - start - if tail > 0 { 8 } else { 0 }) / 8
}

fn entries(block: &mut [u8], start: usize, list: &[(u32, u32)], sums: Sums) {
    let limit = limit(start, sums.tail());
    for (at, (hash, child)) in list.iter().enumerate() {
        block.le32(start + 8 * at, *hash);
        block.le32(start + 8 * at + 4, *child);
    }
    // The first entry needs no hash; limit and count stand in its place.
    block.le16(start, limit as u16);
    block.le16(start + 2, list.len() as u16);
    if sums.on() {
        let sum = sums.of(&[&block[..start + 8 * list.len()], &[0; 8]]);
        block.le32(start + 8 * limit + 4, sum);
    }
}

fn block<'n>(names: impl Iterator<Item = (&'n [u8], Target)>, sums: Sums) -> Vec<u8> {
    let end = BLOCK_SIZE - sums.tail();
    let mut block = vec![0; BLOCK_SIZE];
    let (mut at, mut last) = (0, 0);
    for entry in names {
        name(&mut block, at, length(entry.0), entry);
        last = at;
        at += length(entry.0);
    }
    block.le16(last + 4, (end - last) as u16);
    if sums.on() {
        block.le16(end + 4, 12);
        block.u8(end + 7, 0xde);
        let sum = sums.of(&[&block[..end]]);
        block.le32(end + 8, sum);
    }
    block
}

fn length(name: &[u8]) -> usize {
    (8 + name.len()).next_multiple_of(4)
}

fn name(block: &mut [u8], at: usize, length: usize, (name, (inode, kind)): (&[u8], Target)) {
    block.le32(at, inode);
    block.le16(at + 4, length as u16);
    block.u8(at + 6, name.len() as u8);
    block.u8(at + 7, kind);
    block.put(at + 8, name);
}
