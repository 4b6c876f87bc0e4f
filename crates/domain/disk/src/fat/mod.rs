//! FAT16 and FAT32 for EFI system partitions.
//!
//! Files lie in one piece each. FAT knows neither owners nor modes, links or devices: the first two are dropped, hard
//! links become files of their own, and anything else is an error that names it.

mod boot;
mod dir;
mod geometry;
mod name;

use std::cmp::Reverse;

use kiln_model::action::Size;
use kiln_model::tree::Body;
use kiln_model::{Extents, GuestPath, Kind, Tree};

use self::dir::Target;
use self::geometry::{Demand, ENTRY, Geometry, SECTOR};
use self::name::Name;
use crate::view::View;
use crate::{Error, body};

/// The identity and size of a filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Volume label, 11 bytes at most.
    pub label: String,
    pub volume_id: u32,
    /// Time of making, in seconds since 1970.
    pub epoch: i64,
    pub size: Size,
}

/// Returns the filesystem whose root is the directory `at` of `tree`. Directories of `skip` stay, their content does not.
pub fn layout(tree: &Tree, at: &GuestPath, skip: &[GuestPath], options: &Options) -> Result<Extents, Error> {
    let label = label(&options.label)?;
    let view = View::of(tree, at, skip, options.epoch)?;
    let nodes = nodes(&view, options)?;
    let lengths = nodes.iter().skip(1).map(|node| node.length).collect();
    let shape = Geometry::solve(&Demand { lengths, root: nodes[0].length }, options.size)?;
    let chains = Chains::new(&nodes, &shape, options.epoch);

    let mut image = Extents { size: shape.sectors * SECTOR, list: Vec::new() };
    for (offset, bytes) in boot::sectors(&shape, options, &label, chains.next - 2) {
        image.bytes(offset, bytes);
    }
    let table: std::sync::Arc<[u8]> = chains.table(&shape).into();
    image.bytes(shape.reserved * SECTOR, table.clone());
    image.bytes((shape.reserved + shape.table) * SECTOR, table);
    Writer { nodes: &nodes, chains: &chains, shape: &shape, options, label: &label }.content(&mut image);
    Ok(image.seal())
}

fn label(text: &str) -> Result<[u8; 11], Error> {
    let odd = |c: char| !c.is_ascii() || c.is_ascii_control() || "\"*+,./:;<=>?[\\]|".contains(c);
    if text.len() > 11 || text.contains(odd) {
        let why = "a label of FAT has 11 plain characters at most".to_owned();
        return Err(Error::Option { what: "filesystem label", value: text.to_owned(), why });
    }
    let mut label = *b"NO NAME    ";
    if !text.is_empty() {
        label.fill(b' ');
        label[..text.len()].copy_from_slice(text.as_bytes());
    }
    Ok(label)
}

/// A file under one name, or a directory.
struct Node<'v> {
    content: Content<'v>,
    time: i64,
    parent: usize,
    /// In bytes.
    length: u64,
}

enum Content<'v> {
    /// Names with nodes.
    Dir(Vec<(Name, usize)>),
    File(&'v Body),
}

/// Turns items into nodes, the root first; an item with several names becomes several nodes.
fn nodes<'v>(view: &'v View<'v>, options: &Options) -> Result<Vec<Node<'v>>, Error> {
    let mut nodes = vec![node(view, 0, 0)?];
    let mut open = vec![(0, 0)];
    while let Some((node_at, item)) = open.pop() {
        let children = &view.items[item].children;
        let given: Vec<&[u8]> = children.iter().map(|(name, _)| *name).collect();
        let path =
            |at: usize| view.items[item].path().join(given[at]).unwrap_or_else(|_| view.items[item].path().clone());
        let names = name::names(&given).map_err(|(at, why)| Error::unfit(&path(at), "FAT", why))?;
        let mut list = Vec::with_capacity(names.len());
        for (name, (_, child)) in names.into_iter().zip(children) {
            list.push((name, nodes.len()));
            if view.items[*child].is_dir() {
                open.push((nodes.len(), *child));
            }
            nodes.push(node(view, *child, node_at)?);
        }
        let own = if node_at == 0 { usize::from(!options.label.is_empty()) } else { 2 };
        let entries: usize = list.iter().map(|(name, _)| name.entries()).sum();
        nodes[node_at].length = (own + entries) as u64 * ENTRY;
        nodes[node_at].content = Content::Dir(list);
    }
    Ok(nodes)
}

