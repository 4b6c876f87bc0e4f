//! A reader of btrfs on one device: as kiln and mkfs.btrfs write it, with subvolumes, compressed by zlib or zstd.
//!
//! Shown is what a machine would mount: where the top level holds nothing but subvolumes, the one with an `/etc/fstab` is the
//! root, and the others lie where that file mounts them. Logs are not replayed: an image that was never mounted has none.

mod trees;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::sync::Arc;

use kiln_disk::btrfs::key::{Key, ROOT_DIR, kind, tree};
use kiln_model::GuestPath;

use self::trees::{Items, Superblock, Trees, key, u8_at, u16_at, u32_at, u64_at};
use super::block::Bytes;
use super::ext4::zeros;
use super::walk::{self, Filesystem, Inode, broken};

/// The numbers of subvolumes.
const SUBVOLUMES: std::ops::RangeInclusive<u64> = tree::SUBVOLUMES..=u64::MAX - 256;

/// Handles have the number of the inode in this many low bits, above them the place of its subvolume.
const LOW: u32 = 48;
/// No piece of compressed content is longer, unpacked or packed.
const PIECE: u64 = 1 << 20;
/// No file is longer that anybody would wait for, holes and all: 16 TiB.
const LONGEST: u64 = 1 << 44;

/// A btrfs filesystem.
pub(super) struct Btrfs {
    trees: Trees,
    /// The top level, then every subvolume.
    subvolumes: Vec<(u64, Items)>,
    /// The subvolume of a name at the top level.
    roots: BTreeMap<u64, usize>,
    /// Directories in whose place another subvolume's root is.
    mounts: BTreeMap<u64, u64>,
    root: u64,
}

/// Returns label and UUID; none when it is no btrfs.
pub(super) fn identity(bytes: &dyn Bytes) -> Option<(String, String)> {
    Superblock::read(bytes).map(|superblock| (superblock.label, superblock.uuid))
}

impl Btrfs {
    pub fn open(bytes: Arc<dyn Bytes>) -> io::Result<Self> {
        let uuid = identity(&*bytes).map(|(_, uuid)| uuid).unwrap_or_default();
        let (trees, roots) = Trees::open(bytes)?;
        let mut subvolumes = vec![];
        for (key, item) in &roots {
            // One that nothing refers to is about to be deleted.
            let named = || roots.keys().any(|other| other.kind == kind::ROOT_REF && other.offset == key.object);
            if key.kind == kind::ROOT && (key.object == tree::TOP || SUBVOLUMES.contains(&key.object) && named()) {
                subvolumes.push((key.object, trees.items((u64_at(item, 176)?, u8_at(item, 238)?))?));
            }
        }
        if subvolumes.first().is_none_or(|(number, _)| *number != tree::TOP) || subvolumes.len() >= 1 << (64 - LOW) {
            return Err(broken("a btrfs without its top level"));
        }
        let roots = subvolumes.iter().enumerate().map(|(at, (number, _))| (*number, at)).collect();
        let mut own = Self { trees, subvolumes, roots, mounts: BTreeMap::new(), root: ROOT_DIR };
        own.mount(&uuid)?;
        Ok(own)
    }

    /// Finds the root, and puts the other subvolumes where its `/etc/fstab` mounts them.
    fn mount(&mut self, uuid: &str) -> io::Result<()> {
        let top = self.children(&self.inode(self.root)?)?;
        if top.is_empty() || top.iter().any(|(_, handle)| handle >> LOW == 0) {
            return Ok(());
        }
        let path = GuestPath::new("/etc/fstab").expect("a plain path");
        for (_, root) in &top {
            self.root = *root;
            if let Some(file) = walk::lookup(self, &path)? {
                let fstab = walk::read(self, &file)?;
                return self.mount_all(&String::from_utf8_lossy(&fstab), uuid, &top);
            }
        }
        self.root = ROOT_DIR;
        Ok(())
    }

    fn mount_all(&mut self, fstab: &str, uuid: &str, top: &[(Vec<u8>, u64)]) -> io::Result<()> {
        let mut used = BTreeSet::from([self.root]);
        for line in fstab.lines() {
            let [source, at, "btrfs", options] = line.split_whitespace().take(4).collect::<Vec<_>>()[..] else {
                continue;
            };
            let name = options.split(',').find_map(|option| option.strip_prefix("subvol="));
            let Some(name) = name.map(|name| name.trim_start_matches('/')) else { continue };
            let subvolume = top.iter().find(|(known, _)| known == name.as_bytes()).map(|(_, handle)| *handle);
            let Some((subvolume, at)) = subvolume.zip(GuestPath::new(at).ok()) else { continue };
            if source.strip_prefix("UUID=").is_some_and(|own| own != uuid) || !used.insert(subvolume) {
                continue;
            }
            if let Some(place) = walk::lookup(self, &at)?.filter(Inode::is_dir) {
                self.mounts.insert(place.handle, subvolume);
            }
        }
        Ok(())
    }

