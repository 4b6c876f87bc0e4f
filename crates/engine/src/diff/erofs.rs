//! A reader of EROFS: files stored as they are, inline, in chunks, or compressed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::block::Bytes;
use super::ext4::zeros;
use super::walk::{Filesystem, Inode, broken};
use super::zerofs::{Map, Piece};

const MAGIC: u32 = 0xe0f5_e1e2;
/// A chunk that is all zeros.
const NO_BLOCK: u32 = u32::MAX;

pub(super) struct Erofs {
    bytes: Arc<dyn Bytes>,
    block: u64,
    root: u64,
    epoch: i64,
    /// The file that holds the ends of others; 0 when there is none.
    packed: u64,
    kept: RefCell<Kept>,
    /// Where inodes are counted from, in bytes.
    inodes: u64,
    /// Where shared attributes are counted from, in bytes.
    shared: u64,
}

/// Returns label and UUID; none when it is not EROFS.
pub(super) fn identity(bytes: &dyn Bytes) -> Option<(String, String)> {
    let head = bytes.take(1024, 128).ok().filter(|head| u32_at(head, 0) == MAGIC)?;
    let label = head[64..80].split(|byte| *byte == 0).next().unwrap_or_default();
    let uuid = uuid::Uuid::from_slice(&head[48..64]).ok()?.to_string();
    Some((String::from_utf8_lossy(label).into_owned(), uuid))
}

/// Of the packed file, which is asked for in small parts: where its pieces are, and the one read last.
#[derive(Default)]
struct Kept {
    pieces: Vec<Piece>,
    last: Option<(usize, Vec<u8>)>,
}

/// Where a file's bytes are.
struct Raw {
    inode: Inode,
    /// Data layout of the inode's format word.
    layout: u16,
    /// Block address, or the form of chunks.
    word: u32,
    /// Where what follows the inode and its attributes begins, in bytes.
    tail: u64,
}

impl Erofs {
    pub fn open(bytes: Arc<dyn Bytes>) -> io::Result<Self> {
        let head = bytes.take(1024, 128)?;
        let bits = head[12];
        if !(9..=16).contains(&bits) {
            return Err(broken("an EROFS superblock that makes no sense"));
        }
        let block = 1 << bits;
        Ok(Self {
            block,
            root: u16_at(&head, 14).into(),
            epoch: u64_at(&head, 24) as i64,
            packed: u64_at(&head, 96),
            kept: RefCell::default(),
            inodes: u64::from(u32_at(&head, 40)) * block,
            shared: u64::from(u32_at(&head, 44)) * block,
            bytes,
        })
    }

    fn raw(&self, handle: u64) -> io::Result<Raw> {
        let at = handle
            .checked_mul(32)
            .and_then(|at| at.checked_add(self.inodes))
            .ok_or_else(|| broken("an inode beyond all"))?;
        let mut raw = self.bytes.take(at, 32)?;
        let format = u16_at(&raw, 0);
        let extended = format & 1 != 0;
        if extended {
            raw.extend(self.bytes.take(at + 32, 32)?);
        }
        let mode = u32::from(u16_at(&raw, 4));
        let mut inode = Inode { handle, mode, ..Inode::default() };
        if extended {
            (inode.size, inode.links) = (u64_at(&raw, 8), u32_at(&raw, 44));
            (inode.uid, inode.gid, inode.mtime) = (u32_at(&raw, 24), u32_at(&raw, 28), u64_at(&raw, 32) as i64);
        } else {
            (inode.size, inode.links) = (u32_at(&raw, 8).into(), u16_at(&raw, 6).into());
            (inode.uid, inode.gid) = (u16_at(&raw, 24).into(), u16_at(&raw, 26).into());
            inode.mtime = self.epoch + i64::from(u32_at(&raw, 12));
        }
        let word = u32_at(&raw, 16);
        if matches!(mode & 0o170_000, 0o020_000 | 0o060_000) {
            inode.device(word);
        }
        let count = u64::from(u16_at(&raw, 2));
        let body = at + raw.len() as u64;
        let length = if count == 0 { 0 } else { 12 + (count - 1) * 4 };
        if count > 0 {
            inode.xattrs = self.attributes(body, length)?;
        }
        Ok(Raw { inode, layout: format >> 1 & 7, word, tail: body + length })
    }

