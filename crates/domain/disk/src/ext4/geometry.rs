//! How large the filesystem is, and where its own tables lie.
//!
//! Each group keeps its bitmaps and inode table at its own start. Packing them (what flex_bg is for) would gain
//! nothing here, since an extent cannot pass 128 MiB, the length of a group, and would move all content whenever the
//! number of groups changes; so an image rewritten after a small change stays where it was.

use kiln_model::action::Size;

use super::feature::Features;
use crate::Error;

/// Length of a block in bytes.
pub(super) const BLOCK: u64 = 4096;
/// Blocks of a group: as many as a bitmap of one block has bits.
pub(super) const GROUP: u64 = 8 * BLOCK;
pub(super) const INODE: u64 = 256;
/// Inodes below this number have their uses fixed by the format.
pub(super) const FIRST_INODE: u32 = 11;
const INODES_PER_BLOCK: u64 = BLOCK / INODE;
/// Block numbers of files have 32 bits, and the inode that keeps room for growth has no others.
const MOST_BLOCKS: u64 = u32::MAX as u64;
const MIB: u64 = 1 << 20;
/// The size is a multiple of this many blocks (1 MiB), as partitions are.
const STEP: u64 = MIB / BLOCK;

/// What a tree wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand {
    /// Inodes, with the reserved ones.
    pub inodes: u64,
    /// Blocks of content, directories and attributes.
    pub blocks: u64,
    /// Blocks of files so long that their lists of extents need blocks too.
    pub split: u64,
}

/// The shape of a filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub features: Features,
    pub blocks: u64,
    pub groups: u64,
    pub inodes_per_group: u64,
    /// Blocks of group descriptors.
    pub descriptors: u64,
    /// Blocks kept for more of them.
    pub reserved: u64,
    /// Blocks of the journal; none in filesystems too small for one.
    pub journal: u64,
}

impl Geometry {
    /// Returns the smallest filesystem for `demand` under `size`.
    pub fn solve(demand: &Demand, size: Size, features: Features) -> Result<Self, Error> {
        match size {
            Size::Auto => Self::grow(demand, features, 0, &|blocks| reserve(blocks) + (blocks / 100).max(4 * STEP)),
            Size::Roomy { minimum, free } => {
                let free = free.div_ceil(BLOCK);
                Self::grow(demand, features, minimum.div_ceil(BLOCK), &|blocks| reserve(blocks) + free)
            }
            Size::Fixed(size) => Self::fixed(demand, features, size),
        }
    }

    fn fixed(demand: &Demand, features: Features, size: u64) -> Result<Self, Error> {
        if size / BLOCK > MOST_BLOCKS {
            return Err(too_large());
        }
        let shape = Self::of(size / BLOCK, demand, features).trimmed();
        if let Some(shape) = shape.and_then(|shape| shape.with_journal_that_fits(demand)) {
            return Ok(shape);
        }
        let least = Self::grow(demand, features, 0, &|_| 0)?;
        Err(Error::TooSmall { what: "the ext4 filesystem".to_owned(), size, needed: least.blocks * BLOCK })
    }

    /// Starts at `least` blocks and adds what is missing until everything fits with `free(blocks)` to spare.
    fn grow(demand: &Demand, features: Features, least: u64, free: &dyn Fn(u64) -> u64) -> Result<Self, Error> {
        let mut blocks = least.max(demand.blocks).next_multiple_of(STEP);
        loop {
            if blocks > MOST_BLOCKS {
                return Err(too_large());
            }
            let shape = Self::of(blocks, demand, features);
            let missing = (shape.wanted(demand) + free(blocks)).saturating_sub(shape.room());
            let missing =
                if shape.inodes() < demand.inodes || shape.trimmed() != Some(shape) { missing.max(1) } else { missing };
            if missing == 0 {
                return Ok(shape);
            }
            blocks += missing.next_multiple_of(STEP);
        }
    }

    fn of(blocks: u64, demand: &Demand, features: Features) -> Self {
        let groups = blocks.div_ceil(GROUP).max(1);
        let per_block = BLOCK / features.descriptor() as u64;
        let descriptors = groups.div_ceil(per_block);
        Self {
            features,
            blocks,
            groups,
            inodes_per_group: inodes_per_group(blocks, groups, demand.inodes),
            descriptors,
            reserved: if features.resize { reserved(groups, per_block, descriptors) } else { 0 },
            journal: if features.journal { journal(blocks) } else { 0 },
        }
    }

    /// Leaves out a last group too short to be of use; nothing is left of a filesystem that is all tables.
    fn trimmed(self) -> Option<Self> {
        let last = self.groups - 1;
        let useful = self.len(last) >= self.overhead(last) + 50;
        match last {
            _ if useful => Some(self),
            0 => None,
            _ => {
                let blocks = last * GROUP;
                let descriptors = last.div_ceil(BLOCK / self.features.descriptor() as u64);
                let reserved = self.reserved + if self.features.resize { self.descriptors - descriptors } else { 0 };
                Some(Self { blocks, groups: last, descriptors, reserved: reserved.min(BLOCK / 4), ..self })
            }
        }
    }

