//! btrfs: a filesystem as a value, with its subvolumes, mountable and able to grow.
//!
//! [`layout`] tells the story: files become items of trees ([`files`]) and get places for their data ([`data`]); trees get their
//! shape ([`node`]), all of it gets its space ([`space`]), and then every node is rendered once. Only the tree of extents
//! lists itself, so its shape is looked for. Of content, the checksums are handed in.

mod data;
mod files;
mod inode;
pub mod key;
mod node;
mod space;
mod superblock;

use std::sync::Arc;

use kiln_model::action::{Size, Subvolume};
use kiln_model::{Extents, GuestPath, Tree};
use uuid::Uuid;

use self::data::Data;
pub use self::data::{Sums, sums};
use self::files::Named;
use self::inode::Root;
use self::key::{Item, Key, kind, tree};
use self::node::{Identity, NODE, Shape};
use self::space::{METADATA_START, SYSTEM_START, Space, Use};
use self::superblock::Superblock;
use crate::Error;
use crate::view::View;

/// The least that is left for a running system, in bytes.
const FREE: u64 = 32 << 20;
/// What the kernel takes for chunks of its own as soon as it is mounted, in bytes.
const KERNEL: u64 = 128 << 20;
const MIB: u64 = 1 << 20;

/// The identity and size of a filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub uuid: Uuid,
    /// Volume label, 255 bytes at most.
    pub label: String,
    /// Time of making, in seconds since 1970.
    pub epoch: i64,
    pub size: Size,
    /// At the top level; one is mounted at the filesystem's own mount point. Without any, the top level holds everything.
    pub subvolumes: Vec<Subvolume>,
}

/// Returns the filesystem whose root is the directory `at` of `tree`. Directories of `skip` stay, their content does not;
/// `sums` has the checksums of all files on the host.
pub fn layout(
    tree: &Tree,
    at: &GuestPath,
    skip: &[GuestPath],
    options: &Options,
    sums: &Sums,
) -> Result<Extents, Error> {
    check_label(&options.label)?;
    let nothing = Tree::default();
    let top = if options.subvolumes.is_empty() { tree } else { &nothing };
    let views = std::iter::once(View::of(top, at, skip, options.epoch))
        .chain(options.subvolumes.iter().map(|one| {
            let mounts = options.subvolumes.iter().map(|other| &other.mount).filter(|mount| **mount != one.mount);
            View::of(tree, &one.mount, &skip.iter().chain(mounts).cloned().collect::<Vec<_>>(), options.epoch)
        }))
        .collect::<Result<Vec<_>, _>>()?;
    let named = options.subvolumes.iter().enumerate().map(|(number, one)| Named {
        name: &one.name,
        tree: tree::SUBVOLUMES + number as u64,
        index: files::index(views[0].items[0].children.len() + number),
    });
    let named: Vec<Named<'_>> = named.collect();
    let mut data = Data::default();
    let owners = std::iter::once(tree::TOP).chain(named.iter().map(|one| one.tree));
    let trees = owners
        .zip(&views)
        .map(|(owner, view)| Ok(Shape::new(owner, files::items(owner, view, &named, &mut data, sums)?)));
    let trees = trees.collect::<Result<Vec<_>, Error>>()?;
    Maker { options, named: &named, ids: Ids::of(options.uuid) }.image(trees, &data)
}

fn check_label(label: &str) -> Result<(), Error> {
    if label.len() <= 255 && !label.contains(['\0', '\n', '/']) {
        return Ok(());
    }
    let why = "a label of btrfs has 255 bytes at most".to_owned();
    Err(Error::Option { what: "filesystem label", value: label.to_owned(), why })
}

/// Ids that follow from the filesystem's.
#[derive(Clone, Copy)]
struct Ids {
    filesystem: Uuid,
    device: Uuid,
    chunk_tree: Uuid,
}

impl Ids {
    fn of(filesystem: Uuid) -> Self {
        let of = |what: &str| Uuid::new_v5(&filesystem, what.as_bytes());
        Self { filesystem, device: of("device"), chunk_tree: of("chunks") }
    }

    fn tree(self, number: u64) -> Uuid {
        Uuid::new_v5(&self.filesystem, format!("tree {number}").as_bytes())
    }
}

struct Maker<'m> {
    options: &'m Options,
    named: &'m [Named<'m>],
    ids: Ids,
}

/// Trees and where each begins.
type Placed = Vec<(Shape, u64)>;