    fn items(&self, handle: u64) -> io::Result<(&Items, u64)> {
        let (_, items) = self.subvolumes.get((handle >> LOW) as usize).ok_or_else(|| broken("no such subvolume"))?;
        Ok((items, handle & ((1 << LOW) - 1)))
    }

    /// Returns the items of one type that an inode has.
    fn of(&self, handle: u64, kind: u8) -> io::Result<impl Iterator<Item = (u64, &[u8])>> {
        let (items, number) = self.items(handle)?;
        let range = items.range(Key::new(number, kind, 0)..=Key::new(number, kind, u64::MAX));
        Ok(range.map(|(key, item)| (key.offset, item.as_slice())))
    }

    /// Returns the handle of what a name leads to; none where nothing is there, as in place of a subvolume in a snapshot.
    fn target(&self, handle: u64, to: Key) -> io::Result<Option<u64>> {
        let own = handle >> LOW;
        let (at, number) = match to.kind {
            kind::ROOT => match self.roots.get(&to.object) {
                Some(at) if *at as u64 != own => (*at as u64, ROOT_DIR),
                _ => return Ok(None),
            },
            _ => (own, to.object),
        };
        if number >> LOW != 0 {
            return Err(broken(format!("the btrfs inode {number:#x}")));
        }
        let target = at << LOW | number;
        Ok(Some(self.mounts.get(&target).copied().unwrap_or(target)))
    }

    fn xattrs(&self, handle: u64) -> io::Result<BTreeMap<String, Vec<u8>>> {
        let mut found = BTreeMap::new();
        for (_, item) in self.of(handle, kind::XATTR)? {
            for named in names(item) {
                let Named { name, value, .. } = named?;
                found.insert(String::from_utf8_lossy(name).into_owned(), value.to_vec());
            }
        }
        Ok(found)
    }

    /// Returns the unpacked bytes of an extent, which may be referred to in parts.
    fn unpacked(&self, extent: &Extent<'_>) -> io::Result<Vec<u8>> {
        let packed = match extent.place {
            Place::Inline(bytes) => bytes.to_vec(),
            Place::At { address, length } if length <= PIECE => {
                let mut packed = vec![0; length as usize];
                self.trees.read(address, &mut packed)?;
                packed
            }
            Place::At { .. } | Place::Hole => return Err(broken("a compressed btrfs extent that makes no sense")),
        };
        unpacked(extent.compression, &packed)
    }

    /// Hands on the first `length` bytes that a file has of an extent.
    fn piece(&self, extent: &Extent<'_>, length: u64, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let part = |bytes: &[u8], from: u64, sink: &mut dyn FnMut(&[u8])| {
            let rest = bytes.get(usize::try_from(from).unwrap_or(usize::MAX)..).unwrap_or_default();
            let rest = &rest[..rest.len().min(usize::try_from(length).unwrap_or(usize::MAX))];
            sink(rest);
            zeros(length - rest.len() as u64, sink);
        };
        let from = extent.from;
        if extent.compression != 0 {
            part(&self.unpacked(extent)?, from, sink);
            return Ok(());
        }
        match extent.place {
            Place::Inline(bytes) => part(bytes, from, sink),
            Place::Hole => zeros(length, sink),
            Place::At { address, .. } => {
                let mut buffer = vec![0; PIECE.min(length) as usize];
                for at in (0..length).step_by(PIECE as usize) {
                    let now = (length - at).min(PIECE) as usize;
                    let address = address.checked_add(from).and_then(|start| start.checked_add(at));
                    let address = address.ok_or_else(|| broken("a btrfs extent beyond all bounds"))?;
                    self.trees.read(address, &mut buffer[..now])?;
                    sink(&buffer[..now]);
                }
            }
        }
        Ok(())
    }
}

impl Filesystem for Btrfs {
    fn root(&self) -> u64 {
        self.root
    }

    fn inode(&self, handle: u64) -> io::Result<Inode> {
        let (items, number) = self.items(handle)?;
        let raw =
            items.get(&Key::new(number, kind::INODE, 0)).ok_or_else(|| broken(format!("no btrfs inode {number}")))?;
        let (size, device) = (u64_at(raw, 16)?, u64_at(raw, 56)?);
        if size > LONGEST {
            return Err(broken(format!("a btrfs file of {size} bytes")));
        }
        Ok(Inode {
            handle,
            size,
            links: u32_at(raw, 40)?,
            uid: u32_at(raw, 44)?,
            gid: u32_at(raw, 48)?,
            mode: u32_at(raw, 52)?,
            mtime: u64_at(raw, 136)? as i64,
            major: (device >> 20) as u32,
            minor: (device & 0xf_ffff) as u32,
            xattrs: self.xattrs(handle)?,
        })
    }

