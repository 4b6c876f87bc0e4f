//! Bytes that can be read anywhere: files, the guest's side of a qcow2 file, and windows of either.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use kiln_model::Fault;
use kiln_model::fault::OrFault;

use super::qcow2::{self, Qcow2};

/// Bytes with random access.
pub trait Bytes: Send + Sync {
    /// Length in bytes.
    fn size(&self) -> u64;

    /// Fills `buffer` from `offset` on; reaching beyond the end is an error.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

impl dyn Bytes + '_ {
    /// Returns `length` bytes; refuses a length beyond the end before it reserves memory.
    pub fn take(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        if offset.checked_add(length as u64).is_none_or(|end| end > self.size()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut bytes = vec![0; length];
        self.read_at(offset, &mut bytes)?;
        Ok(bytes)
    }
}

struct Plain {
    file: File,
    size: u64,
}

impl Bytes for Plain {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

/// A part of other bytes.
pub struct Window {
    inner: Arc<dyn Bytes>,
    offset: u64,
    size: u64,
}

impl Window {
    /// Returns the part from `offset` on; it ends with `inner` at the latest.
    pub fn new(inner: Arc<dyn Bytes>, offset: u64, size: u64) -> Self {
        let size = size.min(inner.size().saturating_sub(offset));
        Self { inner, offset, size }
    }
}

impl Bytes for Window {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.inner.read_at(self.offset + offset, buffer)
    }
}

/// Returns whether a file is a qcow2 disk.
pub fn is_qcow2(path: &Path) -> Result<bool, Fault> {
    let mut magic = [0; 4];
    let file = File::open(path).farm(|| format!("open `{}`", path.display()))?;
    let length = file.read_at(&mut magic, 0).farm(|| format!("read `{}`", path.display()))?;
    Ok(length == 4 && magic == qcow2::MAGIC)
}

/// Opens a file: a qcow2 disk by what its guest sees, any other as it is.
pub fn open(path: &Path) -> Result<Box<dyn Bytes>, Fault> {
    let doing = || format!("open `{}`", path.display());
    let file = File::open(path).farm(doing)?;
    let size = file.metadata().farm(doing)?.len();
    let plain = Plain { file, size };
    if is_qcow2(path)? {
        Ok(Box::new(Qcow2::open(plain).map_err(|error| Fault::recipe(doing()).because(error))?))
    } else {
        Ok(Box::new(plain))
    }
}

/// A position in bytes, for readers that want to seek; writing is refused.
pub struct Cursor {
    bytes: Arc<dyn Bytes>,
    at: u64,
}

impl Cursor {
    pub fn new(bytes: Arc<dyn Bytes>) -> Self {
        Self { bytes, at: 0 }
    }
}

impl Read for Cursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.bytes.size().saturating_sub(self.at);
        let length = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        self.bytes.read_at(self.at, &mut buffer[..length])?;
        self.at += length as u64;
        Ok(length)
    }
}

impl Seek for Cursor {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.bytes.size().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

impl Write for Cursor {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file writer that leaves holes where whole pieces are zero.
pub struct Sparse {
    file: File,
    at: u64,
    piece: Vec<u8>,
}

const PIECE: usize = 64 * 1024;

impl Sparse {
    pub fn new(file: File) -> Self {
        Self { file, at: 0, piece: Vec::with_capacity(PIECE) }
    }

    /// Sets the file's length; must come last.
    pub fn finish(mut self) -> io::Result<()> {
        self.settle()?;
        self.file.set_len(self.at)
    }

    fn settle(&mut self) -> io::Result<()> {
        if self.piece.iter().any(|byte| *byte != 0) {
            self.file.write_all_at(&self.piece, self.at)?;
        }
        self.at += self.piece.len() as u64;
        self.piece.clear();
        Ok(())
    }
}

impl Write for Sparse {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..length]);
        if self.piece.len() == PIECE {
            self.settle()?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Copies bytes into a file, leaving holes.
pub fn copy_sparse(bytes: &dyn Bytes, into: &Path) -> Result<(), Fault> {
    let doing = || format!("write `{}`", into.display());
    let mut sparse = Sparse::new(File::create(into).farm(doing)?);
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while at < bytes.size() {
        let length = buffer.len().min((bytes.size() - at) as usize);
        bytes.read_at(at, &mut buffer[..length]).farm(doing)?;
        sparse.write_all(&buffer[..length]).farm(doing)?;
        at += length as u64;
    }
    sparse.finish().farm(doing)
}
