//! Numbers into byte buffers at fixed places, as on-disk structures want them, and the checksum that several of them have.

/// A buffer with numbers at fixed offsets.
pub(crate) trait Put {
    fn put(&mut self, at: usize, bytes: &[u8]);
    fn u8(&mut self, at: usize, value: u8) {
        self.put(at, &[value]);
    }
    fn le16(&mut self, at: usize, value: u16) {
        self.put(at, &value.to_le_bytes());
    }
    fn le32(&mut self, at: usize, value: u32) {
        self.put(at, &value.to_le_bytes());
    }
    fn le64(&mut self, at: usize, value: u64) {
        self.put(at, &value.to_le_bytes());
    }
    fn be32(&mut self, at: usize, value: u32) {
        self.put(at, &value.to_be_bytes());
    }
}

impl Put for [u8] {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        self[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

/// CRC-32 as in Ethernet and zip (reflected 0xedb88320); a table is a few kilobytes, so bit by bit will do.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_known_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
