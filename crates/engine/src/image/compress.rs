//! Compression in parallel whose bytes do not depend on how many threads worked.

use std::io::{self, Write};

use kiln_model::action::{Algorithm, Compression};
use liblzma::stream::{Check, Filters, LzmaOptions, MtStreamBuilder};
use liblzma::write::XzEncoder;
use zstd::stream::write::Encoder as ZstEncoder;
use zstd::zstd_safe::CParameter;

use super::pool::Pool;

const MIB: usize = 1 << 20;
/// Lengths of what is compressed on its own, in bytes.
const GZ_BLOCK: usize = 4 * MIB;
/// Four blocks of bzip2's own largest size, less what its first pass may add.
const BZ2_BLOCK: usize = 4 * 899_900;
const XZ_BLOCK: usize = 8 * MIB;
const ZST_JOB: usize = 8 * MIB;
/// The dictionary of xz; a larger one would cost each thread ten times its length in memory.
const XZ_DICTIONARY: u32 = 4 << 20;

/// A writer that compresses into another one, over blocks of fixed length, on `threads` threads.
pub struct Compressor<W: Write> {
    kind: Kind<W>,
}

enum Kind<W: Write> {
    Zst(ZstEncoder<'static, W>),
    Xz(XzEncoder<W>),
    Blocks(Pool<W>),
}

impl<W: Write> Compressor<W> {
    pub fn new(inner: W, how: Compression, threads: usize) -> io::Result<Self> {
        let threads = threads.clamp(1, 64);
        let level = how.level;
        let kind = match how.algorithm {
            Algorithm::Zst => Kind::Zst(zst(inner, level, threads)?),
            Algorithm::Xz => Kind::Xz(xz(inner, level, threads)?),
            Algorithm::Gz => Kind::Blocks(Pool::new(inner, GZ_BLOCK, threads, level, gz)),
            Algorithm::Bz2 => Kind::Blocks(Pool::new(inner, BZ2_BLOCK, threads, level, bz2)),
        };
        Ok(Self { kind })
    }

    /// Writes what is left and returns the writer below.
    pub fn finish(self) -> io::Result<W> {
        match self.kind {
            Kind::Zst(encoder) => encoder.finish(),
            Kind::Xz(encoder) => encoder.finish(),
            Kind::Blocks(pool) => pool.finish(),
        }
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.kind {
            Kind::Zst(encoder) => encoder.write(bytes),
            Kind::Xz(encoder) => encoder.write(bytes),
            Kind::Blocks(pool) => pool.write(bytes),
        }
    }

    /// Flushes the writer below only: a flush of the compressor would make its bytes depend on when it came.
    fn flush(&mut self) -> io::Result<()> {
        match &mut self.kind {
            Kind::Zst(encoder) => encoder.get_mut().flush(),
            Kind::Xz(encoder) => encoder.get_mut().flush(),
            Kind::Blocks(pool) => pool.flush(),
        }
    }
}

/// The threads of zstd cut by length of jobs, so one thread and ten make the same bytes; none at all would not.
fn zst<W: Write>(inner: W, level: u32, threads: usize) -> io::Result<ZstEncoder<'static, W>> {
    let mut encoder = ZstEncoder::new(inner, level as i32)?;
    encoder.multithread(threads as u32)?;
    encoder.set_parameter(CParameter::JobSize(ZST_JOB as u32))?;
    encoder.include_checksum(true)?;
    Ok(encoder)
}

fn xz<W: Write>(inner: W, level: u32, threads: usize) -> io::Result<XzEncoder<W>> {
    let mut options = LzmaOptions::new_preset(level.min(9))?;
    options.dict_size(XZ_DICTIONARY);
    let mut filters = Filters::new();
    filters.lzma2(&options);
    let mut builder = MtStreamBuilder::new();
    builder.threads(threads as u32).block_size(XZ_BLOCK as u64).filters(filters).check(Check::Crc64);
    Ok(XzEncoder::new_stream(inner, builder.encoder()?))
}

fn gz(block: &[u8], level: u32) -> io::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level.min(9)));
    encoder.write_all(block)?;
    encoder.finish()
}

fn bz2(block: &[u8], level: u32) -> io::Result<Vec<u8>> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::new(level.clamp(1, 9)));
    encoder.write_all(block)?;
    encoder.finish()
}
