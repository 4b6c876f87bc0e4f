//! Disks: where each partition lies, and what it holds.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

pub use kiln_model::action::ALIGN;
use kiln_model::action::{Blob, DiskLayout, FilesystemKind, Partition, Size, TableKind, Twin};
use kiln_model::tree::Kind;
use kiln_model::{Entry, Extent, Extents, GuestPath, Source, Tree};

use crate::body::Content;
use crate::btrfs::Sums;
use crate::error::{BLOB, PARTITION, TABLE};
use crate::table::{self, Row, SECTOR};
use crate::{Error, bios, btrfs, ext4, fat, swap};

/// A disk image.
#[derive(Clone, Debug)]
pub struct Disk {
    pub extents: Extents,
    /// The partitions, in the order of the layout.
    pub partitions: Vec<Placed>,
}

/// A partition that has its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub name: String,
    /// First byte on the disk.
    pub offset: u64,
    /// Length in bytes.
    pub size: u64,
}

/// What other tools made for a disk.
#[derive(Clone, Debug, Default)]
pub struct Premade {
    /// Filesystems: by partition name, the file and its length in bytes.
    filesystems: BTreeMap<String, (PathBuf, u64)>,
    /// What a BIOS starts from.
    pub bios: Option<bios::Images>,
}

impl Premade {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a filesystem: the name of its partition, the file and its length in bytes.
    pub fn insert(&mut self, partition: String, made: (PathBuf, u64)) {
        self.filesystems.insert(partition, made);
    }
}

/// Returns the disk that `layout` describes, its filesystems filled from `tree`; `epoch` is the time of making.
pub fn disk(tree: &Tree, layout: &DiskLayout, epoch: i64, premade: &Premade) -> Result<Disk, Error> {
    disk_with_sums(tree, layout, epoch, premade, &Sums::new())
}

/// The same for a disk with a btrfs, which holds the checksums of all content.
pub fn disk_with_sums(
    tree: &Tree,
    layout: &DiskLayout,
    epoch: i64,
    premade: &Premade,
    sums: &Sums,
) -> Result<Disk, Error> {
    let maker = Maker { tree, layout, epoch, premade, sums };
    let filled = maker.fill()?;
    let partitions = place(layout, &filled);
    let size = match layout.size {
        Size::Auto => maker.disk_size(&filled),
        Size::Fixed(size) => size / SECTOR * SECTOR,
        Size::Roomy { minimum, .. } => maker.disk_size(&filled).max(minimum.next_multiple_of(ALIGN)),
    };
    let mut extents = maker.table(&partitions, size)?;
    let mut taken = vec![];
    layout.blobs.iter().try_for_each(|blob| maker.blob(blob, &mut taken, &mut extents))?;
    if layout.bios.is_some() {
        let images = premade.bios.as_ref().ok_or_else(|| Error::NotMade("bios".to_owned()))?;
        bios::put(&mut extents, images, layout.table)?;
    }
    for (filesystem, placed) in filled.into_iter().zip(&partitions) {
        extents.embed(placed.offset, filesystem.extents);
    }
    Ok(Disk { extents: extents.seal(), partitions })
}

/// Returns the filesystem alone of the partition that is called `name`, as large as the partition.
pub fn partition(tree: &Tree, layout: &DiskLayout, epoch: i64, name: &str) -> Result<Extents, Error> {
    let (premade, sums) = (Premade::new(), Sums::new());
    let maker = Maker { tree, layout, epoch, premade: &premade, sums: &sums };
    let at = layout.partitions.iter().position(|part| part.name == name);
    let part = at.map(|at| &layout.partitions[at]).ok_or_else(|| Error::NotMade(name.to_owned()))?;
    let filled = maker.partition(part, part.size)?;
    // A filesystem ends with its partition, where that is known.
    Ok(Extents { size: filled.size, ..filled.extents })
}

impl<const N: usize> From<[(String, (PathBuf, u64)); N]> for Premade {
    fn from(filesystems: [(String, (PathBuf, u64)); N]) -> Self {
        Self { filesystems: filesystems.into(), bios: None }
    }
}

/// A filesystem and the partition length it wants.
struct Filled {
    extents: Extents,
    size: u64,
}

struct Maker<'m> {
    tree: &'m Tree,
    layout: &'m DiskLayout,
    epoch: i64,
    premade: &'m Premade,
    sums: &'m Sums,
}

