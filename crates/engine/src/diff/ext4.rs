//! A reader of ext4 as mke2fs and kiln write it: extents or block maps, any directory, extended attributes in the inode and in
//! a block of their own. Journals are not replayed: an image that was never mounted has nothing in one.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::block::Bytes;
use super::walk::{Filesystem, Inode, broken};

const INCOMPAT_64BIT: u32 = 0x80;
/// Compression, journal device, inodes with data inside (which is read), encryption and case folding are not among these.
const KNOWN_INCOMPAT: u32 = 0x2 | 0x40 | INCOMPAT_64BIT | 0x200 | 0x2000 | 0x400 | INLINE_DATA | 0x4;
const INLINE_DATA: u32 = 0x8000;
const EXTENTS_FLAG: u32 = 0x8_0000;
const INLINE_FLAG: u32 = 0x1000_0000;
const XATTR_MAGIC: u32 = 0xea02_0000;
static ZEROS: [u8; 65536] = [0; 65536];

/// An ext4 filesystem.
pub(super) struct Ext4 {
    bytes: Arc<dyn Bytes>,
    block: u64,
    inode_size: u64,
    inodes_per_group: u32,
    inodes: u32,
    /// First block of each group's inode table.
    tables: Vec<u64>,
}

/// Label and UUID.
pub(super) struct Identity {
    pub label: String,
    pub uuid: String,
}

/// Returns who a filesystem says it is; none when it is not ext2, ext3 or ext4.
pub(super) fn identity(bytes: &dyn Bytes) -> Option<Identity> {
    let superblock = bytes.take(1024, 1024).ok().filter(|superblock| superblock[56..58] == [0x53, 0xef])?;
    let uuid = uuid::Uuid::from_slice(&superblock[104..120]).ok()?.to_string();
    let label = superblock[120..136].split(|byte| *byte == 0).next().unwrap_or_default();
    Some(Identity { label: String::from_utf8_lossy(label).into_owned(), uuid })
}

impl Ext4 {
    pub fn open(bytes: Arc<dyn Bytes>) -> io::Result<Self> {
        let superblock = bytes.take(1024, 1024)?;
        let (features, block) = (u32_at(&superblock, 96), 1024u64 << u32_at(&superblock, 24).min(10));
        if features & !KNOWN_INCOMPAT != 0 {
            return Err(broken(format!("an ext4 feature that kiln does not read ({:#x})", features & !KNOWN_INCOMPAT)));
        }
        let inodes = u32_at(&superblock, 0);
        let inodes_per_group = u32_at(&superblock, 40);
        if inodes_per_group == 0 || !(1024..=65536).contains(&block) {
            return Err(broken("an ext4 superblock that makes no sense"));
        }
        let inode_size = if u32_at(&superblock, 76) == 0 { 128 } else { u64::from(u16_at(&superblock, 88)) };
        let wide = features & INCOMPAT_64BIT != 0;
        let step = if wide { usize::from(u16_at(&superblock, 254)).max(64) } else { 32 };
        let count = inodes.div_ceil(inodes_per_group) as usize;
        let groups = bytes.take((u64::from(u32_at(&superblock, 20)) + 1) * block, count.saturating_mul(step))?;
        let table = |group: &[u8]| {
            let high = if wide { u64::from(u32_at(group, 40)) << 32 } else { 0 };
            high | u64::from(u32_at(group, 8))
        };
        let tables = groups.chunks_exact(step).map(table).collect();
        Ok(Self { bytes, block, inode_size, inodes_per_group, inodes, tables })
    }

    fn raw(&self, number: u64) -> io::Result<Vec<u8>> {
        if number == 0 || number > u64::from(self.inodes) {
            return Err(broken(format!("inode {number} of {}", self.inodes)));
        }
        let (group, index) =
            ((number - 1) / u64::from(self.inodes_per_group), (number - 1) % u64::from(self.inodes_per_group));
        self.bytes
            .take(self.tables[group as usize] * self.block + index * self.inode_size, self.inode_size.max(128) as usize)
    }

    /// Returns where a file's blocks lie: first block in the file, how many, first block on the disk; sorted, holes left out.
    fn extents(&self, raw: &[u8], blocks: u64) -> io::Result<Vec<(u64, u64, u64)>> {
        let mut all = Vec::new();
        if u32_at(raw, 32) & EXTENTS_FLAG != 0 {
            self.extent_node(&raw[40..100], 6, &mut all)?;
        } else {
            let mut at = 0;
            for slot in 0..12 {
                put(&mut all, &mut at, 1, u32_at(raw, 40 + slot * 4).into());
            }
            for depth in 1..=3 {
                self.map(u32_at(raw, 84 + depth * 4).into(), depth as u32, blocks, &mut at, &mut all)?;
            }
        }
        all.sort_unstable();
        Ok(all)
    }