    /// A fixed size may want a smaller journal than usual.
    fn with_journal_that_fits(self, demand: &Demand) -> Option<Self> {
        let fits = |shape: &Self| shape.inodes() >= demand.inodes && shape.wanted(demand) <= shape.room();
        let halves =
            std::iter::successors(Some(self.journal), |blocks| Some(blocks / 2).filter(|blocks| *blocks >= 1024));
        halves.map(|journal| Self { journal, ..self }).find(fits)
    }

    /// Blocks that content, journal and the tables outside of groups take.
    fn wanted(&self, demand: &Demand) -> u64 {
        let run = GROUP - self.overhead(1).max(self.overhead(0));
        // One extent for each group that a file passes; a block lists 340, so one block for each is plenty.
        let lists = if demand.split > 0 { demand.split / run + 2 } else { 0 };
        demand.blocks + lists + self.journal + u64::from(self.features.resize)
    }

    fn room(&self) -> u64 {
        (0..self.groups).map(|group| self.len(group).saturating_sub(self.overhead(group))).sum()
    }

    pub fn inodes(&self) -> u64 {
        self.inodes_per_group * self.groups
    }

    /// Returns the length of a group in blocks.
    pub fn len(&self, group: u64) -> u64 {
        (self.blocks - group * GROUP).min(GROUP)
    }

    /// Returns the blocks at a group's start that its tables take.
    pub fn overhead(&self, group: u64) -> u64 {
        self.bitmaps(group) + 2 + self.table()
    }

    /// Returns where in the group its two bitmaps lie; the inode table follows them.
    pub fn bitmaps(&self, group: u64) -> u64 {
        if has_superblock(group) { 1 + self.descriptors + self.reserved } else { 0 }
    }

    /// Returns the blocks of a group's inode table.
    pub fn table(&self) -> u64 {
        self.inodes_per_group / INODES_PER_BLOCK
    }

    /// Returns the groups other than the first that hold a copy of the superblock.
    pub fn backups(&self) -> impl Iterator<Item = u64> + use<> {
        (1..self.groups).filter(|group| has_superblock(*group))
    }

    /// Returns the blocks that only root may use: one in a hundred.
    pub fn for_root(&self) -> u64 {
        self.blocks / 100
    }
}

/// Whether a group holds a copy of the superblock: the first two, and the powers of 3, 5 and 7.
pub(super) fn has_superblock(group: u64) -> bool {
    let power = |base: u64| {
        std::iter::successors(Some(base), |power| Some(power * base)).take_while(|power| *power <= group).last()
            == Some(group)
    };
    group <= 1 || power(3) || power(5) || power(7)
}

/// Blocks that root keeps (1 in 100), and that the kernel keeps back for delayed writes.
fn reserve(blocks: u64) -> u64 {
    blocks / 100 + (blocks / 50).min(4096)
}

/// One inode for 16 KiB as mke2fs has it, more where the tree wants them, and a little to spare.
fn inodes_per_group(blocks: u64, groups: u64, wanted: u64) -> u64 {
    let usual = if groups == 1 { (blocks / 2).min(GROUP / 4) } else { GROUP / 4 };
    let wanted = (wanted + wanted / 20 + 32).div_ceil(groups);
    usual.max(wanted).next_multiple_of(INODES_PER_BLOCK).min(GROUP)
}

/// Descriptor blocks for a filesystem 1024 times as large, steady over some change of size.
fn reserved(groups: u64, per_block: u64, descriptors: u64) -> u64 {
    let steady = if groups > 3 { groups.next_multiple_of(8) } else { groups };
    let most = (steady * 1024).min((MOST_BLOCKS + 1) / GROUP);
    most.div_ceil(per_block).saturating_sub(descriptors).min(BLOCK / 4)
}

/// The journal sizes of mke2fs, in blocks.
fn journal(blocks: u64) -> u64 {
    const SIZES: [(u64, u64); 8] = [
        (2048, 0),
        (32 << 10, 1024),
        (256 << 10, 4096),
        (512 << 10, 8192),
        (4096 << 10, 16384),
        (8192 << 10, 32768),
        (16384 << 10, 65536),
        (32768 << 10, 131_072),
    ];
    SIZES.iter().find(|(below, _)| blocks < *below).map_or(262_144, |(_, journal)| *journal)
}

fn too_large() -> Error {
    Error::TooLarge { what: "the ext4 filesystem".to_owned(), limit: MOST_BLOCKS * BLOCK }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn superblocks_are_where_the_format_wants_them() {
        let groups: Vec<_> = (0..130).filter(|group| has_superblock(*group)).collect();
        assert_eq!(groups, [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125]);
    }

    #[test]
    fn what_an_error_names_is_enough() {
        let features = Features::parse(&[]).unwrap();
        for blocks in [10, 1000, 31_000, 40_000, 270_000, 3_000_000] {
            for inodes in [20, 5000, 200_000] {
                let demand = Demand { inodes, blocks, split: blocks };
                let Err(Error::TooSmall { needed, .. }) = Geometry::solve(&demand, Size::Fixed(1 << 20), features)
                else {
                    assert_eq!((blocks, inodes), (10, 20));
                    continue;
                };
                assert_eq!(Geometry::solve(&demand, Size::Fixed(needed), features).unwrap().blocks * BLOCK, needed);
                let auto = Geometry::solve(&demand, Size::Auto, features).unwrap();
                assert!(auto.blocks * BLOCK >= needed);
            }
        }
    }
}
