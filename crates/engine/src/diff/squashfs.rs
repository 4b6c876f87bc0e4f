//! A reader of squashfs 4.0 with gzip, xz, lz4 or zstd inside.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::rc::Rc;
use std::sync::Arc;

use super::block::Bytes;
use super::ext4::zeros;
use super::walk::{Filesystem, Inode, broken};

const NONE: u32 = u32::MAX;
/// Length of a metadata block's content.
const META: usize = 8192;
/// Marks a data block that is stored as it is.
const STORED: u32 = 1 << 24;
/// A value that lies elsewhere because another file has the same.
const ELSEWHERE: u16 = 0x100;

pub(super) struct Squashfs {
    bytes: Arc<dyn Bytes>,
    compressor: u16,
    block: u64,
    root: u64,
    inodes: u64,
    dirs: u64,
    ids: Vec<u32>,
    /// Start and size word of every fragment block.
    fragments: Vec<(u64, u32)>,
    xattrs: Option<Xattrs>,
    /// By place.
    metadata: RefCell<HashMap<u64, Rc<MetadataBlock>>>,
    fragment: RefCell<Option<(u32, Rc<Vec<u8>>)>>,
}

/// A block's bytes, and where the next one begins.
type MetadataBlock = (Vec<u8>, u64);

struct Xattrs {
    values: u64,
    /// Place and count of every set.
    sets: Vec<(u64, u32)>,
}

/// What lies behind an inode's common head.
struct Body {
    inode: Inode,
    kind: Content,
}

enum Content {
    Nothing,
    Link(Vec<u8>),
    Dir { block: u64, offset: usize, size: u64 },
    File { start: u64, fragment: u32, offset: u32, sizes: Vec<u32> },
}

pub(super) fn is(bytes: &dyn Bytes) -> bool {
    bytes.take(0, 96).is_ok_and(|head| head.starts_with(b"hsqs") && head[28..30] == [4, 0])
}

impl Squashfs {
    pub fn open(bytes: Arc<dyn Bytes>) -> io::Result<Self> {
        let head = bytes.take(0, 96)?;
        let (block, compressor) = (u64::from(u32_at(&head, 12)), u16_at(&head, 20));
        if !(4096..=1 << 20).contains(&block) {
            return Err(broken("a squashfs superblock that makes no sense"));
        }
        let mut fs = Self {
            bytes,
            compressor,
            block,
            root: u64_at(&head, 32),
            inodes: u64_at(&head, 64),
            dirs: u64_at(&head, 72),
            ids: Vec::new(),
            fragments: Vec::new(),
            xattrs: None,
            metadata: RefCell::default(),
            fragment: RefCell::default(),
        };
        let ids = fs.table(u64_at(&head, 48), usize::from(u16_at(&head, 26)), 4)?;
        fs.ids = ids.chunks_exact(4).map(|id| u32_at(id, 0)).collect();
        let fragments = fs.table(u64_at(&head, 80), u32_at(&head, 16) as usize, 16)?;
        fs.fragments = fragments.chunks_exact(16).map(|entry| (u64_at(entry, 0), u32_at(entry, 8))).collect();
        fs.xattrs = fs.xattr_sets(u64_at(&head, 56))?;
        Ok(fs)
    }

    fn xattr_sets(&self, at: u64) -> io::Result<Option<Xattrs>> {
        if at == u64::MAX {
            return Ok(None);
        }
        let head = self.bytes.take(at, 16)?;
        let entries = self.table(at + 16, u32_at(&head, 8) as usize, 16)?;
        let sets = entries.chunks_exact(16).map(|entry| (u64_at(entry, 0), u32_at(entry, 8))).collect();
        Ok(Some(Xattrs { values: u64_at(&head, 0), sets }))
    }

    /// Reads a table of `count` entries, whose metadata blocks are listed at `at`.
    fn table(&self, at: u64, count: usize, size: usize) -> io::Result<Vec<u8>> {
        let length = count.saturating_mul(size);
        let places = if length == 0 { Vec::new() } else { self.bytes.take(at, length.div_ceil(META) * 8)? };
        let mut all = Vec::new();
        for place in places.chunks_exact(8) {
            all.extend_from_slice(&self.meta(u64_at(place, 0))?.0);
        }
        if all.len() < length {
            return Err(broken("a squashfs table that ends early"));
        }
        all.truncate(length);
        Ok(all)
    }

    /// Returns a metadata block's content and where the next one begins.
    fn meta(&self, at: u64) -> io::Result<Rc<MetadataBlock>> {
        if let Some(known) = self.metadata.borrow().get(&at) {
            return Ok(known.clone());
        }
        let head = u16_at(&self.bytes.take(at, 2)?, 0);
        let length = usize::from(head & 0x7fff);
        let packed = self.bytes.take(at + 2, length)?;
        let content = if head & 0x8000 != 0 { packed } else { self.unpack(&packed, META)? };
        let block = Rc::new((content, at + 2 + length as u64));
        self.metadata.borrow_mut().insert(at, block.clone());
        Ok(block)
    }

