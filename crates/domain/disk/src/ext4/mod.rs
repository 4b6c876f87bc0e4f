//! ext4: a filesystem as a value, mountable and able to grow.
//!
//! [`layout`] tells the story: what the tree wants ([`thing`]), how large that is ([`geometry`]), where it goes
//! ([`place`]), and then every structure is rendered once. Content of files is only pointed at.

mod checksum;
mod dir;
mod extent;
mod feature;
mod geometry;
mod group;
mod hash;
mod inode;
mod journal;
mod place;
mod resize;
mod superblock;
mod thing;
mod xattr;

use kiln_model::action::Size;
use kiln_model::{Extents, GuestPath, Tree};
use uuid::Uuid;

use self::checksum::Sums;
use self::extent::Run;
use self::feature::Features;
use self::geometry::{BLOCK, Demand, FIRST_INODE, GROUP, Geometry};
use self::group::Inodes;
use self::inode::{EXTENTS, HASHED, Inode};
use self::place::{Place, Places};
use self::thing::{Content, Thing};
use crate::view::View;
use crate::{Error, body};

/// The numbers of inodes with a fixed use.
const ROOT: u32 = 2;
const RESIZE: u32 = 7;
const JOURNAL: u32 = 8;
/// Blocks of `lost+found`: e2fsck finds room there without allocating any.
const LOST_AND_FOUND: u64 = 4;

/// The identity and size of a filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub uuid: Uuid,
    /// Seed of directory hashes.
    pub hash_seed: Uuid,
    /// Volume label, 16 bytes at most.
    pub label: String,
    /// Time of making, in seconds since 1970.
    pub epoch: i64,
    pub size: Size,
    /// Feature words as mke2fs has them: `^has_journal`, `^orphan_file`.
    pub features: Vec<String>,
}

/// Returns the filesystem whose root is the directory `at` of `tree`. Directories of `skip` stay, their content does not.
pub fn layout(tree: &Tree, at: &GuestPath, skip: &[GuestPath], options: &Options) -> Result<Extents, Error> {
    let features = Features::parse(&options.features)?;
    check_label(&options.label)?;
    let mut view = View::of(tree, at, skip, options.epoch)?;
    let lost = view.add_dir("lost+found", 0o700, options.epoch);
    let sums = Sums::new(options.uuid, features.checksums);
    let seed = features.index.then_some(options.hash_seed.as_bytes());
    let spare = |item| if Some(item) == lost { LOST_AND_FOUND - 1 } else { 0 };
    let things: Vec<Thing<'_>> = view
        .items
        .iter()
        .enumerate()
        .map(|(at, item)| Thing::new(item, seed, sums, spare(at)))
        .collect::<Result<_, _>>()?;

    let geometry = Geometry::solve(&demand(&things), options.size, features)?;
    let places = place::place(&things, lost, &geometry, options.epoch);
    let mut writer = Writer { view: &view, things: &things, places: &places, sums, image: Extents::default() };
    writer.image.size = geometry.blocks * BLOCK;
    let inodes = writer.inodes(&geometry, options.epoch);
    let mut image = writer.image;
    tables(&geometry, options, &inodes, &places.used, sums, &mut image);
    Ok(image.seal())
}

fn check_label(label: &str) -> Result<(), Error> {
    if label.len() <= 16 && !label.contains('\0') {
        return Ok(());
    }
    let why = "a label of ext4 has 16 bytes at most".to_owned();
    Err(Error::Option { what: "filesystem label", value: label.to_owned(), why })
}

