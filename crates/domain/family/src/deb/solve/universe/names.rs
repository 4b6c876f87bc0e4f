//! Names as small numbers.

use std::hash::BuildHasher as _;

use hashbrown::HashTable;

use super::Source;
use crate::deb::packages::Span;

/// The names of packages, real and virtual; each is a text that lies in some index.
#[derive(Default)]
pub(super) struct Names {
    table: HashTable<u32>,
    places: Vec<(u16, Span)>,
    hasher: foldhash::fast::FixedState,
}

impl Names {
    pub(super) fn with_capacity(count: usize) -> Self {
        Self { table: HashTable::with_capacity(count), places: Vec::with_capacity(count), ..Self::default() }
    }

    pub(super) fn text<'a>(&self, sources: &'a [Source], name: u32) -> &'a str {
        let (source, span) = self.places[name as usize];
        sources[source as usize].index.slice(span)
    }

    pub(super) fn find(&self, sources: &[Source], text: &str) -> Option<u32> {
        self.table.find(self.hasher.hash_one(text), |&name| self.text(sources, name) == text).copied()
    }

    pub(super) fn intern(&mut self, sources: &[Source], source: u16, span: Span) -> u32 {
        let text = sources[source as usize].index.slice(span);
        if let Some(name) = self.find(sources, text) {
            return name;
        }
        let name = self.places.len() as u32;
        self.places.push((source, span));
        let (hasher, places) = (&self.hasher, &self.places);
        let rehash = |&name: &u32| {
            let (source, span) = places[name as usize];
            hasher.hash_one(sources[source as usize].index.slice(span))
        };
        self.table.insert_unique(hasher.hash_one(text), name, rehash);
        name
    }
}
