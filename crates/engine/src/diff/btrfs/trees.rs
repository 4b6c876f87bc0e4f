//! The trees of a btrfs on one device: where logical addresses lie, and the items of a tree.
//!
//! Numbers and structures are those of the kernel's `btrfs_tree.h` and of the on-disk format's page of btrfs.readthedocs.io.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use kiln_disk::btrfs::key::{Key, kind};

use super::super::block::Bytes;
use super::super::walk::broken;

/// Where the first superblock lies.
pub(super) const SUPERBLOCK: u64 = 64 << 10;
const LENGTH: usize = 4096;
const MAGIC: &[u8; 8] = b"_BHRfS_M";

/// Of features that older kernels must not read: all but parity, zones, the second tree of extents and the tree of stripes.
const KNOWN: u64 = 0x7f | 0x100 | 0x200 | 0x400 | 0x800 | 0x1_0000;
/// Chunks whose bytes are spread over several places.
const SPREAD: u64 = 1 << 3 | 1 << 6 | 1 << 7 | 1 << 8;

const HEADER: usize = 101;
/// No tree is higher.
const LEVELS: u8 = 8;

/// The items of a tree.
pub(super) type Items = BTreeMap<Key, Vec<u8>>;

/// The root of a tree: its logical address and level.
pub(super) type Root = (u64, u8);

/// What the superblock says of the filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Superblock {
    pub label: String,
    pub uuid: String,
    node: usize,
    root: Root,
    chunk_root: Root,
    bytes: Vec<u8>,
}

impl Superblock {
    /// Reads it; none when the bytes are no btrfs.
    pub fn read(device: &dyn Bytes) -> Option<Self> {
        let bytes = device.take(SUPERBLOCK, LENGTH).ok().filter(|bytes| bytes[64..72] == *MAGIC)?;
        let label = bytes[299..555].split(|byte| *byte == 0).next().unwrap_or_default();
        Some(Self {
            label: String::from_utf8_lossy(label).into_owned(),
            uuid: uuid::Uuid::from_slice(&bytes[32..48]).ok()?.to_string(),
            node: u32_at(&bytes, 148).ok()? as usize,
            root: (u64_at(&bytes, 80).ok()?, bytes[198]),
            chunk_root: (u64_at(&bytes, 88).ok()?, bytes[199]),
            bytes,
        })
    }

    fn check(&self) -> io::Result<()> {
        let unknown = u64_at(&self.bytes, 188)? & !KNOWN;
        if unknown != 0 {
            return Err(broken(format!("a btrfs feature that kiln does not read ({unknown:#x})")));
        }
        if !self.sums().hold(&self.bytes)? {
            return Err(broken("a btrfs superblock that is damaged"));
        }
        match u64_at(&self.bytes, 136)? {
            1 => {}
            devices => return Err(broken(format!("a btrfs over {devices} devices; kiln reads those on one"))),
        }
        if !(4096..=65536).contains(&self.node) || !self.node.is_power_of_two() {
            return Err(broken("a btrfs superblock that makes no sense"));
        }
        Ok(())
    }

    fn sums(&self) -> Sums {
        if self.bytes[196..198] == [0, 0] { Sums::Crc32c } else { Sums::Other }
    }

    /// Returns the chunks in which the tree of chunks is.
    fn system(&self) -> io::Result<Chunks> {
        let length = u32_at(&self.bytes, 160)? as usize;
        let mut rest = self.bytes.get(811..811 + length.min(2048)).unwrap_or_default();
        let mut chunks = Chunks::new();
        while rest.len() > Key::LENGTH {
            let key = key(rest)?;
            let stripes = usize::from(u16_at(&rest[Key::LENGTH..], 44)?);
            chunks.insert(key.offset, Chunk::read(&rest[Key::LENGTH..])?);
            rest = rest.get(Key::LENGTH + 48 + stripes * 32..).unwrap_or_default();
        }
        Ok(chunks)
    }
}

/// The kind of checksums that nodes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sums {
    Crc32c,
    /// One of the rarer and longer ones, which are believed.
    Other,
}

impl Sums {
    fn hold(self, block: &[u8]) -> io::Result<bool> {
        Ok(self == Self::Other || u32_at(block, 0)? == crc32c::crc32c(block.get(32..).unwrap_or_default()))
    }
}

/// Chunks by the logical address at which each begins.
type Chunks = BTreeMap<u64, Chunk>;

/// A run of logical addresses, and the first place where its bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Chunk {
    length: u64,
    place: u64,
}

