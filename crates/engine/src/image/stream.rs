//! Images into streams.

use std::io::{self, Write};
use std::ops::Range;

use kiln_disk::bmap::Blocks;
use kiln_model::{Digest, Extents};

use super::hash::{Hasher, write_zeros};
use super::load::{Files, load};
use super::pipeline::in_order;
use super::window::{Window, windows};

/// Writes the whole image, zeros and all, to `out`; `progress` hears how many bytes more are done. Returns the digests of
/// the ranges in `map`, as for [`super::write_file`].
pub fn write_stream(
    extents: &Extents,
    map: &[Blocks],
    out: &mut dyn Write,
    progress: &dyn Fn(u64),
) -> io::Result<Vec<(Blocks, Digest)>> {
    let work = |window: &Window, buffer: &mut Vec<u8>, files: &mut Files| {
        load(extents, window, buffer, files)?;
        let first = map.partition_point(|blocks| blocks.bytes(extents.size).end <= window.offset);
        let inside = map[first..].iter().take_while(|blocks| blocks.bytes(extents.size).start < window.end());
        let digest = |blocks: &Blocks| {
            let Range { start, end } = blocks.bytes(extents.size);
            (*blocks, Digest::of(&buffer[(start - window.offset) as usize..(end - window.offset) as usize]))
        };
        Ok(inside.map(digest).collect::<Vec<_>>())
    };
    let mut ranges = Vec::with_capacity(map.len());
    in_order(&windows(extents), work, |window, loaded| {
        match loaded {
            Some((bytes, digests)) => {
                out.write_all(bytes)?;
                ranges.extend(digests);
            }
            None => write_zeros(out, window.len)?,
        }
        progress(window.len);
        Ok(())
    })?;
    Ok(ranges)
}

/// A writer that takes length and SHA-256 of what passes through.
pub struct Hashing<W> {
    inner: W,
    hasher: Hasher,
    len: u64,
}

impl<W: Write> Hashing<W> {
    pub fn new(inner: W) -> Self {
        Self { inner, hasher: Hasher::default(), len: 0 }
    }

    /// Returns the writer, the bytes that passed and their digest.
    pub fn finish(self) -> (W, u64, Digest) {
        (self.inner, self.len, self.hasher.finish())
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.len += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
