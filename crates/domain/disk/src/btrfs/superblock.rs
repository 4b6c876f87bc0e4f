//! The superblock, at fixed places of the device.

use uuid::Uuid;

use super::key::{DEVICE, GENERATION, Key, SECTOR};
use super::node::NODE;
use super::space::Chunk;
use crate::put::Put as _;

/// Bytes of a superblock.
pub(super) const LENGTH: u64 = 4096;
/// Where it lies, and where its copies do on devices that are long enough.
pub(super) const PLACES: [u64; 3] = [64 << 10, SECOND, 256 << 30];
pub(super) const SECOND: u64 = 64 << 20;

/// Mixed back references, large nodes, names of links in items of their own, small items of nodes, no items for holes.
const INCOMPATIBLE: u64 = 0x1 | 0x20 | 0x40 | 0x100 | 0x200;
/// The tree of free space is there, and right.
const READ_ONLY_COMPATIBLE: u64 = 0x1 | 0x2;
const ROOT_TREE_DIR: u64 = 6;

/// What a superblock says.
pub(super) struct Superblock<'a> {
    pub filesystem: Uuid,
    pub label: &'a str,
    /// Length of the device in bytes.
    pub total: u64,
    /// Bytes in use.
    pub used: u64,
    pub device: &'a [u8],
    pub device_uuid: Uuid,
    /// Address and level.
    pub root: (u64, u8),
    pub chunk_root: (u64, u8),
    /// The chunk in which the tree of chunks is.
    pub system: &'a Chunk,
}

impl Superblock<'_> {
    /// Returns the copy for byte `at` of the device.
    pub fn render(&self, at: u64) -> Vec<u8> {
        let mut bytes = vec![0; LENGTH as usize];
        bytes.put(32, self.filesystem.as_bytes());
        bytes.le64(48, at);
        bytes.le64(56, 1);
        bytes.put(64, b"_BHRfS_M");
        bytes.le64(72, GENERATION);
        bytes.le64(80, self.root.0);
        bytes.le64(88, self.chunk_root.0);
        bytes.le64(112, self.total);
        bytes.le64(120, self.used);
        bytes.le64(128, ROOT_TREE_DIR);
        bytes.le64(136, 1);
        bytes.le32(144, SECTOR as u32);
        bytes.le32(148, NODE as u32);
        bytes.le32(152, NODE as u32);
        bytes.le32(156, SECTOR as u32);
        bytes.le64(164, GENERATION);
        bytes.le64(180, READ_ONLY_COMPATIBLE);
        bytes.le64(188, INCOMPATIBLE);
        bytes.u8(198, self.root.1);
        bytes.u8(199, self.chunk_root.1);
        bytes.put(201, self.device);
        bytes.put(299, self.label.as_bytes());
        bytes.le64(563, GENERATION);
        let chunk = self.system.render(self.device_uuid);
        bytes.le32(160, (Key::LENGTH + chunk.len()) as u32);
        self.system.key().put(&mut bytes, 811);
        bytes.put(811 + Key::LENGTH, &chunk);
        let sum = crc32c::crc32c(&bytes[32..]);
        bytes.le32(0, sum);
        bytes
    }
}

/// Returns what is said of the device, here and in the tree of chunks; lengths in bytes.
pub(super) fn device(total: u64, taken: u64, device: Uuid, filesystem: Uuid) -> Vec<u8> {
    let mut bytes = vec![0; 98];
    bytes.le64(0, DEVICE);
    bytes.le64(8, total);
    bytes.le64(16, taken);
    bytes.le32(24, SECTOR as u32);
    bytes.le32(28, SECTOR as u32);
    bytes.le32(32, SECTOR as u32);
    bytes.put(66, device.as_bytes());
    bytes.put(82, filesystem.as_bytes());
    bytes
}