    fn extent_node(&self, node: &[u8], depth: u16, all: &mut Vec<(u64, u64, u64)>) -> io::Result<()> {
        let (count, own_depth) = (usize::from(u16_at(node, 2)), u16_at(node, 6));
        if u16_at(node, 0) != 0xf30a || own_depth >= depth || (count + 1) * 12 > node.len() {
            return Err(broken("an extent tree that makes no sense"));
        }
        for entry in node[12..].chunks_exact(12).take(count) {
            let first = u64::from(u32_at(entry, 0));
            if own_depth > 0 {
                let block = u64::from(u32_at(entry, 4)) | u64::from(u16_at(entry, 8)) << 32;
                let below = self.bytes.take(block * self.block, self.block as usize)?;
                self.extent_node(&below, own_depth, all)?;
                continue;
            }
            let length = u64::from(u16_at(entry, 4));
            let block = u64::from(u32_at(entry, 8)) | u64::from(u16_at(entry, 6)) << 32;
            // Longer than 32768 means reserved but never written: zeros.
            if length <= 32768 {
                all.push((first, length, block));
            }
        }
        Ok(())
    }

    /// Follows an indirect block of the old maps; `at` is the next block in the file.
    fn map(&self, block: u64, depth: u32, blocks: u64, at: &mut u64, all: &mut Vec<(u64, u64, u64)>) -> io::Result<()> {
        let pointers = self.block / 4;
        if *at >= blocks {
            return Ok(());
        }
        if block == 0 {
            *at += pointers.pow(depth);
            return Ok(());
        }
        for entry in self.bytes.take(block * self.block, self.block as usize)?.chunks_exact(4) {
            match depth {
                1 => put(all, at, 1, u32_at(entry, 0).into()),
                _ => self.map(u32_at(entry, 0).into(), depth - 1, blocks, at, all)?,
            }
        }
        Ok(())
    }

    fn xattrs(&self, raw: &[u8]) -> io::Result<BTreeMap<String, Vec<u8>>> {
        let mut found = BTreeMap::new();
        let extra = if raw.len() > 130 { usize::from(u16_at(raw, 128)) } else { 0 };
        let inside = raw.get(128 + extra..).unwrap_or_default();
        if inside.len() > 4 && u32_at(inside, 0) == XATTR_MAGIC {
            attributes(&inside[4..], &inside[4..], &mut found)?;
        }
        let block = u64::from(u32_at(raw, 104)) | u64::from(u16_at(raw, 118)) << 32;
        if block != 0 {
            let whole = self.bytes.take(block * self.block, self.block as usize)?;
            if u32_at(&whole, 0) == XATTR_MAGIC {
                attributes(&whole[32..], &whole, &mut found)?;
            }
        }
        Ok(found)
    }

    /// Returns content that lies in the inode itself: short links, and with `inline_data` small files and directories.
    fn inside(&self, raw: &[u8], inode: &Inode) -> io::Result<Option<Vec<u8>>> {
        let size = inode.size as usize;
        if u32_at(raw, 32) & INLINE_FLAG != 0 {
            let mut bytes = raw[40..100].to_vec();
            bytes.extend(self.xattrs(raw)?.remove("system.data").unwrap_or_default());
            bytes.resize(size.min(bytes.len()), 0);
            return Ok(Some(bytes));
        }
        let link = inode.mode & 0o170_000 == 0o120_000 && size < 60;
        Ok(link.then(|| raw[40..40 + size].to_vec()))
    }
}

fn put(all: &mut Vec<(u64, u64, u64)>, at: &mut u64, length: u64, block: u64) {
    if block != 0 {
        all.push((*at, length, block));
    }
    *at += length;
}

impl Filesystem for Ext4 {
    fn root(&self) -> u64 {
        2
    }

    fn inode(&self, handle: u64) -> io::Result<Inode> {
        let raw = self.raw(handle)?;
        let mode = u32::from(u16_at(&raw, 0));
        let regular = mode & 0o170_000 == 0o100_000;
        let high = if regular { u64::from(u32_at(&raw, 108)) << 32 } else { 0 };
        let extra = if raw.len() > 136 && u16_at(&raw, 128) >= 12 { i64::from(u32_at(&raw, 136) & 3) << 32 } else { 0 };
        let mut xattrs = self.xattrs(&raw)?;
        xattrs.remove("system.data");
        let mut inode = Inode {
            handle,
            mode,
            uid: u32::from(u16_at(&raw, 2)) | u32::from(u16_at(&raw, 120)) << 16,
            gid: u32::from(u16_at(&raw, 24)) | u32::from(u16_at(&raw, 122)) << 16,
            mtime: i64::from(u32_at(&raw, 16) as i32) + extra,
            links: u16_at(&raw, 26).into(),
            size: u64::from(u32_at(&raw, 4)) | high,
            xattrs,
            ..Inode::default()
        };
        // Old device numbers lie in the first word, new ones in the second.
        match (mode & 0o170_000, u32_at(&raw, 40)) {
            (0o020_000 | 0o060_000, 0) => inode.device(u32_at(&raw, 44)),
            (0o020_000 | 0o060_000, old) => (inode.major, inode.minor) = (old >> 8 & 0xff, old & 0xff),
            _ => {}
        }
        Ok(inode)
    }

