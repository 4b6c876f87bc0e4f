//! The items of a tree of files: inodes, names, attributes, and what leads to the data.

use kiln_model::Kind;

use super::data::{Data, Run, START, Sums};
use super::inode::Inode;
use super::key::{GENERATION, Item, Key, ROOT_DIR, kind, name_hash, raw, tree};
use super::node::LONGEST;
use crate::Error;
use crate::put::Put as _;
use crate::view::{Item as Thing, View};

/// The number of the first name in a directory.
const FIRST_INDEX: u64 = 2;
/// Bytes of names that one item holds before further ones get an item each.
const NAMES: usize = 8000;

/// Types of names in a directory.
mod entry {
    pub const DIR: u8 = 2;
    pub const ATTRIBUTE: u8 = 8;
}

/// A subvolume as its parent names it.
pub(super) struct Named<'a> {
    pub name: &'a str,
    pub tree: u64,
    /// The number of its name in the directory.
    pub index: u64,
}

/// Returns the items of the tree `owner`: what `view` holds, and in its root the names of subvolumes.
pub(super) fn items<'a>(
    owner: u64,
    view: &'a View<'a>,
    subvolumes: &[Named<'_>],
    data: &mut Data<'a>,
    sums: &Sums,
) -> Result<Vec<Item>, Error> {
    let mut files = Files { owner, view, items: vec![] };
    let mut names = Names::new(view);
    for (at, thing) in view.items.iter().enumerate() {
        let runs = match &thing.entry.kind {
            Kind::File(body) => data.add((owner, number(at)), body, sums)?,
            _ => vec![],
        };
        files.inode(at, thing, subvolumes, &runs);
        files.attributes(at, thing)?;
        files.directory(at, thing, subvolumes);
        files.names(at, names.take(at));
    }
    Ok(files.items)
}

/// Returns the items of a tree without files.
pub(super) fn empty(time: i64) -> Vec<Item> {
    let inode = Inode { links: 1, mode: 0o040_755, time, ..Inode::default() };
    vec![
        Item::new(Key::new(ROOT_DIR, kind::INODE, 0), inode.render()),
        Item::new(Key::new(ROOT_DIR, kind::INODE_REF, ROOT_DIR), reference(0, b"..")),
    ]
}

/// Returns the number that the name of a view's root's `at`th child or subvolume has.
pub(super) fn index(at: usize) -> u64 {
    FIRST_INDEX + at as u64
}

fn number(item: usize) -> u64 {
    ROOT_DIR + item as u64
}

/// For each item of a view, its names: the directory, the number there, the name.
struct Names<'a>(Vec<Vec<(u64, u64, &'a [u8])>>);

impl<'a> Names<'a> {
    fn new(view: &'a View<'a>) -> Self {
        let mut all = vec![vec![]; view.items.len()];
        all[0].push((ROOT_DIR, 0, &b".."[..]));
        for (dir, thing) in view.items.iter().enumerate() {
            for (at, (name, child)) in thing.children.iter().enumerate() {
                all[*child].push((number(dir), index(at), *name));
            }
        }
        Self(all)
    }

    fn take(&mut self, at: usize) -> Vec<(u64, u64, &'a [u8])> {
        std::mem::take(&mut self.0[at])
    }
}

struct Files<'a> {
    owner: u64,
    view: &'a View<'a>,
    items: Vec<Item>,
}

