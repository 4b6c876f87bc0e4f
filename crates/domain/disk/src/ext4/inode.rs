//! Inodes: 256 bytes of who, when, how long and where.

use super::checksum::Sums;
use super::geometry::{BLOCK, INODE};
use crate::put::Put as _;

pub(super) const EXTENTS: u32 = 0x8_0000;
pub(super) const HASHED: u32 = 0x1000;

/// An inode with nothing left to decide.
#[derive(Clone, Debug)]
pub(super) struct Inode {
    /// Type and permissions.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub links: u32,
    /// Blocks of content, of lists of extents and of attributes.
    pub blocks: u64,
    pub flags: u32,
    /// All its times, in seconds since 1970.
    pub time: i64,
    /// Extents, numbers of blocks, a short link's target or a device.
    pub block: [u8; 60],
    /// Block of its attributes, or 0.
    pub attributes: u64,
    /// What stands behind the fields.
    pub behind: [u8; 96],
}

impl Default for Inode {
    fn default() -> Self {
        Self {
            mode: 0,
            uid: 0,
            gid: 0,
            size: 0,
            links: 1,
            blocks: 0,
            flags: 0,
            time: 0,
            block: [0; 60],
            attributes: 0,
            behind: [0; 96],
        }
    }
}

impl Inode {
    /// Returns the bytes; `sums` are those of this inode's number.
    pub fn render(&self, sums: Sums) -> [u8; INODE as usize] {
        let mut bytes = [0; INODE as usize];
        self.owner_and_size(&mut bytes);
        self.times(&mut bytes);
        bytes.le16(26, self.links as u16);
        bytes.le32(32, self.flags);
        bytes.put(40, &self.block);
        bytes.le32(104, self.attributes as u32);
        bytes.le16(118, (self.attributes >> 32) as u16);
        bytes.le16(128, 32); // bytes of fields beyond the first 128
        bytes.put(160, &self.behind);
        let sum = sums.of(&[&bytes]);
        bytes.le16(124, sum as u16);
        bytes.le16(130, (sum >> 16) as u16);
        bytes
    }

    fn owner_and_size(&self, bytes: &mut [u8]) {
        let sectors = self.blocks * (BLOCK / 512);
        bytes.le16(0, self.mode as u16);
        bytes.le16(2, self.uid as u16);
        bytes.le16(24, self.gid as u16);
        bytes.le16(120, (self.uid >> 16) as u16);
        bytes.le16(122, (self.gid >> 16) as u16);
        bytes.le32(4, self.size as u32);
        bytes.le32(108, (self.size >> 32) as u32);
        bytes.le32(28, sectors as u32);
        bytes.le16(116, (sectors >> 32) as u16);
    }

    fn times(&self, bytes: &mut [u8]) {
        let time = self.time.clamp(i64::from(i32::MIN), i64::from(i32::MIN) + (4 << 32) - 1);
        let epoch = ((time - i64::from(time as i32)) >> 32) as u32 & 3;
        [8, 12, 16, 144].into_iter().for_each(|at| bytes.le32(at, time as u32));
        [132, 136, 140, 148].into_iter().for_each(|at| bytes.le32(at, epoch));
    }
}

/// Returns the block field of a device: short numbers in the old form, others in the new.
pub(super) fn device(major: u32, minor: u32) -> [u8; 60] {
    let mut block = [0; 60];
    if major < 256 && minor < 256 {
        block.le32(0, major << 8 | minor);
    } else {
        block.le32(4, (minor & 0xff) | major << 8 | (minor & !0xff) << 12);
    }
    block
}