    fn unpack(&self, packed: &[u8], limit: usize) -> io::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(limit);
        let limited = |reader: &mut dyn Read, out: &mut Vec<u8>| reader.take(limit as u64).read_to_end(out);
        match self.compressor {
            1 => limited(&mut flate2::read::ZlibDecoder::new(packed), &mut out)?,
            4 => limited(&mut liblzma::read::XzDecoder::new(packed), &mut out)?,
            5 => {
                out = lz4_flex::block::decompress(packed, limit).map_err(io::Error::other)?;
                out.len()
            }
            6 => limited(&mut zstd::Decoder::new(packed)?, &mut out)?,
            other => return Err(broken(format!("squashfs with compressor {other}, which kiln does not read"))),
        };
        Ok(out)
    }

    fn reader(&self, start: u64, offset: usize) -> Meta<'_> {
        Meta { fs: self, at: start, offset }
    }

    fn body(&self, handle: u64) -> io::Result<Body> {
        let mut meta = self.reader(self.inodes + (handle >> 16), (handle & 0xffff) as usize);
        let head = meta.take(16)?;
        let kind = u16_at(&head, 0);
        let id = |at: usize| {
            self.ids.get(usize::from(u16_at(&head, at))).copied().ok_or_else(|| broken("an owner out of range"))
        };
        let (uid, gid, mtime) = (id(4)?, id(6)?, u32_at(&head, 8).into());
        let types = [0o040_000, 0o100_000, 0o120_000, 0o060_000, 0o020_000, 0o010_000, 0o140_000];
        let simple = if kind > 7 { kind - 7 } else { kind };
        let file_type =
            types.get(usize::from(simple.wrapping_sub(1))).ok_or_else(|| broken(format!("inode type {kind}")))?;
        let mode = file_type | u32::from(u16_at(&head, 2) & 0o7777);
        let mut inode = Inode { handle, mode, uid, gid, mtime, links: 1, ..Inode::default() };
        let (kind, xattr) = self.rest(kind, &mut meta, &mut inode)?;
        if xattr != NONE {
            inode.xattrs = self.attributes(xattr)?;
        }
        Ok(Body { inode, kind })
    }

    /// Reads what follows the common head; returns the content's place and the number of the attribute set.
    fn rest(&self, kind: u16, meta: &mut Meta<'_>, inode: &mut Inode) -> io::Result<(Content, u32)> {
        Ok(match kind {
            1 => {
                let raw = meta.take(16)?;
                (inode.links, inode.size) = (u32_at(&raw, 4), u16_at(&raw, 8).into());
                (
                    Content::Dir { block: u32_at(&raw, 0).into(), offset: u16_at(&raw, 10).into(), size: inode.size },
                    NONE,
                )
            }
            8 => {
                let raw = meta.take(24)?;
                (inode.links, inode.size) = (u32_at(&raw, 0), u32_at(&raw, 4).into());
                let place =
                    Content::Dir { block: u32_at(&raw, 8).into(), offset: u16_at(&raw, 18).into(), size: inode.size };
                (place, u32_at(&raw, 20))
            }
            2 => {
                let raw = meta.take(16)?;
                inode.size = u32_at(&raw, 12).into();
                (self.file(meta, u32_at(&raw, 0).into(), u32_at(&raw, 4), u32_at(&raw, 8), inode.size)?, NONE)
            }
            9 => {
                let raw = meta.take(40)?;
                (inode.size, inode.links) = (u64_at(&raw, 8), u32_at(&raw, 24));
                (self.file(meta, u64_at(&raw, 0), u32_at(&raw, 28), u32_at(&raw, 32), inode.size)?, u32_at(&raw, 36))
            }
            3 | 10 => {
                let raw = meta.take(8)?;
                (inode.links, inode.size) = (u32_at(&raw, 0), u32_at(&raw, 4).into());
                let target = meta.take(inode.size.min(65536) as usize)?;
                let xattr = if kind == 10 { u32_at(&meta.take(4)?, 0) } else { NONE };
                (Content::Link(target), xattr)
            }
            4 | 5 | 11 | 12 => {
                let raw = meta.take(if kind > 7 { 12 } else { 8 })?;
                inode.links = u32_at(&raw, 0);
                inode.device(u32_at(&raw, 4));
                (Content::Nothing, if kind > 7 { u32_at(&raw, 8) } else { NONE })
            }
            _ => {
                let raw = meta.take(if kind > 7 { 8 } else { 4 })?;
                inode.links = u32_at(&raw, 0);
                (Content::Nothing, if kind > 7 { u32_at(&raw, 4) } else { NONE })
            }
        })
    }

    fn file(&self, meta: &mut Meta<'_>, start: u64, fragment: u32, offset: u32, size: u64) -> io::Result<Content> {
        let blocks = if fragment == NONE { size.div_ceil(self.block) } else { size / self.block };
        if blocks > self.bytes.size() {
            return Err(broken("a file with more blocks than bytes"));
        }
        let mut sizes = Vec::new();
        for _ in 0..blocks {
            sizes.push(u32_at(&meta.take(4)?, 0));
        }
        Ok(Content::File { start, fragment, offset, sizes })
    }

    fn attributes(&self, set: u32) -> io::Result<BTreeMap<String, Vec<u8>>> {
        let xattrs = self.xattrs.as_ref().ok_or_else(|| broken("attributes without a table"))?;
        let (place, count) = *xattrs.sets.get(set as usize).ok_or_else(|| broken("an attribute set out of range"))?;
        let mut meta = self.reader(xattrs.values + (place >> 16), (place & 0xffff) as usize);
        let mut found = BTreeMap::new();
        for _ in 0..count {
            let head = meta.take(4)?;
            let prefix = ["user.", "trusted.", "security."].get(usize::from(u16_at(&head, 0) & 0xff));
            let prefix = prefix.ok_or_else(|| broken("an attribute of unknown kind"))?;
            let name = meta.take(u16_at(&head, 2).into())?;
            let mut value = meta.sized()?;
            if u16_at(&head, 0) & ELSEWHERE != 0 && value.len() == 8 {
                let place = u64_at(&value, 0);
                value = self.reader(xattrs.values + (place >> 16), (place & 0xffff) as usize).sized()?;
            }
            found.insert(format!("{prefix}{}", String::from_utf8_lossy(&name)), value);
        }
        Ok(found)
    }

    fn data(&self, at: u64, word: u32) -> io::Result<Vec<u8>> {
        let packed = self.bytes.take(at, (word & (STORED - 1)) as usize)?;
        if word & STORED != 0 { Ok(packed) } else { self.unpack(&packed, self.block as usize) }
    }

    fn fragment(&self, number: u32) -> io::Result<Rc<Vec<u8>>> {
        if let Some((known, block)) = &*self.fragment.borrow()
            && *known == number
        {
            return Ok(block.clone());
        }
        let (at, word) = *self.fragments.get(number as usize).ok_or_else(|| broken("a fragment out of range"))?;
        let block = Rc::new(self.data(at, word)?);
        *self.fragment.borrow_mut() = Some((number, block.clone()));
        Ok(block)
    }
}

