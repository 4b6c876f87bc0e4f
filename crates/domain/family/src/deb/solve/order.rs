//! The order in which apt's cache comes to know packages.
//!
//! When nothing else tells two providers apart, apt takes the one whose name it met last while reading the lists: as a package
//! of its own, or in a relation of one read before it. The order is found here only for the few names it is asked for.

use std::cell::RefCell;
use std::collections::HashMap;

use memchr::memmem;

use super::universe::{Node, Universe};
use crate::deb::packages::Index;

/// Where a name is first met: source, stanza, field, position in the field.
pub(super) type Rank = (usize, usize, usize, usize);

/// Relation fields in the order in which apt reads a stanza.
const FIELDS: [&str; 10] = [
    "Package",
    "Pre-Depends",
    "Depends",
    "Conflicts",
    "Breaks",
    "Recommends",
    "Suggests",
    "Replaces",
    "Enhances",
    "Provides",
];

/// Ranks that were asked for.
#[derive(Default)]
pub(super) struct Order(RefCell<HashMap<Node, Rank>>);

impl Order {
    /// Returns a node's rank; later met is greater.
    pub(super) fn rank(&self, universe: &Universe, node: Node) -> Rank {
        if let Some(&rank) = self.0.borrow().get(&node) {
            return rank;
        }
        let rank = find(universe, node);
        self.0.borrow_mut().insert(node, rank);
        rank
    }
}

/// Returns a rank that a node's own cannot exceed: that of its first stanza.
pub(super) fn latest(universe: &Universe, node: Node) -> Rank {
    let places = universe.versions_at(node).flat_map(|version| universe.places(version));
    places.map(|(source, stanza)| (source, stanza, 0, 0)).min().unwrap_or((usize::MAX, 0, 0, 0))
}

fn find(universe: &Universe, node: Node) -> Rank {
    let (name, slot) = (universe.node_name(node), universe.slot(node));
    let arch = universe.architectures()[slot].debian();
    let of_arch = |stanza_arch: &str| stanza_arch == arch || slot == 0 && stanza_arch == "all";
    for (at, source) in universe.sources().iter().enumerate() {
        if let Some((stanza, field, position)) = first_in(&source.index, name, of_arch) {
            return (at, stanza, field, position);
        }
    }
    (usize::MAX, 0, 0, 0)
}

/// Returns the first stanza of a list that names `name`, and where.
fn first_in(index: &Index, name: &str, of_arch: impl Fn(&str) -> bool) -> Option<(usize, usize, usize)> {
    let text = index.text();
    let mut after = 0;
    for at in memmem::find_iter(text.as_bytes(), name) {
        if at < after || !is_whole(text, at, name.len()) {
            continue;
        }
        let stanza = index.heads().partition_point(|head| head.stanza.start() <= at).checked_sub(1)?;
        let head = &index.heads()[stanza];
        after = head.stanza.range().end;
        if of_arch(index.slice(head.architecture))
            && let Some((field, position)) = in_stanza(index, stanza, name)
        {
            return Some((stanza, field, position));
        }
    }
    None
}

/// Returns the first relation field of a stanza that names `name`, and where in it.
fn in_stanza(index: &Index, stanza: usize, name: &str) -> Option<(usize, usize)> {
    let stanza = index.stanza(stanza);
    FIELDS.iter().enumerate().find_map(|(rank, field)| {
        let value = stanza.get(field)?;
        let position = memmem::find_iter(value.as_bytes(), name).find(|&at| is_whole(value, at, name.len()))?;
        Some((rank, position))
    })
}

/// Whether a hit is a package name: not part of a longer one, not a version, not `name:any`.
fn is_whole(text: &str, at: usize, len: usize) -> bool {
    let in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let before = text[..at].bytes().next_back();
    let after = &text.as_bytes()[at + len..];
    let starts = before.is_none_or(|byte| !in_name(byte) && !b"(=:/_~".contains(&byte));
    let ends = after.first().is_none_or(|&byte| !in_name(byte) && byte != b'/' && byte != b'_');
    starts && ends && !after.starts_with(b":any")
}
