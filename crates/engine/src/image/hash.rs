//! SHA-256 that can be put aside and taken up again.

use std::io::{self, Write};

use kiln_model::Digest;
use sha2::digest::common::hazmat::SerializableState as _;
use sha2::{Digest as _, Sha256};

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A digest in the making.
#[derive(Clone, Default)]
pub(super) struct Hasher(Sha256);

impl Hasher {
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Hashes `len` zeros, which come out of the processor's cache.
    pub fn zeros(&mut self, len: u64) {
        zeros(len, |zeros| {
            self.0.update(zeros);
            Ok(())
        })
        .expect("hashing does not fail");
    }

    pub fn finish(self) -> Digest {
        Digest::from_bytes(self.0.finalize().into())
    }

    /// Returns the state as bytes to keep.
    pub fn state(&self) -> Vec<u8> {
        self.0.serialize().to_vec()
    }

    pub fn resume(state: &[u8]) -> Option<Self> {
        Sha256::deserialize(state.try_into().ok()?).ok().map(Self)
    }
}

/// Hands `len` zeros to `sink`, a part at a time.
pub(super) fn zeros(mut len: u64, mut sink: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    while len > 0 {
        let part = len.min(ZEROS.len() as u64);
        sink(&ZEROS[..part as usize])?;
        len -= part;
    }
    Ok(())
}

/// Writes `len` zeros.
pub(super) fn write_zeros(out: &mut dyn Write, len: u64) -> io::Result<()> {
    zeros(len, |part| out.write_all(part))
}