impl Chunk {
    fn read(item: &[u8]) -> io::Result<Self> {
        let (length, kind, stripes) = (u64_at(item, 0)?, u64_at(item, 24)?, u16_at(item, 44)?);
        if kind & SPREAD != 0 && stripes != 1 {
            return Err(broken("a btrfs chunk that is spread over several places"));
        }
        Ok(Self { length, place: u64_at(item, 56)? })
    }
}

/// The device, and where addresses lie on it.
pub(super) struct Trees {
    device: Arc<dyn Bytes>,
    node: usize,
    sums: Sums,
    chunks: Chunks,
    /// How many nodes may still be read: no sound filesystem has more than fit on its device.
    left: Cell<u64>,
}

impl Trees {
    /// Opens the filesystem and returns the tree of roots too.
    pub fn open(device: Arc<dyn Bytes>) -> io::Result<(Self, Items)> {
        let superblock = Superblock::read(&*device).ok_or_else(|| broken("no btrfs"))?;
        superblock.check()?;
        let left = Cell::new(device.size() / superblock.node as u64);
        let mut trees =
            Self { device, node: superblock.node, sums: superblock.sums(), chunks: superblock.system()?, left };
        let chunks = trees.items(superblock.chunk_root)?;
        for (key, item) in chunks.iter().filter(|(key, _)| key.kind == kind::CHUNK) {
            trees.chunks.insert(key.offset, Chunk::read(item)?);
        }
        let roots = trees.items(superblock.root)?;
        Ok((trees, roots))
    }

    /// Returns all items of a tree.
    pub fn items(&self, root: Root) -> io::Result<Items> {
        let mut items = Items::new();
        if root.1 >= LEVELS {
            return Err(broken(format!("a btrfs tree of {} levels", root.1)));
        }
        self.node(root, &mut items)?;
        Ok(items)
    }

    fn node(&self, (address, level): Root, items: &mut Items) -> io::Result<()> {
        self.left.set(
            self.left.get().checked_sub(1).ok_or_else(|| broken("more btrfs nodes than the device has room for"))?,
        );
        let mut node = vec![0; self.node];
        self.read(address, &mut node)?;
        if !self.sums.hold(&node)? {
            return Err(broken(format!("the btrfs node at {address:#x} is damaged")));
        }
        if u64_at(&node, 48)? != address || u8_at(&node, 100)? != level {
            return Err(broken(format!("no btrfs node of level {level} at {address:#x}")));
        }
        let count = u32_at(&node, 96)? as usize;
        let (body, step) = (&node[HEADER..], if level == 0 { Key::LENGTH + 8 } else { Key::LENGTH + 16 });
        if count > body.len() / step {
            return Err(broken("a btrfs node with more in it than it has room for"));
        }
        for head in body.chunks_exact(step).take(count) {
            let key = key(head)?;
            if level > 0 {
                self.node((u64_at(head, Key::LENGTH)?, level - 1), items)?;
                continue;
            }
            let (from, length) = (u32_at(head, Key::LENGTH)? as usize, u32_at(head, Key::LENGTH + 4)? as usize);
            let data = from.checked_add(length).and_then(|end| body.get(from..end));
            items.insert(key, data.ok_or_else(|| broken("a btrfs item beyond its node"))?.to_vec());
        }
        Ok(())
    }

    /// Fills `buffer` from a logical address on.
    pub fn read(&self, address: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            let at = address.checked_add(done as u64);
            let found =
                at.and_then(|at| self.chunks.range(..=at).next_back().map(|(start, chunk)| (at - start, chunk)));
            let (inside, chunk) = found
                .filter(|(inside, chunk)| *inside < chunk.length)
                .ok_or_else(|| broken(format!("the btrfs address {address:#x} lies nowhere")))?;
            let now = (buffer.len() - done).min(usize::try_from(chunk.length - inside).unwrap_or(usize::MAX));
            let place = chunk.place.checked_add(inside).ok_or_else(|| broken("a btrfs chunk beyond its device"))?;
            self.device.read_at(place, &mut buffer[done..done + now])?;
            done += now;
        }
        Ok(())
    }
}

/// Reads a key at the beginning of `bytes`.
pub(super) fn key(bytes: &[u8]) -> io::Result<Key> {
    Key::read(bytes).ok_or_else(|| broken("a btrfs item that is too short"))
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> io::Result<[u8; N]> {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk());
    found.copied().ok_or_else(|| broken("a btrfs item that is too short"))
}

pub(super) fn u8_at(bytes: &[u8], at: usize) -> io::Result<u8> {
    bytes_at::<1>(bytes, at).map(|[byte]| byte)
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> io::Result<u16> {
    bytes_at(bytes, at).map(u16::from_le_bytes)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> io::Result<u32> {
    bytes_at(bytes, at).map(u32::from_le_bytes)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> io::Result<u64> {
    bytes_at(bytes, at).map(u64::from_le_bytes)
}
