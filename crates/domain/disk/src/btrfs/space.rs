//! Space: which parts of the device hold what, under which addresses, and who uses them.
//!
//! Metadata is kept twice. Nothing lies on the copies of the superblock, so that no address has to be left out.

use uuid::Uuid;

use super::data::{CHUNK, Data, START};
use super::key::{CHUNKS, DEVICE, GENERATION, Item, Key, SECTOR, kind, tree};
use super::node::NODE;
use super::superblock::SECOND;
use crate::put::Put as _;

const MIB: u64 = 1 << 20;
/// Length of the chunk for the tree of chunks.
const SYSTEM: u64 = 8 * MIB;
const STRIPE: u32 = 64 << 10;

/// What a chunk is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Data,
    System,
    Metadata,
}

impl Use {
    /// Returns the flags: what it is for, and whether it is there twice.
    fn flags(self) -> u64 {
        match self {
            Self::Data => 1,
            Self::System => 2 | 1 << 5,
            Self::Metadata => 4 | 1 << 5,
        }
    }
}

/// A range of addresses and the places where it lies.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    pub r#use: Use,
    /// Address in the filesystem.
    pub address: u64,
    pub len: u64,
    /// First bytes on the device.
    pub places: Vec<u64>,
    /// Bytes that are taken, from the front.
    pub used: u64,
}

/// Where metadata begins: addresses of the tree of chunks, and of all other trees.
pub(super) const SYSTEM_START: u64 = 16 * MIB;
pub(super) const METADATA_START: u64 = 64 * MIB;

/// The chunks of a filesystem.
pub(super) struct Space {
    pub chunks: Vec<Chunk>,
    /// Bytes of the device up to the end of the last chunk.
    pub end: u64,
}

impl Space {
    /// Returns the chunks for so many nodes of the tree of chunks and of the others, and so many bytes of data.
    pub fn new(system: u64, metadata: u64, data: u64) -> Self {
        let mut space = Self { chunks: vec![], end: MIB };
        space.add(Use::System, SYSTEM_START, SYSTEM, system * NODE);
        space.end = SECOND + MIB;
        // A running system writes nodes anew before it gives old ones up.
        let len = (2 * metadata * NODE).max(32 * MIB).next_multiple_of(MIB);
        space.add(Use::Metadata, METADATA_START, len, metadata * NODE);
        let mut at = 0;
        while at < data.max(1) {
            let used = (data - at).min(CHUNK);
            space.add(Use::Data, START + at, used.max(8 * MIB).next_multiple_of(MIB), used);
            at += CHUNK;
        }
        space
    }

    fn add(&mut self, r#use: Use, address: u64, len: u64, used: u64) {
        let copies = if r#use == Use::Data { 1 } else { 2 };
        let places = (0..copies).map(|copy| self.end + copy * len).collect();
        self.end += copies * len;
        self.chunks.push(Chunk { r#use, address, len, places, used });
    }

    pub fn of(&self, wanted: Use) -> impl Iterator<Item = &Chunk> {
        self.chunks.iter().filter(move |chunk| chunk.r#use == wanted)
    }

    /// Returns the bytes of the device that chunks take.
    pub fn taken(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.len * chunk.places.len() as u64).sum()
    }

    /// Returns the bytes that are in use.
    pub fn used(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.used).sum()
    }

    /// Returns the items of the tree of chunks.
    pub fn chunk_items(&self, device: &[u8], uuid: Uuid) -> Vec<Item> {
        let device = Item::new(Key::new(1, kind::DEVICE, DEVICE), device.to_vec());
        let chunk = |chunk: &Chunk| Item::new(chunk.key(), chunk.render(uuid));
        std::iter::once(device).chain(self.chunks.iter().map(chunk)).collect()
    }

    /// Returns the items of the tree of the device.
    pub fn device_items(&self, chunk_tree: Uuid) -> Vec<Item> {
        let places = self.chunks.iter().flat_map(|chunk| chunk.places.iter().map(move |place| (chunk, *place)));
        let item = |(chunk, place): (&Chunk, u64)| {
            let mut bytes = vec![0; 48];
            bytes.le64(0, tree::CHUNK);
            bytes.le64(8, CHUNKS);
            bytes.le64(16, chunk.address);
            bytes.le64(24, chunk.len);
            bytes.put(32, chunk_tree.as_bytes());
            Item::new(Key::new(DEVICE, kind::DEVICE_EXTENT, place), bytes)
        };
        places.map(item).collect()
    }

    /// Returns the items of the tree of free space: what is behind the used part of every chunk.
    pub fn free_items(&self) -> Vec<Item> {
        let of = |chunk: &Chunk| {
            let free = chunk.len - chunk.used;
            let mut info = vec![0; 8];
            info.le32(0, u32::from(free > 0));
            let info = Item::new(Key::new(chunk.address, kind::FREE_INFO, chunk.len), info);
            let range = Item::new(Key::new(chunk.address + chunk.used, kind::FREE_EXTENT, free), vec![]);
            std::iter::once(info).chain((free > 0).then_some(range))
        };
        self.chunks.iter().flat_map(of).collect()
    }

    /// Returns the items of the tree of extents; `nodes` are the address, level and tree of every node.
    pub fn extent_items(&self, nodes: &[(u64, u8, u64)], data: &Data<'_>) -> Vec<Item> {
        let groups = self.chunks.iter().map(|chunk| {
            let mut bytes = vec![0; 24];
            bytes.le64(0, chunk.used);
            bytes.le64(8, CHUNKS);
            bytes.le64(16, chunk.r#use.flags());
            Item::new(Key::new(chunk.address, kind::BLOCK_GROUP, chunk.len), bytes)
        });
        let nodes = nodes.iter().map(|(address, level, owner)| {
            let mut bytes = head(2, 33);
            bytes.u8(24, kind::TREE_BLOCK_REF);
            bytes.le64(25, *owner);
            Item::new(Key::new(*address, kind::METADATA, u64::from(*level)), bytes)
        });
        let runs = data.runs.iter().map(|run| {
            let mut bytes = head(1, 53);
            bytes.u8(24, kind::EXTENT_DATA_REF);
            bytes.le64(25, run.tree);
            bytes.le64(33, run.inode);
            bytes.le64(41, run.from);
            bytes.le32(49, 1);
            Item::new(Key::new(START + run.at, kind::EXTENT, run.len), bytes)
        });
        groups.chain(nodes).chain(runs).collect()
    }
}

/// One reference, in the first transaction, to data (1) or a node (2).
fn head(flags: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    bytes.le64(0, 1);
    bytes.le64(8, GENERATION);
    bytes.le64(16, flags);
    bytes
}

impl Chunk {
    pub fn key(&self) -> Key {
        Key::new(CHUNKS, kind::CHUNK, self.address)
    }

    pub fn render(&self, device: Uuid) -> Vec<u8> {
        let mut bytes = vec![0; 48 + 32 * self.places.len()];
        bytes.le64(0, self.len);
        bytes.le64(8, tree::EXTENT);
        bytes.le64(16, u64::from(STRIPE));
        bytes.le64(24, self.r#use.flags());
        bytes.le32(32, STRIPE);
        bytes.le32(36, STRIPE);
        bytes.le32(40, SECTOR as u32);
        bytes.le16(44, self.places.len() as u16);
        bytes.le16(46, 1);
        for (at, place) in self.places.iter().enumerate() {
            bytes.le64(48 + 32 * at, DEVICE);
            bytes.le64(56 + 32 * at, *place);
            bytes.put(64 + 32 * at, device.as_bytes());
        }
        bytes
    }
}
