//! Trees: sorted items packed into leaves, and nodes that lead to them.

use uuid::Uuid;

use super::key::{GENERATION, Item, Key};
use crate::put::Put as _;

/// Bytes of a leaf or node.
pub(super) const NODE: u64 = 16384;
const HEADER: usize = 101;
const ITEM: usize = Key::LENGTH + 8;
const POINTER: usize = Key::LENGTH + 16;
/// Bytes for items and their data, or for pointers.
const ROOM: usize = NODE as usize - HEADER;
/// The longest data that an item may have.
pub(super) const LONGEST: usize = ROOM - ITEM;
/// That it is written, and that back references are of the only revision there is.
const FLAGS: u64 = 1 | 1 << 56;

/// A tree that has its shape: nodes lie one after the other, leaves first, the root last.
pub(super) struct Shape {
    /// The tree's number.
    pub owner: u64,
    items: Vec<Item>,
    /// For every level from the leaves up, how many items or nodes each node holds.
    levels: Vec<Vec<usize>>,
}

/// What all nodes of a filesystem say.
#[derive(Clone, Copy)]
pub(super) struct Identity {
    pub filesystem: Uuid,
    pub chunk_tree: Uuid,
}

impl Shape {
    /// Packs items, which are sorted here.
    pub fn new(owner: u64, mut items: Vec<Item>) -> Self {
        items.sort_by_key(|item| item.key);
        let mut levels = vec![leaves(&items)];
        while levels[levels.len() - 1].len() > 1 {
            let below = levels[levels.len() - 1].len();
            levels.push((0..below).step_by(ROOM / POINTER).map(|at| (below - at).min(ROOM / POINTER)).collect());
        }
        Self { owner, items, levels }
    }

    /// Returns how many nodes it has, leaves among them.
    pub fn nodes(&self) -> u64 {
        self.levels.iter().map(|level| level.len() as u64).sum()
    }

    /// Returns the level of the root.
    pub fn level(&self) -> u8 {
        (self.levels.len() - 1) as u8
    }

    /// Returns where the root is when the tree begins at `start`.
    pub fn root(&self, start: u64) -> u64 {
        start + (self.nodes() - 1) * NODE
    }

    /// Returns the level of every node, in their order.
    pub fn node_levels(&self) -> impl Iterator<Item = u8> {
        self.levels.iter().enumerate().flat_map(|(level, nodes)| nodes.iter().map(move |_| level as u8))
    }

    /// Returns the nodes of the tree that begins at the logical address `start`.
    pub fn render(&self, start: u64, identity: Identity) -> Vec<u8> {
        let mut bytes = vec![0; (self.nodes() * NODE) as usize];
        let mut chunks = bytes.chunks_mut(NODE as usize).enumerate();
        let mut first_keys = self.leaf_keys();
        let mut below = start;
        for (level, counts) in self.levels.iter().enumerate() {
            let (mut from, mut keys) = (0, vec![]);
            let first = below + if level == 0 { 0 } else { self.levels[level - 1].len() as u64 * NODE };
            for count in counts {
                let (number, node) = chunks.next().expect("as many as were counted");
                let address = start + number as u64 * NODE;
                header(node, address, self.owner, identity, *count, level as u8);
                if level == 0 {
                    put_items(node, &self.items[from..from + count]);
                } else {
                    put_pointers(node, &first_keys[from..from + count], below + from as u64 * NODE);
                    keys.push(first_keys[from]);
                }
                let sum = crc32c::crc32c(&node[32..]);
                node.le32(0, sum);
                from += count;
            }
            if level > 0 {
                first_keys = keys;
            }
            below = first;
        }
        bytes
    }

    fn leaf_keys(&self) -> Vec<Key> {
        let starts = self.levels[0].iter().scan(0, |at, count| {
            *at += count;
            Some(*at - count)
        });
        starts.filter_map(|at| Some(self.items.get(at)?.key)).collect()
    }
}

/// Returns how many items each leaf holds; a tree without items has one empty leaf.
fn leaves(items: &[Item]) -> Vec<usize> {
    let (mut leaves, mut used) = (vec![0], 0);
    for item in items {
        let needed = ITEM + item.data.len();
        if used + needed > ROOM {
            leaves.push(0);
            used = 0;
        }
        used += needed;
        *leaves.last_mut().expect("there is one") += 1;
    }
    leaves
}

fn header(node: &mut [u8], address: u64, owner: u64, identity: Identity, count: usize, level: u8) {
    node.put(32, identity.filesystem.as_bytes());
    node.le64(48, address);
    node.le64(56, FLAGS);
    node.put(64, identity.chunk_tree.as_bytes());
    node.le64(80, GENERATION);
    node.le64(88, owner);
    node.le32(96, count as u32);
    node.u8(100, level);
}

/// Heads of items from the front, their data from the back.
fn put_items(leaf: &mut [u8], items: &[Item]) {
    let mut end = ROOM;
    for (at, item) in items.iter().enumerate() {
        end -= item.data.len();
        let head = HEADER + at * ITEM;
        item.key.put(leaf, head);
        leaf.le32(head + Key::LENGTH, end as u32);
        leaf.le32(head + Key::LENGTH + 4, item.data.len() as u32);
        leaf.put(HEADER + end, &item.data);
    }
}

fn put_pointers(node: &mut [u8], keys: &[Key], first: u64) {
    for (at, key) in keys.iter().enumerate() {
        let head = HEADER + at * POINTER;
        key.put(node, head);
        node.le64(head + Key::LENGTH, first + at as u64 * NODE);
        node.le64(head + Key::LENGTH + 8, GENERATION);
    }
}
