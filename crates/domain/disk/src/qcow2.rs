//! qcow2 (version 3) files around a raw image.
//!
//! Tables first, then the clusters that hold something, in the order of the disk; the rest of the disk has no cluster
//! and reads as zeros.

use kiln_model::{Extent, Extents};

use crate::put::Put as _;

/// Length of a cluster in bytes.
const CLUSTER: u64 = 64 << 10;
/// Entries of 64 bits in a cluster.
const ENTRIES: u64 = CLUSTER / 8;
/// Counts of 16 bits in a cluster.
const COUNTS: u64 = CLUSTER / 2;
const HEADER: usize = 104;
/// In a table: nobody else refers to this cluster.
const OWNED: u64 = 1 << 63;

/// Guest clusters that lie together on the disk and in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    guest: u64,
    file: u64,
    clusters: u64,
}

/// Where the tables of the file are, in clusters.
struct Shape {
    guest: u64,
    refcount_table: u64,
    refcount_blocks: u64,
    l1: u64,
    /// Guest clusters, by [`ENTRIES`], that have a table.
    l2: Vec<u64>,
    data: u64,
}

/// Returns the qcow2 file of the raw disk `raw`: again extents, with only the clusters that hold something.
pub fn layout(raw: &Extents) -> Extents {
    let mut runs = runs(raw);
    let shape = Shape::new(raw.size, &runs);
    let mut next = shape.first_data();
    for run in &mut runs {
        run.file = next;
        next += run.clusters;
    }
    let mut file = Extents { size: next * CLUSTER, list: Vec::new() };
    file.bytes(0, shape.header(raw.size));
    file.bytes(CLUSTER, shape.refcount_table());
    file.bytes((1 + shape.refcount_table) * CLUSTER, counts(next));
    shape.tables(&runs, &mut file);
    data(raw, &runs, &mut file);
    file.seal()
}

fn runs(raw: &Extents) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for extent in &raw.list {
        let (first, end) = (extent.offset / CLUSTER, (extent.offset + extent.len).div_ceil(CLUSTER));
        match runs.last_mut().filter(|run| run.guest + run.clusters >= first) {
            Some(run) => run.clusters = run.clusters.max(end - run.guest),
            None => runs.push(Run { guest: first, file: 0, clusters: end - first }),
        }
    }
    runs
}

impl Shape {
    fn new(size: u64, runs: &[Run]) -> Self {
        let guest = size.div_ceil(CLUSTER);
        let mut l2: Vec<u64> =
            runs.iter().flat_map(|run| run.guest / ENTRIES..=(run.guest + run.clusters - 1) / ENTRIES).collect();
        l2.dedup();
        let data = runs.iter().map(|run| run.clusters).sum();
        let l1 = guest.div_ceil(ENTRIES).div_ceil(ENTRIES).max(1);
        let mut shape = Self { guest, refcount_table: 1, refcount_blocks: 1, l1, l2, data };
        // Counts count the clusters of the counts too.
        loop {
            let blocks = (shape.first_data() + data).div_ceil(COUNTS);
            let table = blocks.div_ceil(ENTRIES);
            if (blocks, table) == (shape.refcount_blocks, shape.refcount_table) {
                return shape;
            }
            (shape.refcount_blocks, shape.refcount_table) = (blocks, table);
        }
    }

    fn l1_at(&self) -> u64 {
        1 + self.refcount_table + self.refcount_blocks
    }

    fn l2_at(&self) -> u64 {
        self.l1_at() + self.l1
    }

    fn first_data(&self) -> u64 {
        self.l2_at() + self.l2.len() as u64
    }

    fn header(&self, size: u64) -> Vec<u8> {
        let mut bytes = vec![0; HEADER + 8];
        bytes.put(0, b"QFI\xfb");
        bytes.be32(4, 3);
        bytes.be32(20, CLUSTER.ilog2());
        bytes.put(24, &size.next_multiple_of(512).to_be_bytes());
        bytes.be32(36, self.guest.div_ceil(ENTRIES) as u32);
        bytes.put(40, &(self.l1_at() * CLUSTER).to_be_bytes());
        bytes.put(48, &CLUSTER.to_be_bytes());
        bytes.be32(56, self.refcount_table as u32);
        bytes.be32(96, 4); // counts of 2^4 bits
        bytes.be32(100, HEADER as u32);
        bytes
    }

    fn refcount_table(&self) -> Vec<u8> {
        let block = |at: u64| ((1 + self.refcount_table + at) * CLUSTER).to_be_bytes();
        (0..self.refcount_blocks).flat_map(block).collect()
    }

    fn tables(&self, runs: &[Run], file: &mut Extents) {
        if self.data == 0 {
            return;
        }
        let mut l1 = vec![0; self.guest.div_ceil(ENTRIES) as usize * 8];
        let mut l2 = vec![0; self.l2.len() * CLUSTER as usize];
        for (slot, part) in self.l2.iter().enumerate() {
            let at = (self.l2_at() + slot as u64) * CLUSTER;
            l1.put(*part as usize * 8, &(at | OWNED).to_be_bytes());
        }
        let mut slot = 0;
        for run in runs {
            for at in 0..run.clusters {
                let guest = run.guest + at;
                while self.l2[slot] != guest / ENTRIES {
                    slot += 1;
                }
                let place = slot as u64 * CLUSTER + guest % ENTRIES * 8;
                l2.put(place as usize, &(((run.file + at) * CLUSTER) | OWNED).to_be_bytes());
            }
        }
        file.bytes(self.l1_at() * CLUSTER, l1);
        for (slot, table) in l2.chunks(CLUSTER as usize).enumerate() {
            file.bytes((self.l2_at() + slot as u64) * CLUSTER, table);
        }
    }
}

/// Every cluster of the file is in use once.
fn counts(clusters: u64) -> Vec<u8> {
    (0..clusters).flat_map(|_| 1u16.to_be_bytes()).collect()
}

fn data(raw: &Extents, runs: &[Run], file: &mut Extents) {
    let mut runs = runs.iter().peekable();
    for extent in &raw.list {
        let cluster = extent.offset / CLUSTER;
        while runs.next_if(|run| run.guest + run.clusters <= cluster).is_some() {}
        let run = runs.peek().expect("every extent lies in a run");
        let offset = extent.offset - run.guest * CLUSTER + run.file * CLUSTER;
        file.list.push(Extent { offset, ..extent.clone() });
    }
}