    fn children(&self, dir: &Inode) -> io::Result<Vec<(Vec<u8>, u64)>> {
        let mut all = Vec::new();
        for (_, item) in self.of(dir.handle, kind::DIR_INDEX)? {
            for named in names(item) {
                let Named { to, name, .. } = named?;
                all.extend(self.target(dir.handle, to)?.map(|handle| (name.to_vec(), handle)));
            }
        }
        Ok(all)
    }

    fn content(&self, file: &Inode, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let mut at = 0;
        for (offset, item) in self.of(file.handle, kind::EXTENT_DATA)? {
            let extent = Extent::read(item)?;
            let start = offset.min(file.size);
            if start < at {
                return Err(broken("btrfs extents that overlap"));
            }
            zeros(start - at, sink);
            let length = extent.length.min(file.size - start);
            self.piece(&extent, length, sink)?;
            at = start + length;
        }
        zeros(file.size - at, sink);
        Ok(())
    }
}

fn unpacked(compression: u8, packed: &[u8]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match compression {
        1 => flate2::read::ZlibDecoder::new(packed).take(PIECE).read_to_end(&mut bytes)?,
        // What follows the frame is the rest of its last sector.
        3 => zstd::Decoder::with_buffer(packed)?.single_frame().take(PIECE).read_to_end(&mut bytes)?,
        2 => return Err(broken("btrfs content that is compressed by LZO, which kiln does not read")),
        other => return Err(broken(format!("a btrfs compression of the unknown kind {other}"))),
    };
    Ok(bytes)
}

/// A name in a directory and what it leads to; of an attribute, the value.
struct Named<'a> {
    to: Key,
    name: &'a [u8],
    value: &'a [u8],
}

/// Returns the names in an item: several, where they have the same hash.
fn names(mut item: &[u8]) -> impl Iterator<Item = io::Result<Named<'_>>> {
    std::iter::from_fn(move || {
        if item.is_empty() {
            return None;
        }
        let read = named(item);
        item = read.as_ref().map(|(_, rest)| *rest).unwrap_or_default();
        Some(read.map(|(named, _)| named))
    })
}

fn named(item: &[u8]) -> io::Result<(Named<'_>, &[u8])> {
    let (value, name) = (usize::from(u16_at(item, 25)?), usize::from(u16_at(item, 27)?));
    let body = item.get(30..30 + name + value).ok_or_else(|| broken("a btrfs name beyond its item"))?;
    let (name, value) = body.split_at(name);
    Ok((Named { to: key(item)?, name, value }, &item[30 + body.len()..]))
}

/// A part of a file's content.
struct Extent<'a> {
    compression: u8,
    /// Bytes of the file.
    length: u64,
    /// Where they begin in the extent, unpacked.
    from: u64,
    place: Place<'a>,
}

#[derive(Clone, Copy)]
enum Place<'a> {
    Inline(&'a [u8]),
    At {
        address: u64,
        length: u64,
    },
    /// Or reserved and never written.
    Hole,
}

impl<'a> Extent<'a> {
    fn read(item: &'a [u8]) -> io::Result<Self> {
        let (unpacked, compression) = (u64_at(item, 8)?, u8_at(item, 16)?);
        if u16_at(item, 17)? != 0 || u8_at(item, 19)? != 0 {
            return Err(broken("btrfs content that is encrypted or encoded"));
        }
        if u8_at(item, 20)? == 0 {
            let place = Place::Inline(item.get(21..).unwrap_or_default());
            return Ok(Self { compression, length: unpacked, from: 0, place });
        }
        let (address, length) = (u64_at(item, 21)?, u64_at(item, 29)?);
        let written = u8_at(item, 20)? == 1 && address != 0;
        let place = if written { Place::At { address, length } } else { Place::Hole };
        let compression = if written { compression } else { 0 };
        Ok(Self { compression, length: u64_at(item, 45)?, from: u64_at(item, 37)?, place })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn compressed_content_is_read_whatever_fills_its_last_sector() {
        let text = b"again and ".repeat(100);
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(&text).unwrap();
        for (kind, mut packed) in [(1, zlib.finish().unwrap()), (3, zstd::encode_all(&text[..], 3).unwrap())] {
            packed.resize(4096, 0);
            assert!(unpacked(kind, &packed).unwrap() == text, "{kind}");
            assert!(unpacked(kind, &packed[..4]).is_err() || unpacked(kind, &packed[..4]).unwrap().len() < text.len());
        }
        assert!(unpacked(2, &[]).unwrap_err().to_string().contains("LZO"));
    }

    #[test]
    fn a_name_beyond_its_item_is_refused() {
        let mut item = vec![0; 32];
        item[27] = 3;
        assert!(names(&item).next().unwrap().is_err());
        item[27] = 2;
        assert_eq!(names(&item).map(|named| named.unwrap().name.len()).collect::<Vec<_>>(), [2]);
        assert!(names(&item[..20]).next().unwrap().is_err());
    }
}
