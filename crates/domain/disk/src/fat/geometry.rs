//! How large a FAT filesystem is, and of which kind.
//!
//! The kind follows from the number of clusters alone, so firmware and we must count alike: FAT32 from 260 MiB on
//! (where 4 KiB clusters are enough of them), FAT16 below.

use kiln_model::action::Size;

use crate::Error;

pub(super) const SECTOR: u64 = 512;
const MIB: u64 = 1 << 20;
/// From this size on in bytes, FAT32.
const LARGE: u64 = 260 * MIB;
/// Fewer clusters than these would be FAT12, more would be FAT32; a few are kept off the edge, as implementations differ.
const FAT16_CLUSTERS: std::ops::Range<u64> = 4085 + 16..65525 - 16;
/// Bytes of an entry of a directory.
pub(super) const ENTRY: u64 = 32;

/// What a tree wants.
pub(super) struct Demand {
    /// Length in bytes of every file, and of every directory below the root.
    pub lengths: Vec<u64>,
    /// Length of the root directory in bytes.
    pub root: u64,
}

/// The shape of a filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub sectors: u64,
    /// Bytes of a cluster.
    pub cluster: u64,
    /// Sectors before the first table.
    pub reserved: u64,
    /// Sectors of one table.
    pub table: u64,
    /// Entries of the root directory; none in FAT32, whose root is like any other.
    pub root: u64,
    pub clusters: u64,
    pub wide: bool,
}

impl Geometry {
    pub fn solve(demand: &Demand, size: Size) -> Result<Self, Error> {
        match size {
            Size::Auto => Self::grow(demand, 0, &|size| MIB + size / 50),
            Size::Roomy { minimum, free } => Self::grow(demand, minimum, &|_| free),
            Size::Fixed(size) => match Self::of(size, demand)? {
                Some(shape) if shape.holds(demand, 0) => Ok(shape),
                _ => {
                    let needed = Self::grow(demand, 0, &|_| 0)?.sectors * SECTOR;
                    Err(Error::TooSmall { what: "the FAT filesystem".to_owned(), size, needed })
                }
            },
        }
    }

    fn grow(demand: &Demand, least: u64, free: &dyn Fn(u64) -> u64) -> Result<Self, Error> {
        let content: u64 = demand.lengths.iter().sum();
        let mut size = least.max(content).next_multiple_of(MIB).max(MIB);
        loop {
            match Self::of(size, demand)? {
                Some(shape) if shape.holds(demand, free(size)) => return Ok(shape),
                _ => size += MIB,
            }
        }
    }

    /// Returns the shape that `size` bytes have; none where they are too few for FAT16.
    fn of(size: u64, demand: &Demand) -> Result<Option<Self>, Error> {
        let sectors = size / SECTOR;
        if sectors > u64::from(u32::MAX) {
            return Err(Error::TooLarge { what: "the FAT filesystem".to_owned(), limit: u64::from(u32::MAX) * SECTOR });
        }
        if size >= LARGE {
            return Ok(Self::with(sectors, large_cluster(size), 0, true));
        }
        let root = (demand.root / ENTRY + 64).next_multiple_of(16).max(512);
        let sizes = (0..7).map(|power| SECTOR << power);
        let shapes = sizes.filter_map(|cluster| Self::with(sectors, cluster, root, false));
        Ok(shapes.into_iter().find(|shape| FAT16_CLUSTERS.contains(&shape.clusters)))
    }

    fn with(sectors: u64, cluster: u64, root: u64, wide: bool) -> Option<Self> {
        let reserved = if wide { 32 } else { 4 };
        let data = sectors.checked_sub(reserved + root * ENTRY / SECTOR)?;
        let per_cluster = cluster / SECTOR;
        let per_sector = SECTOR / if wide { 4 } else { 2 };
        // Each table sector serves so many clusters; two tables stand before them.
        let table = (data + 2 * per_cluster).div_ceil(per_cluster * per_sector + 2);
        let clusters = data.checked_sub(2 * table)? / per_cluster;
        Some(Self { sectors, cluster, reserved, table, root, clusters, wide })
    }

    fn holds(&self, demand: &Demand, free: u64) -> bool {
        let lengths: u64 = demand.lengths.iter().map(|len| len.div_ceil(self.cluster)).sum();
        let root = if self.wide { demand.root.div_ceil(self.cluster).max(1) } else { 0 };
        lengths + root + free.div_ceil(self.cluster) <= self.clusters
    }

    /// Returns where the root directory of FAT16 begins, in bytes.
    pub fn root_offset(&self) -> u64 {
        (self.reserved + 2 * self.table) * SECTOR
    }

    /// Returns where a cluster begins, in bytes.
    pub fn offset(&self, cluster: u32) -> u64 {
        self.root_offset() + self.root * ENTRY + (u64::from(cluster) - 2) * self.cluster
    }
}

fn large_cluster(size: u64) -> u64 {
    match size >> 30 {
        0..8 => 4 << 10,
        8..16 => 8 << 10,
        16..32 => 16 << 10,
        _ => 32 << 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_clusters_fits_the_kind() {
        let demand = Demand { lengths: vec![], root: 0 };
        for mib in (3..300).chain([512, 4096, 9000, 40_000, 2_000_000]) {
            let shape = Geometry::solve(&demand, Size::Fixed(mib * MIB)).unwrap();
            assert_eq!(shape.wide, mib >= 260, "{mib} MiB");
            assert_eq!(shape.clusters >= 65525, shape.wide, "{mib} MiB: {shape:?}");
            let in_table = shape.table * SECTOR / if shape.wide { 4 } else { 2 };
            assert!(in_table >= shape.clusters + 2, "{mib} MiB: {shape:?}");
            assert!(shape.offset(shape.clusters as u32 + 2) <= mib * MIB, "{mib} MiB: {shape:?}");
        }
        assert!(matches!(Geometry::solve(&demand, Size::Fixed(MIB)), Err(Error::TooSmall { .. })));
    }
}
