//! Images into files: sparse, in parallel, and only what changed where a previous image is at hand.

use std::io;
use std::path::Path;

use kiln_disk::bmap::Blocks;
use kiln_model::{Digest, Extents};

use super::Index;

/// An image that was written before.
#[derive(Clone, Copy, Debug)]
pub struct Previous<'a> {
    pub image: &'a Path,
    pub index: &'a Index,
    /// Whether the file may be used up: it is renamed and patched instead of copied.
    pub take: bool,
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Written {
    /// The image's length in bytes.
    pub size: u64,
    /// SHA-256 of the whole image.
    pub sha256: Digest,
    /// What a block map wants to know.
    pub ranges: Vec<(Blocks, Digest)>,
    /// Bytes that were written anew; the rest was there already.
    pub fresh: u64,
    /// What the next image of this kind starts from.
    pub index: Index,
}

/// Writes the image to `to`, replacing what is there; `progress` hears how many bytes more are done, on this thread.
///
/// With a previous image that is still as it was written, only differing extents are written; the bytes are the same.
pub fn write_file(
    extents: &Extents,
    to: &Path,
    previous: Option<&Previous<'_>>,
    progress: &dyn Fn(u64),
) -> io::Result<Written> {
    let _ = (extents, to, previous, progress);
    Err(io::ErrorKind::Unsupported.into())
}
