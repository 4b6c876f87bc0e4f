//! Numbers into byte buffers at fixed places, as on-disk structures want them.

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