    fn attributes(&self, at: u64, length: u64) -> io::Result<BTreeMap<String, Vec<u8>>> {
        let raw = self.bytes.take(at, length as usize)?;
        let mut found = BTreeMap::new();
        let shared = usize::from(raw[4]);
        let ids = raw.get(12..12 + shared * 4).ok_or_else(|| broken("shared attributes beyond the inode"))?;
        for id in ids.chunks_exact(4) {
            let at = self.shared + u64::from(u32_at(id, 0)) * 4;
            let head = self.bytes.take(at, 4)?;
            let entry = self.bytes.take(at, entry_length(&head))?;
            attribute(&entry, &mut found)?;
        }
        let mut rest = &raw[12 + shared * 4..];
        while rest.len() >= 4 {
            let length = entry_length(rest);
            attribute(rest.get(..length).ok_or_else(|| broken("an attribute beyond its inode"))?, &mut found)?;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(found)
    }

    /// Hands on `length` bytes from `at` on.
    fn copy(&self, at: u64, length: u64, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let mut buffer = vec![0; length.min(1 << 20) as usize];
        let mut done = 0;
        while done < length {
            let now = buffer.len().min((length - done) as usize);
            self.bytes.read_at(at + done, &mut buffer[..now])?;
            sink(&buffer[..now]);
            done += now as u64;
        }
        Ok(())
    }

    fn compressed(&self, raw: &Raw, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let map = Map::read(&*self.bytes, raw.tail, self.block.ilog2(), raw.inode.size, raw.layout == 3)?;
        if map.whole_fragment {
            return self.fragment(raw, map.fragment, raw.inode.size, sink);
        }
        for piece in map.pieces()? {
            match piece.in_fragment {
                true => self.fragment(raw, map.fragment, piece.length, sink)?,
                false => sink(&map.unpack(&piece)?),
            }
        }
        Ok(())
    }

    /// Hands on a part of the packed file.
    fn fragment(&self, of: &Raw, at: u64, length: u64, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        if self.packed == 0 || self.packed == of.inode.handle {
            return Err(broken("a fragment without a file that holds it"));
        }
        let (raw, end) = (self.raw(self.packed)?, at.saturating_add(length));
        let mut part = |start: u64, bytes: &[u8]| {
            let stop = start + bytes.len() as u64;
            sink(&bytes[(at.clamp(start, stop) - start) as usize..(end.clamp(start, stop) - start) as usize]);
        };
        if !matches!(raw.layout, 1 | 3) {
            let mut seen = 0;
            return self.content(&raw.inode, &mut |bytes| {
                part(seen, bytes);
                seen += bytes.len() as u64;
            });
        }
        let map = Map::read(&*self.bytes, raw.tail, self.block.ilog2(), raw.inode.size, raw.layout == 3)?;
        let mut kept = self.kept.borrow_mut();
        if kept.pieces.is_empty() {
            kept.pieces = map.pieces()?;
        }
        let first = kept.pieces.partition_point(|piece| piece.start + piece.length <= at);
        for number in first..kept.pieces.len() {
            let piece = kept.pieces[number];
            if piece.start >= end {
                break;
            }
            if kept.last.as_ref().is_none_or(|(known, _)| *known != number) {
                kept.last = Some((number, map.unpack(&piece)?));
            }
            part(piece.start, kept.last.as_ref().map(|(_, bytes)| &bytes[..]).unwrap_or_default());
        }
        Ok(())
    }

    fn chunks(&self, raw: &Raw, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let chunk = self.block << (raw.word & 31);
        let indexes = raw.word & 0x20 != 0;
        let step = if indexes { 8 } else { 4 };
        let mut at = raw.tail.next_multiple_of(step);
        let mut left = raw.inode.size;
        while left > 0 {
            let entry = self.bytes.take(at, step as usize)?;
            let block = u32_at(&entry, if indexes { 4 } else { 0 });
            let now = left.min(chunk);
            match block {
                NO_BLOCK => zeros(now, sink),
                block => self.copy(u64::from(block) * self.block, now, sink)?,
            }
            (at, left) = (at + step, left - now);
        }
        Ok(())
    }
}

fn entry_length(head: &[u8]) -> usize {
    4 + usize::from(head[0]) + usize::from(u16_at(head, 2))
}

fn attribute(entry: &[u8], found: &mut BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    let prefix = match entry[1] {
        1 => "user.",
        2 => "system.posix_acl_access",
        3 => "system.posix_acl_default",
        4 => "trusted.",
        6 => "security.",
        other => return Err(broken(format!("an attribute of unknown kind {other}"))),
    };
    let (name, value) = entry[4..].split_at(entry[0].into());
    if !name.is_empty() || entry[1] == 2 || entry[1] == 3 {
        found.insert(format!("{prefix}{}", String::from_utf8_lossy(name)), value.to_vec());
    }
    Ok(())
}

impl Filesystem for Erofs {
    fn root(&self) -> u64 {
        self.root
    }

    fn inode(&self, handle: u64) -> io::Result<Inode> {
        Ok(self.raw(handle)?.inode)
    }

    fn children(&self, dir: &Inode) -> io::Result<Vec<(Vec<u8>, u64)>> {
        let (mut bytes, mut all) = (Vec::new(), Vec::new());
        self.content(dir, &mut |piece| bytes.extend_from_slice(piece))?;
        for block in bytes.chunks(self.block as usize) {
            names(block, &mut all)?;
        }
        Ok(all)
    }

    fn content(&self, file: &Inode, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let raw = self.raw(file.handle)?;
        let size = raw.inode.size;
        let start = u64::from(raw.word) * self.block;
        match raw.layout {
            0 => self.copy(start, size, sink),
            2 => {
                let whole = size.saturating_sub(1) / self.block * self.block;
                self.copy(start, whole, sink)?;
                self.copy(raw.tail, size - whole, sink)
            }
            1 | 3 => self.compressed(&raw, sink),
            4 => self.chunks(&raw, sink),
            other => Err(broken(format!("data layout {other}, which kiln does not read"))),
        }
    }
}

/// Reads one block of a directory: entries, then their names.
fn names(block: &[u8], all: &mut Vec<(Vec<u8>, u64)>) -> io::Result<()> {
    let nonsense = || broken("a directory block that makes no sense");
    let first = usize::from(u16_at(block.get(..12).ok_or_else(nonsense)?, 8));
    let entries =
        block.get(..first).filter(|entries| entries.len() % 12 == 0 && !entries.is_empty()).ok_or_else(nonsense)?;
    let starts: Vec<usize> = entries.chunks_exact(12).map(|entry| u16_at(entry, 8).into()).collect();
    for (at, entry) in entries.chunks_exact(12).enumerate() {
        let end = starts.get(at + 1).copied().unwrap_or(block.len());
        let name = block.get(starts[at]..end).ok_or_else(nonsense)?;
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        if name != b"." && name != b".." {
            all.push((name.to_vec(), u64_at(entry, 0)));
        }
    }
    Ok(())
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