impl Filesystem for Squashfs {
    fn root(&self) -> u64 {
        self.root
    }

    fn inode(&self, handle: u64) -> io::Result<Inode> {
        Ok(self.body(handle)?.inode)
    }

    fn children(&self, dir: &Inode) -> io::Result<Vec<(Vec<u8>, u64)>> {
        let Content::Dir { block, offset, size } = self.body(dir.handle)?.kind else { return Ok(Vec::new()) };
        let (mut meta, mut all) = (self.reader(self.dirs + block, offset), Vec::new());
        // The size counts `.` and `..` as three bytes that are not there.
        let mut left = size.saturating_sub(3);
        while left >= 12 {
            let head = meta.take(12)?;
            left -= 12;
            for _ in 0..=u32_at(&head, 0).min(255) {
                let entry = meta.take(8)?;
                let name = meta.take(usize::from(u16_at(&entry, 6)) + 1)?;
                left = left.saturating_sub(8 + name.len() as u64);
                all.push((name, u64::from(u32_at(&head, 4)) << 16 | u64::from(u16_at(&entry, 0))));
            }
        }
        Ok(all)
    }

    fn content(&self, file: &Inode, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let (mut at, fragment, offset, sizes) = match self.body(file.handle)?.kind {
            Content::Link(target) => {
                sink(&target);
                return Ok(());
            }
            Content::File { start, fragment, offset, sizes } => (start, fragment, offset as usize, sizes),
            Content::Nothing | Content::Dir { .. } => return Ok(()),
        };
        let mut left = file.size;
        for word in sizes {
            let now = left.min(self.block);
            match word {
                0 => zeros(now, sink),
                word => sink(
                    self.data(at, word)?.get(..now as usize).ok_or_else(|| broken("a data block that ends early"))?,
                ),
            }
            at += u64::from(word & (STORED - 1));
            left -= now;
        }
        if fragment != NONE && left > 0 {
            let block = self.fragment(fragment)?;
            sink(block.get(offset..offset + left as usize).ok_or_else(|| broken("a fragment that ends early"))?);
        }
        Ok(())
    }
}

/// A position in the stream of metadata blocks.
struct Meta<'a> {
    fs: &'a Squashfs,
    at: u64,
    offset: usize,
}

impl Meta<'_> {
    fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(length.min(65536));
        while out.len() < length {
            let block = self.fs.meta(self.at)?;
            let there = block.0.get(self.offset..).unwrap_or_default();
            if there.is_empty() {
                // An empty block would never end.
                if block.0.is_empty() {
                    return Err(broken("an empty metadata block"));
                }
                (self.at, self.offset) = (block.1, self.offset - block.0.len().min(self.offset));
                continue;
            }
            let now = there.len().min(length - out.len());
            out.extend_from_slice(&there[..now]);
            self.offset += now;
        }
        Ok(out)
    }

    /// Reads a length and so many bytes.
    fn sized(&mut self) -> io::Result<Vec<u8>> {
        let length = u32_at(&self.take(4)?, 0) as usize;
        if length > 65536 {
            return Err(broken("an attribute larger than any"));
        }
        self.take(length)
    }
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
