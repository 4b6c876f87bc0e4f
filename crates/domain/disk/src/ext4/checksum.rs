//! crc32c as ext4 uses it: seeded with the filesystem's UUID, never inverted.

use uuid::Uuid;

/// The filesystem's checksums; all zero when they are off.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sums {
    seed: u32,
    on: bool,
}

impl Sums {
    pub fn new(uuid: Uuid, on: bool) -> Self {
        Self { seed: raw(!0, uuid.as_bytes()), on }
    }

    pub fn on(self) -> bool {
        self.on
    }

    /// Bytes at the end of a directory block that hold its checksum.
    pub fn tail(self) -> usize {
        if self.on { 12 } else { 0 }
    }

    pub fn of(self, parts: &[&[u8]]) -> u32 {
        self.from(self.seed, parts)
    }

    /// Returns the sums of things that belong to an inode (of generation 0).
    pub fn inode(self, number: u32) -> Self {
        Self { seed: raw(raw(self.seed, &number.to_le_bytes()), &[0; 4]), ..self }
    }

    /// Returns the superblock's own checksum, which has no seed.
    pub fn superblock(self, bytes: &[u8]) -> u32 {
        self.from(!0, &[bytes])
    }

    fn from(self, seed: u32, parts: &[&[u8]]) -> u32 {
        if self.on { parts.iter().fold(seed, |crc, part| raw(crc, part)) } else { 0 }
    }
}

fn raw(crc: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!crc, bytes)
}
