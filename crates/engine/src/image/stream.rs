//! Images into streams.

use std::io::{self, Write};

use kiln_model::{Digest, Extents};

use super::hash::{Hasher, write_zeros};
use super::load::load;
use super::pipeline::in_order;
use super::window::windows;

/// Writes the whole image, zeros and all, to `out`; `progress` hears how many bytes more are done.
pub fn write_stream(extents: &Extents, out: &mut dyn Write, progress: &dyn Fn(u64)) -> io::Result<()> {
    let work = |window: &_, buffer: &mut _, files: &mut _| load(extents, window, buffer, files);
    in_order(&windows(extents), work, |window, loaded| {
        match loaded {
            Some((bytes, ())) => out.write_all(bytes)?,
            None => write_zeros(out, window.len)?,
        }
        progress(window.len);
        Ok(())
    })
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
