//! Which blocks and inode numbers everything gets.
//!
//! The order is chosen for images that are made again after a small change: content is laid out by falling length, so
//! that a file that grows moves only what is shorter; and what the build itself wrote (entries as young as the image)
//! comes last, with its inodes in the groups where its content lies, so that the long front of the image stays as it was.

use std::cmp::Reverse;

use super::extent::{self, Run};
use super::geometry::{FIRST_INODE, GROUP, Geometry};
use super::thing::Thing;

/// Where everything is.
pub(super) struct Places {
    /// The block from which the inode that keeps room for growth leads on.
    pub resize: Option<u64>,
    pub journal: Place,
    /// By thing.
    pub things: Vec<Place>,
    /// Blocks of each group taken behind its tables.
    pub used: Vec<u64>,
}

/// Where one thing is.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    pub number: u32,
    pub runs: Vec<Run>,
    /// Blocks of the list of runs.
    pub nodes: Vec<u64>,
    /// Block of attributes, or 0.
    pub attributes: u64,
}

impl Place {
    /// Returns the number of blocks that belong to it.
    pub fn blocks(&self) -> u64 {
        let runs: u64 = self.runs.iter().map(|run| run.blocks).sum();
        runs + self.nodes.len() as u64 + u64::from(self.attributes > 0)
    }
}

/// Places `things`, the first of which is the root; `first` is the one that gets the first number for use.
pub(super) fn place(things: &[Thing<'_>], first: Option<usize>, geometry: &Geometry, epoch: i64) -> Places {
    let mut cursor = Cursor { geometry, group: 0, used: vec![0; geometry.groups as usize] };
    let young = |at: &usize| Some(*at) != first && things[*at].item.entry.mtime >= epoch;
    let mut order: Vec<usize> = (0..things.len()).collect();
    order.sort_by_key(|at| (young(at), Some(*at) != first, Reverse(things[*at].blocks), *at));

    let resize = geometry.features.resize.then(|| cursor.one());
    let journal = Place { number: super::JOURNAL, ..cursor.place(geometry.journal, false) };
    let mut places = vec![Place::default(); things.len()];
    let mut start_of_young = None;
    for at in order {
        if young(&at) {
            start_of_young.get_or_insert(cursor.group);
        }
        places[at] = cursor.place(things[at].blocks, things[at].attributes.needs_block());
    }
    number(&mut places, first, geometry, young, start_of_young.unwrap_or(0));
    Places { resize, journal, things: places, used: cursor.used }
}

fn number(places: &mut [Place], first: Option<usize>, geometry: &Geometry, young: impl Fn(&usize) -> bool, group: u64) {
    let mut order: Vec<usize> = (1..places.len()).collect();
    order.sort_by_key(|at| (young(at), Some(*at) != first, *at));
    let count = order.iter().filter(|at| young(at)).count() as u64;
    let mut next = u64::from(FIRST_INODE);
    let mut jumped = false;
    for at in order {
        if young(&at) && !jumped {
            let latest = geometry.inodes() + 1 - count;
            next = next.max((group * geometry.inodes_per_group + 1).min(latest));
            jumped = true;
        }
        places[at].number = next as u32;
        next += 1;
    }
    places[0].number = super::ROOT;
}

/// Hands out blocks, group after group.
struct Cursor<'g> {
    geometry: &'g Geometry,
    group: u64,
    used: Vec<u64>,
}

impl Cursor<'_> {
    fn place(&mut self, blocks: u64, attributes: bool) -> Place {
        let runs = self.take(blocks);
        let nodes = (0..extent::nodes(runs.len())).map(|_| self.one()).collect();
        Place { number: 0, runs, nodes, attributes: if attributes { self.one() } else { 0 } }
    }

    fn one(&mut self) -> u64 {
        self.take(1)[0].start
    }

    fn take(&mut self, mut blocks: u64) -> Vec<Run> {
        let mut runs = Vec::new();
        while blocks > 0 {
            let used = self.geometry.overhead(self.group) + self.used[self.group as usize];
            let got = blocks.min(self.geometry.len(self.group).saturating_sub(used));
            if got == 0 {
                self.group += 1;
                continue;
            }
            runs.push(Run { start: self.group * GROUP + used, blocks: got });
            self.used[self.group as usize] += got;
            blocks -= got;
        }
        runs
    }
}