impl Maker<'_> {
    fn image(&self, files: Vec<Shape>, data: &Data<'_>) -> Result<Extents, Error> {
        let sums = Shape::new(tree::SUM, data.sum_items());
        let uuids = Shape::new(tree::UUID, self.uuid_items(&files));
        let reloc = Shape::new(tree::DATA_RELOCATION, files::empty(self.options.epoch));
        let others: Vec<Shape> = files.into_iter().chain([sums, uuids, reloc]).collect();
        let (space, total) = self.space(&others, data)?;

        let mut placed: Placed = vec![];
        let mut at = METADATA_START;
        let mut place = |shape: Shape, placed: &mut Placed| {
            let nodes = shape.nodes() * NODE;
            placed.push((shape, at));
            at += nodes;
        };
        let device = Shape::new(tree::DEVICE, space.device_items(self.ids.chunk_tree));
        let free = Shape::new(tree::FREE, space.free_items());
        others.into_iter().chain([device, free]).for_each(|shape| place(shape, &mut placed));
        // Its own root is not in the tree of roots, and that of the tree of extents is behind it: both are known by now.
        let (extents, roots) = self.last(&placed, &space, data);
        place(extents, &mut placed);
        place(roots, &mut placed);
        Ok(self.render(&placed, &space, data, total))
    }

    /// Returns the chunks, large enough for a tree of extents that lists itself, and the length of the device.
    fn space(&self, others: &[Shape], data: &Data<'_>) -> Result<(Space, u64), Error> {
        let known: u64 = others.iter().map(Shape::nodes).sum();
        let mut further = 1;
        let space = loop {
            let space = Space::new(1, known + further, data.used);
            let device = Shape::new(tree::DEVICE, space.device_items(self.ids.chunk_tree)).nodes();
            let free = Shape::new(tree::FREE, space.free_items()).nodes();
            let system = Shape::new(tree::CHUNK, space.chunk_items(&[0; 98], self.ids.device)).nodes();
            let listed = vec![(0, 0, 0); (system + known + further) as usize];
            let extents = Shape::new(tree::EXTENT, space.extent_items(&listed, data)).nodes();
            let needed = device + free + extents + self.roots(&[]).nodes();
            if needed == further {
                break Space::new(system, known + further, data.used);
            }
            further = needed;
        };
        let least = space.end.next_multiple_of(MIB);
        let total = match self.options.size {
            Size::Auto => least + FREE,
            Size::Roomy { minimum, free } => (least + KERNEL + free).max(minimum).next_multiple_of(MIB),
            Size::Fixed(size) if size < least => {
                return Err(Error::TooSmall { what: "the btrfs filesystem".into(), size, needed: least });
            }
            Size::Fixed(size) => size / key::SECTOR * key::SECTOR,
        };
        Ok((space, total))
    }

    /// Returns the tree of extents and, behind it, the tree of roots.
    fn last(&self, placed: &Placed, space: &Space, data: &Data<'_>) -> (Shape, Shape) {
        let metadata = space.of(Use::Metadata).next().expect("there is one");
        let system = space.of(Use::System).next().expect("there is one");
        let end = placed.last().map_or(METADATA_START, |(shape, at)| at + shape.nodes() * NODE);
        let count = (METADATA_START + metadata.used - end) / NODE;
        let mut nodes: Vec<(u64, u8, u64)> = vec![];
        let mut list = |shape: &Shape, at: u64| {
            let node = |(number, level): (u64, u8)| (at + number * NODE, level, shape.owner);
            nodes.extend((0..).zip(shape.node_levels()).map(node));
        };
        let chunks = Shape::new(tree::CHUNK, space.chunk_items(&[0; 98], self.ids.device));
        list(&chunks, SYSTEM_START);
        debug_assert_eq!(chunks.nodes() * NODE, system.used);
        placed.iter().for_each(|(shape, at)| list(shape, *at));
        let roots = self.roots(&[]);
        let own = count - roots.nodes();
        list(&roots, end + own * NODE);
        // Levels decide no length, so a tree of these items has the shape of the one that is looked for.
        let guess = |levels: Vec<u8>| {
            let own = (0..).zip(levels).map(|(number, level)| (end + number * NODE, level, tree::EXTENT));
            let all: Vec<_> = nodes.iter().copied().chain(own).collect();
            Shape::new(tree::EXTENT, space.extent_items(&all, data))
        };
        let shape = guess(vec![0; own as usize]);
        let extents = guess(shape.node_levels().collect());
        debug_assert_eq!(extents.nodes(), own);
        let mut addresses: Vec<(u64, Root)> = placed.iter().map(|(shape, at)| self.root(shape, *at)).collect();
        addresses.push(self.root(&extents, end));
        let roots = self.roots(&addresses);
        (extents, roots)
    }

    fn root(&self, shape: &Shape, at: u64) -> (u64, Root) {
        let owner = shape.owner;
        let holds_files = owner == tree::TOP || owner >= tree::SUBVOLUMES;
        let root = Root {
            address: shape.root(at),
            level: shape.level(),
            nodes: shape.nodes(),
            files: holds_files.then(|| if owner == tree::DATA_RELOCATION { Uuid::nil() } else { self.ids.tree(owner) }),
            time: self.options.epoch,
        };
        (owner, root)
    }

    /// Returns the tree of roots; without them, one of the same shape.
    fn roots(&self, roots: &[(u64, Root)]) -> Shape {
        let nowhere = Root { address: 0, level: 0, nodes: 0, files: None, time: 0 };
        let all = [tree::EXTENT, tree::DEVICE, tree::TOP, tree::SUM, tree::UUID, tree::FREE, tree::DATA_RELOCATION];
        let all = all.into_iter().chain(self.named.iter().map(|one| one.tree));
        let mut items: Vec<Item> = all
            .map(|owner| {
                let root = roots.iter().find(|(known, _)| *known == owner).map_or(nowhere, |(_, root)| *root);
                Item::new(Key::new(owner, kind::ROOT, 0), root.render())
            })
            .collect();
        for one in self.named {
            let mut bytes = [key::ROOT_DIR.to_le_bytes(), one.index.to_le_bytes()].concat();
            bytes.extend((one.name.len() as u16).to_le_bytes());
            bytes.extend(one.name.as_bytes());
            items.push(Item::new(Key::new(tree::TOP, kind::ROOT_REF, one.tree), bytes.clone()));
            items.push(Item::new(Key::new(one.tree, kind::ROOT_BACKREF, tree::TOP), bytes));
        }
        // A directory of its own says which subvolume is the default.
        let (hash, default) = files::default_subvolume();
        let own = files::empty(self.options.epoch).into_iter().map(|item| Item {
            key: Key::new(ROOTS_DIR, item.key.kind, if item.key.kind == kind::INODE_REF { ROOTS_DIR } else { 0 }),
            ..item
        });
        items.extend(own);
        items.push(Item::new(Key::new(ROOTS_DIR, kind::DIR_ITEM, hash), default));
        Shape::new(tree::ROOT, items)
    }

    /// Finds subvolumes by their ids.
    fn uuid_items(&self, files: &[Shape]) -> Vec<Item> {
        let item = |shape: &Shape| {
            let (low, high) = self.ids.tree(shape.owner).as_u64_pair();
            let key = Key::new(low.swap_bytes(), kind::UUID_SUBVOLUME, high.swap_bytes());
            Item::new(key, shape.owner.to_le_bytes().to_vec())
        };
        files.iter().map(item).collect()
    }

    fn render(&self, placed: &Placed, space: &Space, data: &Data<'_>, total: u64) -> Extents {
        let ids = self.ids;
        let identity = Identity { filesystem: ids.filesystem, chunk_tree: ids.chunk_tree };
        let device = superblock::device(total, space.taken(), ids.device, ids.filesystem);
        let chunks = Shape::new(tree::CHUNK, space.chunk_items(&device, ids.device));
        let mut image = Extents { size: total, list: vec![] };
        let mut twice = |wanted: Use, bytes: Vec<u8>| {
            let bytes: Arc<[u8]> = bytes.into();
            for place in space.of(wanted).flat_map(|chunk| &chunk.places) {
                image.bytes(*place, bytes.clone());
            }
        };
        twice(Use::System, chunks.render(SYSTEM_START, identity));
        twice(Use::Metadata, placed.iter().flat_map(|(shape, at)| shape.render(*at, identity)).collect());
        let first = space.of(Use::Data).next().expect("there is one");
        data.put(first.places[0], &mut image);
        let (roots, at) = placed.last().expect("the tree of roots");
        let superblock = Superblock {
            filesystem: ids.filesystem,
            label: &self.options.label,
            total,
            used: space.used(),
            device: &device,
            device_uuid: ids.device,
            root: (roots.root(*at), roots.level()),
            chunk_root: (chunks.root(SYSTEM_START), chunks.level()),
            system: space.of(Use::System).next().expect("there is one"),
        };
        for at in superblock::PLACES.into_iter().filter(|at| at + superblock::LENGTH <= total) {
            image.bytes(at, superblock.render(at));
        }
        image.seal()
    }
}

/// The directory in the tree of roots.
const ROOTS_DIR: u64 = 6;
