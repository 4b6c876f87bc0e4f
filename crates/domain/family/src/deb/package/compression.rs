//! What `control.tar` and `data.tar` may be compressed with.

use std::io::{self, BufRead, Read};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{MtStreamBuilder, Stream};

/// Memory an xz or zstd stream may ask for, in bytes; `xz -9` needs 65 MiB, `zstd --ultra -22` 128 MiB.
const MEMORY: u64 = 192 << 20;

/// Memory beyond which xz decodes with fewer threads, in bytes: each of them holds a whole block (24 MiB as dpkg-deb makes them).
const MEMORY_OF_THREADS: u64 = 128 << 20;

/// A decompressor over the member it reads.
pub enum Decoder<R: BufRead> {
    Plain(R),
    Gz(Box<MultiGzDecoder<R>>),
    Xz(Box<XzDecoder<R>>),
    Zst(Box<zstd::stream::read::Decoder<'static, R>>),
    Bz2(Box<MultiBzDecoder<R>>),
}

impl<R: BufRead> Decoder<R> {
    /// Chooses by the member's name: `data.tar` and what follows it. None for an ending that deb(5) does not know.
    ///
    /// xz streams of several blocks are decoded by up to `threads` threads.
    pub fn new(ending: &str, reader: R, threads: usize) -> io::Result<Option<Self>> {
        Ok(Some(match ending {
            "" => Self::Plain(reader),
            ".gz" => Self::Gz(Box::new(MultiGzDecoder::new(reader))),
            ".xz" => Self::Xz(Box::new(XzDecoder::new_stream(reader, xz(threads)?))),
            ".zst" => Self::Zst(Box::new(zst(reader)?)),
            ".bz2" => Self::Bz2(Box::new(MultiBzDecoder::new(reader))),
            _ => return Ok(None),
        }))
    }

    /// Returns the reader below, wherever decompression left it.
    pub fn into_inner(self) -> R {
        match self {
            Self::Plain(reader) => reader,
            Self::Gz(decoder) => decoder.into_inner(),
            Self::Xz(decoder) => decoder.into_inner(),
            Self::Zst(decoder) => decoder.finish(),
            Self::Bz2(decoder) => decoder.into_inner(),
        }
    }
}

fn xz(threads: usize) -> io::Result<Stream> {
    if threads < 2 {
        return Ok(Stream::new_stream_decoder(MEMORY, 0)?);
    }
    let mut builder = MtStreamBuilder::new();
    builder.threads(threads as u32).memlimit_threading(MEMORY_OF_THREADS).memlimit_stop(MEMORY);
    Ok(builder.decoder()?)
}

fn zst<R: BufRead>(reader: R) -> io::Result<zstd::stream::read::Decoder<'static, R>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(reader)?;
    decoder.window_log_max(27)?;
    Ok(decoder)
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(reader) => reader.read(buffer),
            Self::Gz(decoder) => decoder.read(buffer),
            Self::Xz(decoder) => decoder.read(buffer),
            Self::Zst(decoder) => decoder.read(buffer),
            Self::Bz2(decoder) => decoder.read(buffer),
        }
    }
}