impl Files<'_> {
    fn push(&mut self, object: u64, kind: u8, offset: u64, data: Vec<u8>) {
        self.items.push(Item::new(Key::new(object, kind, offset), data));
    }

    fn inode(&mut self, at: usize, thing: &Thing<'_>, subvolumes: &[Named<'_>], runs: &[Run]) {
        let entry = &thing.entry;
        let data: u64 = runs.iter().map(|run| run.len).sum();
        let (format, size, bytes, device) = match &entry.kind {
            Kind::Dir => {
                let names: usize = thing.children.iter().map(|(name, _)| name.len()).sum();
                let further: usize = self.subvolumes(at, subvolumes).iter().map(|one| one.name.len()).sum();
                (0o040_000, 2 * (names + further) as u64, 0, 0)
            }
            Kind::File(body) => (0o100_000, body.size, data, 0),
            Kind::Symlink(target) => (0o120_000, target.len() as u64, target.len() as u64, 0),
            Kind::Fifo => (0o010_000, 0, 0, 0),
            Kind::Socket => (0o140_000, 0, 0, 0),
            Kind::Char { major, minor } => (0o020_000, 0, 0, device(*major, *minor)),
            Kind::Block { major, minor } => (0o060_000, 0, 0, device(*major, *minor)),
            Kind::Hardlink(_) => unreachable!("a view has none"),
        };
        let links = if thing.is_dir() { 1 } else { thing.names };
        let inode = Inode {
            size,
            bytes,
            links,
            uid: entry.uid,
            gid: entry.gid,
            mode: format | entry.mode,
            device,
            flags: 0,
            time: entry.mtime,
        };
        self.push(number(at), kind::INODE, 0, inode.render());
        if let Kind::Symlink(target) = &entry.kind {
            self.push(number(at), kind::EXTENT_DATA, 0, inline(target));
        }
        runs.iter().for_each(|run| self.push(number(at), kind::EXTENT_DATA, run.from, regular(run)));
    }

    fn subvolumes<'s, 'n>(&self, at: usize, all: &'s [Named<'n>]) -> &'s [Named<'n>] {
        if at == 0 && self.owner == tree::TOP { all } else { &[] }
    }

    fn attributes(&mut self, at: usize, thing: &Thing<'_>) -> Result<(), Error> {
        let mut found: Vec<(u64, Vec<u8>)> = vec![];
        for (name, value) in &thing.entry.xattrs {
            let item = named(Key::new(0, 0, 0), name.as_bytes(), value, entry::ATTRIBUTE);
            if item.len() > LONGEST {
                return Err(Error::unfit(thing.path(), "btrfs", format!("its attribute `{name}` is too long")));
            }
            found.push((name_hash(name.as_bytes()), item));
        }
        self.hashed(number(at), kind::XATTR, found);
        Ok(())
    }

    /// The names in a directory, twice: by their hash, and by their number.
    fn directory(&mut self, at: usize, thing: &Thing<'_>, subvolumes: &[Named<'_>]) {
        let child = |(place, (name, child)): (usize, &(&[u8], usize))| {
            let key = Key::new(number(*child), kind::INODE, 0);
            let item = named(key, name, &[], entry_type(&self.view.items[*child].entry.kind));
            (index(place), name_hash(name), item)
        };
        let mut names: Vec<(u64, u64, Vec<u8>)> = thing.children.iter().enumerate().map(child).collect();
        for one in self.subvolumes(at, subvolumes) {
            let key = Key::new(one.tree, kind::ROOT, u64::MAX);
            let name = one.name.as_bytes();
            names.push((one.index, name_hash(name), named(key, name, &[], entry::DIR)));
        }
        for (index, _, item) in &names {
            self.push(number(at), kind::DIR_INDEX, *index, item.clone());
        }
        self.hashed(number(at), kind::DIR_ITEM, names.into_iter().map(|(_, hash, item)| (hash, item)).collect());
    }

    /// Names of the same hash share an item.
    fn hashed(&mut self, object: u64, kind: u8, mut found: Vec<(u64, Vec<u8>)>) {
        found.sort();
        for (hash, item) in found {
            let key = Key::new(object, kind, hash);
            match self.items.last_mut().filter(|last| last.key == key) {
                Some(last) => last.data.extend(item),
                None => self.items.push(Item::new(key, item)),
            }
        }
    }

    /// Where a file's names are: all of one directory in one item, as long as they fit.
    fn names(&mut self, at: usize, names: Vec<(u64, u64, &[u8])>) {
        for (dir, index, name) in names {
            let key = Key::new(number(at), kind::INODE_REF, dir);
            let bytes = reference(index, name);
            match self.items.last_mut().filter(|last| last.key == key) {
                Some(last) if last.data.len() + bytes.len() > NAMES => {
                    let mut further = dir.to_le_bytes().to_vec();
                    further.extend(bytes);
                    let hash = u64::from(raw(dir as u32, name));
                    // What is last stays last: items are sorted later.
                    let before = self.items.len() - 1;
                    self.items.insert(before, Item::new(Key::new(number(at), kind::INODE_EXTREF, hash), further));
                }
                Some(last) => last.data.extend(bytes),
                None => self.items.push(Item::new(key, bytes)),
            }
        }
    }
}

/// A name by which an inode is known: its number in the directory, and the name.
fn reference(index: u64, name: &[u8]) -> Vec<u8> {
    let mut bytes = index.to_le_bytes().to_vec();
    bytes.extend((name.len() as u16).to_le_bytes());
    bytes.extend(name);
    bytes
}

/// A name and what it leads to; of attributes, the value.
fn named(to: Key, name: &[u8], value: &[u8], r#type: u8) -> Vec<u8> {
    let mut bytes = vec![0; 30];
    to.put(&mut bytes, 0);
    bytes.le64(17, GENERATION);
    bytes.le16(25, value.len() as u16);
    bytes.le16(27, name.len() as u16);
    bytes.u8(29, r#type);
    bytes.extend(name);
    bytes.extend(value);
    bytes
}

/// The item `default` of the tree of roots, which leads to the subvolume that is mounted when nobody names one.
pub(super) fn default_subvolume() -> (u64, Vec<u8>) {
    let name = b"default";
    (name_hash(name), named(Key::new(tree::TOP, kind::ROOT, u64::MAX), name, &[], entry::DIR))
}

fn entry_type(kind: &Kind) -> u8 {
    match kind {
        Kind::File(_) | Kind::Hardlink(_) => 1,
        Kind::Dir => entry::DIR,
        Kind::Char { .. } => 3,
        Kind::Block { .. } => 4,
        Kind::Fifo => 5,
        Kind::Socket => 6,
        Kind::Symlink(_) => 7,
    }
}

/// As the kernel has it in memory.
fn device(major: u32, minor: u32) -> u64 {
    u64::from(major) << 20 | u64::from(minor)
}

fn inline(content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 21];
    bytes.le64(0, GENERATION);
    bytes.le64(8, content.len() as u64);
    bytes.extend(content);
    bytes
}

fn regular(run: &Run) -> Vec<u8> {
    let mut bytes = vec![0; 53];
    bytes.le64(0, GENERATION);
    bytes.le64(8, run.len);
    bytes.u8(20, 1);
    bytes.le64(21, START + run.at);
    bytes.le64(29, run.len);
    bytes.le64(45, run.len);
    bytes
}
