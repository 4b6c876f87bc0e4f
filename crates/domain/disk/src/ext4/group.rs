//! The tables of each group: bitmaps, inodes, descriptors.

use std::collections::BTreeMap;

use kiln_model::Extents;

use super::checksum::Sums;
use super::geometry::{BLOCK, GROUP, Geometry, INODE};
use super::inode::Inode;
use super::superblock::Free;
use crate::put::Put as _;

const INODES_UNUSED: u16 = 1;
const BLOCKS_UNUSED: u16 = 2;
const TABLE_ZEROED: u16 = 4;
/// Inode tables are handed out in parts of this many bytes, so that a changed inode rewrites little.
const PART: usize = 64 << 10;

/// All inodes in use, by number.
pub(super) type Inodes = BTreeMap<u32, Inode>;

/// The descriptors of all groups, and what is free in them together.
pub(super) struct Groups {
    pub descriptors: Vec<u8>,
    pub free: Free,
}

/// Puts bitmaps and inodes into the image; `used` are the blocks of each group taken behind its tables.
pub(super) fn groups(geometry: &Geometry, inodes: &Inodes, used: &[u64], sums: Sums, image: &mut Extents) -> Groups {
    let mut all = Groups { descriptors: Vec::new(), free: Free { blocks: 0, inodes: 0 } };
    for group in 0..geometry.groups {
        let numbers =
            (group * geometry.inodes_per_group + 1) as u32..((group + 1) * geometry.inodes_per_group + 1) as u32;
        let inside: Vec<(u32, &Inode)> =
            inodes.range(numbers.clone()).map(|(number, inode)| (number - numbers.start, inode)).collect();
        let one = Group { geometry, group, inside, used: used[group as usize], sums };
        one.table(numbers.start, image);
        all.free.blocks += one.free_blocks();
        all.free.inodes += one.free_inodes();
        all.descriptors.extend(one.finish(image));
    }
    all
}

struct Group<'g> {
    geometry: &'g Geometry,
    group: u64,
    /// Inodes in use by their place in the group.
    inside: Vec<(u32, &'g Inode)>,
    used: u64,
    sums: Sums,
}

impl Group<'_> {
    fn free_blocks(&self) -> u64 {
        self.geometry.len(self.group) - self.geometry.overhead(self.group) - self.used
    }

    /// The first ten numbers are reserved, whether they are in use or not.
    fn reserved(&self) -> u64 {
        if self.group == 0 { 10 } else { 0 }
    }

    fn free_inodes(&self) -> u64 {
        let taken = self.inside.iter().filter(|(at, _)| u64::from(*at) >= self.reserved()).count() as u64;
        self.geometry.inodes_per_group - self.reserved() - taken
    }

    /// Inodes from the start of the table to the last one in use.
    fn begun(&self) -> u64 {
        self.inside.last().map_or(0, |(at, _)| u64::from(*at) + 1).max(self.reserved())
    }

    fn start(&self) -> u64 {
        self.group * GROUP + self.geometry.bitmaps(self.group)
    }

    fn table(&self, first: u32, image: &mut Extents) {
        let from = self.inside.first().map_or(0, |(at, _)| *at as usize * INODE as usize / PART * PART);
        let mut table = vec![0; (self.begun() * INODE).next_multiple_of(BLOCK) as usize - from];
        for (at, inode) in &self.inside {
            let place = *at as usize * INODE as usize - from;
            table.put(place, &inode.render(self.sums.inode(first + at)));
        }
        for (at, part) in table.chunks(PART).enumerate() {
            image.bytes((self.start() + 2) * BLOCK + (from + at * PART) as u64, part);
        }
    }

    /// Puts the bitmaps and returns the descriptor.
    fn finish(&self, image: &mut Extents) -> Vec<u8> {
        let may_skip = self.sums.on() && self.group != 0 && self.group + 1 != self.geometry.groups;
        let skip_blocks = may_skip && self.used == 0;
        let skip_inodes = may_skip && self.inside.is_empty();
        let mut descriptor = self.descriptor();
        let mut flags = TABLE_ZEROED;
        if skip_blocks {
            flags |= BLOCKS_UNUSED;
        } else {
            let map = self.block_map();
            self.map_sum(&mut descriptor, [24, 56], &map);
            image.bytes(self.start() * BLOCK, map);
        }
        if skip_inodes {
            flags |= INODES_UNUSED;
        } else {
            let map = self.inode_map();
            self.map_sum(&mut descriptor, [26, 58], &map[..self.geometry.inodes_per_group as usize / 8]);
            image.bytes((self.start() + 1) * BLOCK, map);
        }
        if self.sums.on() {
            descriptor.le16(18, flags);
        }
        descriptor.truncate(self.geometry.features.descriptor());
        let sum = self.sums.of(&[&(self.group as u32).to_le_bytes(), &descriptor]);
        descriptor.le16(30, sum as u16);
        descriptor
    }

    fn descriptor(&self) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        for (at, block) in [(0, self.start()), (4, self.start() + 1), (8, self.start() + 2)] {
            bytes.le32(at, block as u32);
            bytes.le32(at + 32, (block >> 32) as u32);
        }
        let dirs = self.inside.iter().filter(|(_, inode)| inode.mode >> 12 == 0o4).count() as u64;
        let unused = if self.sums.on() { self.geometry.inodes_per_group - self.begun() } else { 0 };
        for (low, high, count) in
            [(12, 44, self.free_blocks()), (14, 46, self.free_inodes()), (16, 48, dirs), (28, 50, unused)]
        {
            bytes.le16(low, count as u16);
            bytes.le16(high, (count >> 16) as u16);
        }
        bytes
    }

    fn map_sum(&self, descriptor: &mut [u8], at: [usize; 2], map: &[u8]) {
        let sum = self.sums.of(&[map]);
        descriptor.le16(at[0], sum as u16);
        descriptor.le16(at[1], (sum >> 16) as u16);
    }

    fn block_map(&self) -> Vec<u8> {
        let mut map = vec![0; BLOCK as usize];
        set(&mut map, 0, self.geometry.overhead(self.group) + self.used);
        set(&mut map, self.geometry.len(self.group), GROUP);
        map
    }

    fn inode_map(&self) -> Vec<u8> {
        let mut map = vec![0; BLOCK as usize];
        set(&mut map, 0, self.reserved());
        self.inside.iter().for_each(|(at, _)| set(&mut map, u64::from(*at), u64::from(*at) + 1));
        set(&mut map, self.geometry.inodes_per_group, GROUP);
        map
    }
}

fn set(map: &mut [u8], from: u64, to: u64) {
    (from..to).for_each(|bit| map[(bit / 8) as usize] |= 1 << (bit % 8));
}