fn node<'v>(view: &'v View<'v>, item: usize, parent: usize) -> Result<Node<'v>, Error> {
    let item = &view.items[item];
    let unfit = |why: &str| Err(Error::unfit(item.path(), "FAT", why));
    let (content, length) = match &item.entry.kind {
        Kind::Dir => (Content::Dir(Vec::new()), 0),
        Kind::File(body) if body.size > u64::from(u32::MAX) => return unfit("a file there is shorter than 4 GiB"),
        Kind::File(body) => (Content::File(body), body.size),
        Kind::Symlink(_) => return unfit("it is a symbolic link"),
        Kind::Hardlink(_) | Kind::Fifo | Kind::Socket => return unfit("it is neither a file nor a directory"),
        Kind::Char { .. } | Kind::Block { .. } => return unfit("it is a device"),
    };
    Ok(Node { content, time: item.entry.mtime, parent, length })
}

/// The runs of clusters of all nodes.
struct Chains {
    /// First cluster and number of clusters, by node.
    of: Vec<(u32, u32)>,
    /// The first cluster that is free, and all after it.
    next: u32,
}

impl Chains {
    /// Long files first and young ones last, so that a small change moves little.
    fn new(nodes: &[Node<'_>], shape: &Geometry, epoch: i64) -> Self {
        let mut order: Vec<usize> = (0..nodes.len()).collect();
        order.sort_by_key(|at| (*at > 0, nodes[*at].time >= epoch, Reverse(nodes[*at].length), *at));
        let mut chains = Self { of: vec![(0, 0); nodes.len()], next: 2 };
        for at in order {
            let node = &nodes[at];
            let clusters = node.length.div_ceil(shape.cluster) as u32;
            let clusters = match (&node.content, at) {
                (Content::Dir(_), 0) if !shape.wide => 0,
                (Content::Dir(_), _) => clusters.max(1),
                (Content::File(_), _) => clusters,
            };
            if clusters > 0 {
                chains.of[at] = (chains.next, clusters);
                chains.next += clusters;
            }
        }
        chains
    }

    /// Returns the table, up to the last cluster in use.
    fn table(&self, shape: &Geometry) -> Vec<u8> {
        const END: u32 = 0x0fff_ffff;
        let mut links = vec![END; self.next as usize];
        links[0] = 0x0fff_fff8;
        for (first, clusters) in self.of.iter().filter(|(_, clusters)| *clusters > 0) {
            (*first..first + clusters - 1).for_each(|at| links[at as usize] = at + 1);
        }
        if shape.wide {
            return links.iter().flat_map(|link| link.to_le_bytes()).collect();
        }
        links.iter().flat_map(|link| (*link as u16).to_le_bytes()).collect()
    }
}

struct Writer<'w> {
    nodes: &'w [Node<'w>],
    chains: &'w Chains,
    shape: &'w Geometry,
    options: &'w Options,
    label: &'w [u8; 11],
}

impl Writer<'_> {
    fn content(&self, image: &mut Extents) {
        for (at, node) in self.nodes.iter().enumerate() {
            let first = self.chains.of[at].0;
            let offset = if first == 0 { self.shape.root_offset() } else { self.shape.offset(first) };
            match &node.content {
                Content::Dir(names) => image.bytes(offset, self.directory(at, names)),
                Content::File(body) => body::Content::new(body).put(image, offset, 0, body.size),
            }
        }
    }

    fn directory(&self, at: usize, names: &[(Name, usize)]) -> Vec<u8> {
        let mut bytes = match (at, self.options.label.is_empty()) {
            (0, true) => Vec::new(),
            (0, false) => dir::label(self.label, self.options.epoch),
            _ => dir::dots(self.target(at), self.target(self.nodes[at].parent)),
        };
        names.iter().for_each(|(name, child)| bytes.extend(dir::entry(name, self.target(*child))));
        bytes
    }

    fn target(&self, at: usize) -> Target {
        let node = &self.nodes[at];
        let cluster = if at == 0 { 0 } else { self.chains.of[at].0 };
        match node.content {
            Content::Dir(_) => Target { attribute: dir::DIRECTORY, cluster, size: 0, time: node.time },
            Content::File(_) => Target { attribute: dir::FILE, cluster, size: node.length as u32, time: node.time },
        }
    }
}
