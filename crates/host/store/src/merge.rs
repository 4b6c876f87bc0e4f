//! Layers become the tree that an overlay of them shows.

use std::cmp::Ordering;
use std::collections::HashMap;

use kiln_model::tree::{Body, Place};
use kiln_model::{Entry, GuestPath, Kind, Tree};

use crate::manifest::kind;
use crate::{Item, Manifest, Mark};

/// A name that shows: the layer it is in, and what it is there.
type Shown<'a> = (usize, &'a Item);

/// Returns the tree that `layers` show together, the lowest first: whiteouts and opaque directories applied, further
/// names of one file as hard links to the name that sorts first. Every file's place is in its layer.
///
/// Overlayfs copies a file up under one of its names only, so two names are one file here when they are in one layer.
pub fn merge(layers: &[&Manifest]) -> Tree {
    let mut shown: Vec<Shown> = Vec::new();
    for (at, layer) in layers.iter().enumerate() {
        shown = cover(shown, at, &layer.items);
    }
    Tree { entries: entries(layers, &shown) }
}

/// Lays the items of one layer over what shows so far; both are sorted, and a folder's content follows it at once.
fn cover<'a>(below: Vec<Shown<'a>>, layer: usize, above: &'a [Item]) -> Vec<Shown<'a>> {
    let mut out = Vec::with_capacity(below.len() + above.len());
    let mut below = below.into_iter().peekable();
    let mut above = above.iter().peekable();
    // The last name above that hides what is below it: everything under it is skipped.
    let mut hidden: Option<&GuestPath> = None;
    loop {
        while below.next_if(|(_, item)| hidden.is_some_and(|path| item.path.is_under(path))).is_some() {}
        let order = match (below.peek(), above.peek()) {
            (None, None) => return out,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((_, low)), Some(high)) => in_tree(&low.path, &high.path),
        };
        if order == Ordering::Less {
            out.extend(below.next());
            continue;
        }
        let covered = if order == Ordering::Equal { below.next() } else { None };
        let Some(item) = above.next() else { return out };
        if !(item.is_dir() && item.mark == Mark::Plain && covered.is_none_or(|(_, low)| low.is_dir())) {
            hidden = Some(&item.path);
        }
        if item.mark != Mark::Whiteout {
            out.push((layer, item));
        }
    }
}

/// Compares as [`kiln_model::tree::by_parts`] does, without splitting: a slash sorts before every other byte.
fn in_tree(a: &GuestPath, b: &GuestPath) -> Ordering {
    let (a, b) = (a.relative(), b.relative());
    let rank = |byte: u8| if byte == b'/' { 0 } else { byte };
    match a.iter().zip(b).find(|(a, b)| a != b) {
        Some((&a, &b)) => rank(a).cmp(&rank(b)),
        None => a.len().cmp(&b.len()),
    }
}

fn entries(layers: &[&Manifest], shown: &[Shown]) -> Vec<Entry> {
    let mut first: HashMap<(usize, u64), &GuestPath> = HashMap::new();
    let mut entries = Vec::with_capacity(shown.len());
    for (layer, item) in shown {
        let linked = !item.is_dir() && item.links > 1;
        let earlier = if linked { first.get(&(*layer, item.print.inode)).copied() } else { None };
        if linked && earlier.is_none() {
            first.insert((*layer, item.print.inode), &item.path);
        }
        entries.push(entry(layers[*layer], item, earlier));
    }
    entries
}

fn entry(layer: &Manifest, item: &Item, earlier: Option<&GuestPath>) -> Entry {
    let (major, minor) = item.device;
    let kind = match (earlier, item.kind()) {
        (Some(first), _) => Kind::Hardlink(first.clone()),
        (None, kind::DIR) => Kind::Dir,
        (None, kind::SYMLINK) => Kind::Symlink(item.target.clone()),
        (None, kind::FIFO) => Kind::Fifo,
        (None, kind::SOCKET) => Kind::Socket,
        (None, kind::CHAR) => Kind::Char { major, minor },
        (None, kind::BLOCK) => Kind::Block { major, minor },
        (None, _) => Kind::File(body(layer, item)),
    };
    let (path, xattrs) = (item.path.clone(), item.xattrs.clone());
    Entry { path, mode: item.mode & 0o7777, uid: item.uid, gid: item.gid, mtime: item.print.mtime.0, xattrs, kind }
}

fn body(layer: &Manifest, item: &Item) -> Body {
    let place = Place::Host(item.path.under(&layer.root));
    Body { size: item.print.size, digest: None, token: Some(token(layer, item)), place }
}

/// Names a content: the inode of a layer as it was left at that instant.
fn token(layer: &Manifest, item: &Item) -> String {
    use std::fmt::Write as _;
    let stage = layer.stage.0.as_bytes();
    let mut text = String::with_capacity(64);
    let stage = u64::from_be_bytes(stage[..8].try_into().expect("eight of 32 bytes"));
    let (seconds, nanos) = item.print.ctime;
    write!(text, "{stage:016x}:{}:{seconds}.{nanos:09}:{}", item.print.inode, item.print.size)
        .expect("writing to a string does not fail");
    text
}