    fn children(&self, dir: &Inode) -> io::Result<Vec<(Vec<u8>, u64)>> {
        let raw = self.raw(dir.handle)?;
        let mut all = Vec::new();
        if u32_at(&raw, 32) & INLINE_FLAG != 0 {
            let bytes = self.inside(&raw, dir)?.unwrap_or_default();
            names(bytes.get(4..60.min(bytes.len())).unwrap_or_default(), &mut all)?;
            names(bytes.get(60..).unwrap_or_default(), &mut all)?;
            return Ok(all);
        }
        let mut bytes = Vec::new();
        self.content(dir, &mut |piece| bytes.extend_from_slice(piece))?;
        bytes.chunks(self.block as usize).try_for_each(|block| names(block, &mut all))?;
        Ok(all)
    }

    fn content(&self, file: &Inode, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let raw = self.raw(file.handle)?;
        if let Some(bytes) = self.inside(&raw, file)? {
            sink(&bytes);
            return Ok(());
        }
        let mut at = 0;
        let mut buffer = vec![0; 1 << 20];
        for (first, length, block) in self.extents(&raw, file.size.div_ceil(self.block))? {
            let start = (first * self.block).min(file.size);
            if start < at {
                return Err(broken("extents that overlap"));
            }
            zeros(start - at, sink);
            let end = ((first + length) * self.block).min(file.size);
            for piece in (start..end).step_by(buffer.len()) {
                let size = buffer.len().min((end - piece) as usize);
                self.bytes.read_at(block * self.block + (piece - start), &mut buffer[..size])?;
                sink(&buffer[..size]);
            }
            at = end.max(start);
        }
        zeros(file.size - at, sink);
        Ok(())
    }
}

pub(super) fn zeros(mut count: u64, sink: &mut dyn FnMut(&[u8])) {
    while count > 0 {
        let now = count.min(ZEROS.len() as u64);
        sink(&ZEROS[..now as usize]);
        count -= now;
    }
}

/// Reads the entries of one directory block.
fn names(block: &[u8], all: &mut Vec<(Vec<u8>, u64)>) -> io::Result<()> {
    let mut at = 0;
    while at + 8 <= block.len() {
        let (inode, length) = (u32_at(block, at), usize::from(u16_at(block, at + 4)));
        let name =
            block.get(at + 8..at + 8 + usize::from(block[at + 6])).ok_or_else(|| broken("a name beyond its block"))?;
        // Of the 64 KiB that a length cannot say, and of nothing.
        let length = if length == 0xffff || length == 0 { block.len() - at } else { length };
        if length < 8 {
            return Err(broken("a directory entry that makes no sense"));
        }
        if inode != 0 && name != b"." && name != b".." && !name.is_empty() {
            all.push((name.to_vec(), inode.into()));
        }
        at += length;
    }
    Ok(())
}

/// Reads extended attributes; offsets of values count from `base`.
fn attributes(mut entries: &[u8], base: &[u8], found: &mut BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    while entries.len() >= 16 && entries[..4] != [0; 4] {
        let length = usize::from(entries[0]);
        let prefix = match entries[1] {
            1 => "user.",
            2 => "system.posix_acl_access",
            3 => "system.posix_acl_default",
            4 => "trusted.",
            6 => "security.",
            7 => "system.",
            _ => "",
        };
        let (offset, size) = (usize::from(u16_at(entries, 2)), u32_at(entries, 8) as usize);
        let name = entries.get(16..16 + length).ok_or_else(|| broken("an attribute's name beyond its block"))?;
        let value =
            base.get(offset..offset.saturating_add(size)).ok_or_else(|| broken("an attribute beyond its block"))?;
        let value = if matches!(entries[1], 2 | 3) { acl(value)? } else { value.to_vec() };
        found.insert(format!("{prefix}{}", String::from_utf8_lossy(name)), value);
        entries = entries.get((16 + length).next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(())
}

/// Brings an access control list from ext4's short form, which leaves out ids that mean nothing, to the kernel's.
fn acl(short: &[u8]) -> io::Result<Vec<u8>> {
    const NAMED: [u16; 2] = [0x02, 0x08];
    let nonsense = || broken("an access control list that makes no sense");
    let mut whole = 2u32.to_le_bytes().to_vec();
    let mut rest = short.get(4..).ok_or_else(nonsense)?;
    while !rest.is_empty() {
        whole.extend_from_slice(rest.get(..4).ok_or_else(nonsense)?);
        let named = NAMED.contains(&u16_at(rest, 0));
        whole.extend_from_slice(if named { rest.get(4..8).ok_or_else(nonsense)? } else { &[0xff; 4] });
        rest = &rest[if named { 8 } else { 4 }..];
    }
    Ok(whole)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}