fn demand(things: &[Thing<'_>]) -> Demand {
    let blocks = |thing: &Thing<'_>| thing.blocks + u64::from(thing.attributes.needs_block());
    Demand {
        inodes: u64::from(FIRST_INODE) + things.len() as u64,
        blocks: things.iter().map(blocks).sum(),
        split: things.iter().map(|thing| thing.blocks).filter(|blocks| *blocks > GROUP).sum(),
    }
}

/// Puts superblocks, descriptors, bitmaps and inodes into the image.
fn tables(geometry: &Geometry, options: &Options, inodes: &Inodes, used: &[u64], sums: Sums, image: &mut Extents) {
    let groups = group::groups(geometry, inodes, used, sums, image);
    let master = superblock::superblock(geometry, options, inodes.get(&JOURNAL), groups.free);
    let descriptors: std::sync::Arc<[u8]> = groups.descriptors.into();
    for group in std::iter::once(0).chain(geometry.backups()) {
        let at = group * GROUP * BLOCK + if group == 0 { superblock::LENGTH as u64 } else { 0 };
        image.bytes(at, superblock::copy(&master, group, sums));
        image.bytes((group * GROUP + 1) * BLOCK, descriptors.clone());
    }
}

struct Writer<'w> {
    view: &'w View<'w>,
    things: &'w [Thing<'w>],
    places: &'w Places,
    sums: Sums,
    image: Extents,
}

impl Writer<'_> {
    /// Puts all content into the image and returns the inodes that lead to it.
    fn inodes(&mut self, geometry: &Geometry, epoch: i64) -> Inodes {
        let mut inodes = Inodes::new();
        if let Some(root) = self.places.resize {
            inodes.insert(RESIZE, resize::resize(geometry, root, epoch, &mut self.image));
        }
        if geometry.journal > 0 {
            let journal = &self.places.journal;
            inodes.insert(JOURNAL, journal::journal(journal, self.sums.inode(JOURNAL), epoch, &mut self.image));
        }
        for (at, thing) in self.things.iter().enumerate() {
            let place = &self.places.things[at];
            inodes.insert(place.number, self.inode(thing, place));
            self.content(thing, place);
        }
        inodes
    }

    fn inode(&mut self, thing: &Thing<'_>, place: &Place) -> Inode {
        let entry = &thing.item.entry;
        let mut inode = Inode {
            mode: thing.mode(),
            uid: entry.uid,
            gid: entry.gid,
            size: thing.size(),
            links: thing.links(self.view),
            blocks: place.blocks(),
            time: entry.mtime,
            attributes: place.attributes,
            behind: thing.attributes.inline(),
            ..Inode::default()
        };
        match &thing.content {
            Content::Short(block, _) => inode.block = *block,
            Content::Nothing => {}
            Content::Dir(_) | Content::File(_) | Content::Link(_) => {
                let tree = extent::tree(&place.runs, &place.nodes, self.sums.inode(place.number));
                tree.nodes.into_iter().for_each(|(at, node)| self.image.bytes(at * BLOCK, node));
                inode.block = tree.root;
                inode.flags = EXTENTS;
            }
        }
        if matches!(&thing.content, Content::Dir(packed) if packed.hashed()) {
            inode.flags |= HASHED;
        }
        inode
    }

    fn content(&mut self, thing: &Thing<'_>, place: &Place) {
        if place.attributes > 0 {
            self.image.bytes(place.attributes * BLOCK, thing.attributes.block(place.attributes, self.sums));
        }
        match &thing.content {
            Content::File(body) => {
                let content = body::Content::new(body);
                parts(&place.runs).for_each(|(run, from)| {
                    content.put(&mut self.image, run.start * BLOCK, from, run.blocks * BLOCK);
                });
            }
            Content::Link(target) => self.image.bytes(place.runs[0].start * BLOCK, *target),
            Content::Dir(packed) => {
                let parent = self.places.things[thing.item.parent].number;
                let target = |item: usize| (self.places.things[item].number, self.things[item].kind_in_directory());
                let bytes = packed.render(place.number, parent, self.sums.inode(place.number), target);
                for (run, from) in parts(&place.runs) {
                    let end = from + run.blocks * BLOCK;
                    self.image.bytes(run.start * BLOCK, &bytes[from as usize..end as usize]);
                }
            }
            Content::Short(..) | Content::Nothing => {}
        }
    }
}

/// Returns each run with the place in the file where it begins, in bytes.
fn parts(runs: &[Run]) -> impl Iterator<Item = (&Run, u64)> {
    runs.iter().scan(0, |from, run| {
        let start = *from;
        *from += run.blocks * BLOCK;
        Some((run, start))
    })
}