impl Maker<'_> {
    /// Fills every partition; the one that gives way to the size of the disk is filled last.
    fn fill(&self) -> Result<Vec<Filled>, Error> {
        let (least, extra) = match self.layout.size {
            Size::Auto => return self.filled(None, 0),
            Size::Fixed(size) => (size, None),
            Size::Roomy { minimum, free } => (minimum, Some(free)),
        };
        let Some(elastic) = self.elastic() else {
            return self.check(self.filled(None, 0)?, least, extra.is_none());
        };
        let mut filled = self.filled(Some(elastic), extra.unwrap_or(0))?;
        let used = self.disk_size(&filled);
        let part = &self.layout.partitions[elastic];
        if used < least {
            let more =
                if extra.is_none() { (least - used) / ALIGN * ALIGN } else { (least - used).next_multiple_of(ALIGN) };
            let size = filled[elastic].size + more;
            filled[elastic] = self.partition(part, Size::Fixed(size))?;
        } else if used > least && extra.is_none() {
            self.shrink(&mut filled, elastic, used - least)?;
        }
        Ok(filled)
    }

    /// Fills partitions as they ask for it, `elastic` with room for `extra` bytes; slots become as large as the largest of them.
    fn filled(&self, elastic: Option<usize>, extra: u64) -> Result<Vec<Filled>, Error> {
        let parts = &self.layout.partitions;
        let size = |at: usize| if elastic == Some(at) { more(parts[at].size, extra) } else { parts[at].size };
        let mut filled =
            parts.iter().enumerate().map(|(at, part)| self.partition(part, size(at))).collect::<Result<Vec<_>, _>>()?;
        let slots = |first: &Partition| {
            let is =
                |part: &Partition| part.name == first.name || part.twin.as_ref().is_some_and(|t| t.of == first.name);
            parts.iter().enumerate().filter(move |(_, part)| is(part)).map(|(at, _)| at).collect::<Vec<_>>()
        };
        for slots in parts.iter().map(slots).filter(|slots| slots.len() > 1) {
            let largest = slots.iter().map(|at| filled[*at].size).max().unwrap_or_default();
            for at in slots.into_iter().filter(|at| filled[*at].size < largest).collect::<Vec<_>>() {
                filled[at] = self.partition(&parts[at], Size::Fixed(largest))?;
            }
        }
        Ok(filled)
    }

    /// A fixed disk may leave its elastic partition less than it would like.
    fn shrink(&self, filled: &mut [Filled], elastic: usize, over: u64) -> Result<(), Error> {
        let part = &self.layout.partitions[elastic];
        let others = self.disk_size(filled) - filled[elastic].size;
        let size = filled[elastic].size.saturating_sub(over.next_multiple_of(ALIGN));
        match self.partition(part, Size::Fixed(size)) {
            Ok(fits) => {
                filled[elastic] = fits;
                Ok(())
            }
            Err(Error::TooSmall { needed, .. }) => Err(self.too_small(others + needed.next_multiple_of(ALIGN))),
            Err(other) => Err(other),
        }
    }

    fn check(&self, filled: Vec<Filled>, size: u64, exact: bool) -> Result<Vec<Filled>, Error> {
        let needed = self.disk_size(&filled);
        if exact && needed > size { Err(self.too_small(needed)) } else { Ok(filled) }
    }

    fn too_small(&self, needed: u64) -> Error {
        let size = if let Size::Fixed(size) = self.layout.size { size } else { 0 };
        Error::TooSmall { what: "the disk".to_owned(), size, needed }
    }

    /// The partition that takes what is left: the one that says so, else the root, else the last one without a fixed size.
    fn elastic(&self) -> Option<usize> {
        let parts = &self.layout.partitions;
        let slots = |part: &Partition| {
            part.twin.is_some()
                || parts.iter().any(|other| other.twin.as_ref().is_some_and(|twin| twin.of == part.name))
        };
        let holds = |part: &Partition| !matches!(part.filesystem.kind, FilesystemKind::Swap | FilesystemKind::Blank);
        let free = |part: &Partition| !matches!(part.size, Size::Fixed(_)) && holds(part) && !slots(part);
        let said = parts.iter().position(|part| part.grow && holds(part) && !slots(part));
        let root = || parts.iter().position(|part| part.mount == Some(GuestPath::root()) && free(part));
        said.or_else(root).or_else(|| parts.iter().rposition(free))
    }

    fn disk_size(&self, filled: &[Filled]) -> u64 {
        end(&place(self.layout, filled)) + tail(self.layout.table)
    }

    fn partition(&self, part: &Partition, size: Size) -> Result<Filled, Error> {
        let extents = self.filesystem(part, size).map_err(|error| error.within(&part.name))?;
        let size = if let Size::Fixed(size) = size { size } else { extents.size };
        Ok(Filled { extents, size: size.next_multiple_of(ALIGN).max(ALIGN) })
    }

    fn filesystem(&self, part: &Partition, size: Size) -> Result<Extents, Error> {
        if let Some((path, len)) = self.premade.filesystems.get(&part.name) {
            return premade(path, *len, size);
        }
        let filesystem = &part.filesystem;
        let (label, epoch) = (filesystem.label.clone(), self.epoch);
        let (tree, mount) = self.content(part);
        match filesystem.kind {
            FilesystemKind::Ext4 => {
                let (uuid, hash_seed, features) = (filesystem.uuid, filesystem.seed, filesystem.features.clone());
                let options = ext4::Options { uuid, hash_seed, label, epoch, size, features };
                ext4::layout(&tree, &mount, &self.mounts_below(part), &options)
            }
            FilesystemKind::Fat => {
                let volume_id = first_four(filesystem.uuid);
                let options = fat::Options { label, volume_id, epoch, size };
                fat::layout(&tree, &mount, &self.mounts_below(part), &options)
            }
            FilesystemKind::Btrfs => {
                let (uuid, subvolumes) = (filesystem.uuid, filesystem.subvolumes.clone());
                let options = btrfs::Options { uuid, label, epoch, size, subvolumes };
                btrfs::layout(&tree, &mount, &self.mounts_below(part), &options, self.sums)
            }
            FilesystemKind::Swap => swap::layout(filesystem.uuid, &label, self.bare(part, size)?),
            FilesystemKind::Blank => Ok(Extents { size: self.bare(part, size)?, list: Vec::new() }),
            FilesystemKind::Erofs | FilesystemKind::Squashfs => Err(Error::NotMade(part.name.clone())),
        }
    }

    /// Returns the tree that a partition holds a part of, and which part. One that is mounted nowhere holds nothing.
    fn content(&self, part: &Partition) -> (Cow<'_, Tree>, GuestPath) {
        let Some(mount) = &part.mount else { return (Cow::Owned(Tree::default()), GuestPath::root()) };
        let replaced = part.twin.as_ref().filter(|twin| !twin.replace.is_empty());
        let tree = replaced.map_or(Cow::Borrowed(self.tree), |twin| Cow::Owned(self.with(twin)));
        (tree, mount.clone())
    }

    /// Returns the tree with the files that a slot has for itself.
    fn with(&self, twin: &Twin) -> Tree {
        let mut tree = self.tree.clone();
        for (path, text) in &twin.replace {
            let own = Entry::inline(path.clone(), 0o644, self.epoch, text.clone().into_bytes());
            match tree.entries.iter_mut().find(|entry| entry.path == *path) {
                Some(entry) => entry.kind = own.kind,
                None => tree.entries.push(own),
            }
        }
        tree.sort();
        tree
    }

    /// Returns how large a partition without content is.
    fn bare(&self, part: &Partition, size: Size) -> Result<u64, Error> {
        match size {
            Size::Fixed(size) => Ok(size),
            Size::Roomy { minimum, free } => Ok(minimum.max(free).next_multiple_of(ALIGN)),
            // It becomes as large as the one whose slot it is.
            Size::Auto if part.twin.is_some() => Ok(0),
            Size::Auto => Err(Error::NoSize(part.name.clone())),
        }
    }

    /// Puts a file of the tree between table and partitions, where none of those `taken` is.
    fn blob(&self, blob: &Blob, taken: &mut Vec<Range<u64>>, extents: &mut Extents) -> Result<(), Error> {
        let Blob { path, offset } = blob;
        let mut entry = self.tree.get(path);
        if let Some(Kind::Hardlink(first)) = entry.map(|entry| &entry.kind) {
            entry = self.tree.get(first);
        }
        let Some(Kind::File(body)) = entry.map(|entry| &entry.kind) else {
            return Err(Error::NoBlob { path: path.clone(), offset: *offset });
        };
        let overlap = |what| Error::Overlap { path: path.clone(), offset: *offset, size: body.size, what };
        if *offset < table::length(self.layout.table) {
            return Err(overlap(TABLE));
        }
        if offset.saturating_add(body.size) > ALIGN {
            return Err(overlap(PARTITION));
        }
        let own = *offset..*offset + body.size;
        if taken.iter().any(|other| other.start < own.end && own.start < other.end) {
            return Err(overlap(BLOB));
        }
        taken.push(own);
        Content::new(body).put(extents, *offset, 0, body.size);
        Ok(())
    }

    /// Mount points of other partitions inside of this one.
    fn mounts_below(&self, part: &Partition) -> Vec<GuestPath> {
        let Some(own) = &part.mount else { return Vec::new() };
        let below = |mount: &&GuestPath| mount.is_under(own) && *mount != own;
        self.layout.partitions.iter().filter_map(|other| other.mount.as_ref()).filter(below).cloned().collect()
    }

    fn table(&self, placed: &[Placed], size: u64) -> Result<Extents, Error> {
        let row = |(part, placed): (&Partition, &Placed)| Row {
            name: part.name.clone(),
            r#type: part.r#type.clone(),
            id: part.id,
            offset: placed.offset,
            size: placed.size,
            attributes: 0,
        };
        let mut rows: Vec<Row> = self.layout.partitions.iter().zip(placed).map(row).collect();
        let shown = self.shown(&rows);
        // Last, so that partitions keep the numbers that the layout gives them.
        let bios = self.layout.bios.as_ref().filter(|_| self.layout.table.has_gpt());
        rows.extend(bios.map(|bios| bios::row(bios.id)));
        match self.layout.table {
            TableKind::Gpt => table::gpt(self.layout.id, size, &rows),
            TableKind::Hybrid => table::hybrid(self.layout.id, size, &rows, &shown),
            TableKind::Mbr => table::mbr(first_four(self.layout.id), size, &rows),
        }
    }

    /// The rows that a hybrid table's MBR has too: what firmware reads.
    fn shown(&self, rows: &[Row]) -> Vec<Row> {
        let all = self.layout.partitions.iter().zip(rows);
        let fat = all.filter(|(part, _)| part.filesystem.kind == FilesystemKind::Fat);
        fat.map(|(_, row)| Row { r#type: FAT.to_owned(), ..row.clone() }).collect()
    }
}

/// FAT with 32-bit entries and sector numbers, which every firmware knows that reads an MBR.
const FAT: &str = "0x0c";

/// Returns the number that short ids (MBR disks, FAT volumes) have: the first four bytes.
pub fn first_four(id: uuid::Uuid) -> u32 {
    id.as_fields().0
}

fn place(layout: &DiskLayout, filled: &[Filled]) -> Vec<Placed> {
    let mut offset = ALIGN;
    let placed = layout.partitions.iter().zip(filled).map(|(part, filled)| {
        let placed = Placed { name: part.name.clone(), offset, size: filled.size };
        offset += filled.size;
        placed
    });
    placed.collect()
}

fn end(placed: &[Placed]) -> u64 {
    placed.last().map_or(ALIGN, |last| last.offset + last.size)
}

/// What follows the last partition: the second copy of a GPT.
fn tail(kind: TableKind) -> u64 {
    if kind.has_gpt() { ALIGN } else { 0 }
}

fn more(size: Size, extra: u64) -> Size {
    match size {
        Size::Auto if extra > 0 => Size::Roomy { minimum: 0, free: extra },
        Size::Roomy { minimum, free } => Size::Roomy { minimum, free: free.max(extra) },
        other => other,
    }
}

fn premade(path: &std::path::Path, len: u64, size: Size) -> Result<Extents, Error> {
    let size = match size {
        Size::Auto => len,
        Size::Roomy { minimum, .. } => len.max(minimum),
        Size::Fixed(size) if size < len => {
            return Err(Error::TooSmall { what: "the filesystem".to_owned(), size, needed: len });
        }
        Size::Fixed(size) => size,
    };
    let mut extents = Extents { size, list: Vec::new() };
    if len > 0 {
        let source = Source::File { path: Arc::new(path.to_owned()), from: 0, token: None };
        extents.list.push(Extent { offset: 0, len, source });
    }
    Ok(extents)
}
