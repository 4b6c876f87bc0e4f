//! The outer archive: `!<arch>`, then members with a 60-byte header each.

use std::io::{self, BufRead, Read};

use super::BadPackage;

const MAGIC: &[u8] = b"!<arch>\n";

/// An ar archive read front to back.
pub struct Ar<R> {
    reader: R,
    /// Bytes of the current member that were not read yet, and whether a padding byte follows.
    left: u64,
    padded: bool,
    name: String,
}

impl<R: BufRead> Ar<R> {
    /// Reads the magic.
    pub fn open(mut reader: R) -> Result<Self, BadPackage> {
        let mut magic = [0; MAGIC.len()];
        match read_full(&mut reader, &mut magic).map_err(BadPackage::Read)? {
            8 if magic == MAGIC => Ok(Self { reader, left: 0, padded: false, name: "!<arch>".into() }),
            _ => Err(BadPackage::NotAnArchive),
        }
    }

    /// Skips what is left of the current member and returns the next one's name and size; none at the end.
    pub fn next_member(&mut self) -> Result<Option<(String, u64)>, BadPackage> {
        self.skip()?;
        let mut header = [0; 60];
        match read_full(&mut self.reader, &mut header).map_err(BadPackage::Read)? {
            0 => return Ok(None),
            60 => {}
            _ => return Err(BadPackage::Truncated { member: self.name.clone() }),
        }
        let (name, size) = parse(&header).ok_or_else(|| BadPackage::ArHeader { after: self.name.clone() })?;
        (self.left, self.padded) = (size, size % 2 == 1);
        self.name.clone_from(&name);
        Ok(Some((name, size)))
    }

    /// Returns the reader, wherever reading has come to.
    pub fn into_inner(self) -> R {
        self.reader
    }

    fn skip(&mut self) -> Result<(), BadPackage> {
        let mut left = self.left;
        while left > 0 {
            let have = self.reader.fill_buf().map_err(BadPackage::Read)?.len() as u64;
            if have == 0 {
                return Err(BadPackage::Truncated { member: self.name.clone() });
            }
            self.reader.consume(have.min(left) as usize);
            left -= have.min(left);
        }
        self.left = 0;
        // The last member's padding may be missing: dpkg-deb reads such archives, too.
        if std::mem::take(&mut self.padded) && !self.reader.fill_buf().map_err(BadPackage::Read)?.is_empty() {
            self.reader.consume(1);
        }
        Ok(())
    }
}

/// The content of the current member; an archive that ends inside it is [`io::ErrorKind::UnexpectedEof`].
impl<R: BufRead> BufRead for Ar<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 {
            return Ok(&[]);
        }
        let bytes = self.reader.fill_buf()?;
        if bytes.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends inside a member"));
        }
        Ok(&bytes[..bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX))])
    }

    fn consume(&mut self, amount: usize) {
        self.reader.consume(amount);
        self.left -= amount as u64;
    }
}

impl<R: BufRead> Read for Ar<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let amount = bytes.len().min(buffer.len());
        buffer[..amount].copy_from_slice(&bytes[..amount]);
        self.consume(amount);
        Ok(amount)
    }
}

/// Returns a header's name and size.
fn parse(header: &[u8; 60]) -> Option<(String, u64)> {
    if &header[58..] != b"`\n" {
        return None;
    }
    let name = std::str::from_utf8(&header[..16]).ok()?.trim_end_matches(' ');
    let name = name.strip_suffix('/').unwrap_or(name);
    let size = std::str::from_utf8(&header[48..58]).ok()?.trim_end_matches(' ');
    if name.is_empty() || name.contains('\0') || size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((name.to_owned(), size.parse().ok()?))
}

/// Reads until `buffer` is full or the input ends; returns how much was read.
pub(super) fn read_full(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut have = 0;
    while have < buffer.len() {
        match reader.read(&mut buffer[have..]) {
            Ok(0) => break,
            Ok(amount) => have += amount,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(have)
}
