//! Putting lists together: versions in order, names to nodes, and who provides what.

use std::cmp::Ordering;
use std::sync::OnceLock;

use kiln_model::Arch;

use super::names::Names;
use super::{Node, Place, Provide, Source, Universe, Version, VersionId};
use crate::deb::packages::{Head, MultiArch, Span};
use crate::deb::relation::{self, Op};
use crate::deb::version;

impl Universe {
    /// Puts the lists together, which come in the order of the recipe's repositories; of equal versions the first is taken.
    pub fn new(native: Arch, foreign: &[Arch], sources: Vec<Source>) -> Self {
        let mut architectures = vec![native];
        architectures.extend(foreign.iter().copied().filter(|&arch| arch != native));
        let count: usize = sources.iter().map(|source| source.index.len()).sum();
        let nodes = (count + count / 2) * (architectures.len() + 1);
        let mut universe = Self {
            architectures,
            sources,
            // Names that are only provided are several times as many as packages.
            names: Names::with_capacity(4 * count),
            versions: Vec::with_capacity(count),
            newest: Vec::with_capacity(nodes),
            provides: Vec::with_capacity(count),
            provided: Vec::with_capacity(nodes),
            spellings: OnceLock::new(),
            tasks: OnceLock::new(),
        };
        for source in 0..universe.sources.len() {
            for head in 0..universe.sources[source].index.len() {
                universe.add(Place { source: source as u16, head: head as u32 });
            }
        }
        for version in 0..universe.versions.len() {
            universe.add_provides(VersionId(version as u32));
        }
        universe
    }

    /// Returns a name's first node, making room where the name is new.
    fn intern(&mut self, source: u16, span: Span) -> u32 {
        let name = self.names.intern(&self.sources, source, span);
        let wanted = (name + 1) as usize * self.slots() as usize;
        if self.newest.len() < wanted {
            self.newest.resize(wanted, None);
            self.provided.resize(wanted, None);
        }
        name * self.slots()
    }

    fn add(&mut self, place: Place) {
        let index = &self.sources[place.source as usize].index;
        let head = index.heads()[place.head as usize];
        let arch = index.slice(head.architecture);
        let slot =
            if arch == "all" { Some(0) } else { self.architectures.iter().position(|known| known.debian() == arch) };
        let Some(slot) = slot else { return };
        let node = Node(self.intern(place.source, head.name) + slot as u32);
        let (mut before, mut at) = (None, self.newest[node.0 as usize]);
        while let Some(other) = at {
            match self.compare(place, head, other) {
                Ordering::Greater => break,
                Ordering::Equal if self.is_same(place, other) => {
                    self.versions[other.0 as usize].places.push(place);
                    return self.order_places(other);
                }
                _ => (before, at) = (at, self.versions[other.0 as usize].older),
            }
        }
        let version = VersionId(self.versions.len() as u32);
        self.versions.push(Version { places: vec![place], node, older: at });
        match before {
            None => self.newest[node.0 as usize] = Some(version),
            Some(before) => self.versions[before.0 as usize].older = Some(version),
        }
    }

    /// Puts the place with the highest priority first; of equals, the earlier.
    fn order_places(&mut self, version: VersionId) {
        let sources = &self.sources;
        let places = &mut self.versions[version.0 as usize].places;
        places.sort_by_key(|place| (-sources[place.source as usize].repository.priority, place.source));
    }

    fn compare(&self, place: Place, head: Head, other: VersionId) -> Ordering {
        let (new, old) = (self.text(place, head.version), self.version(other));
        version::Version::raw(new).cmp(&version::Version::raw(old))
    }

    /// Whether two stanzas of one version number are one build: rebuilds outside of the archive differ in what they relate to.
    fn is_same(&self, place: Place, other: VersionId) -> bool {
        let (new, old) = (self.sources[place.source as usize].index.stanza(place.head as usize), self.stanza(other));
        let same = |field| new.get(field) == old.get(field);
        let builds = ["Installed-Size", "Depends", "Pre-Depends", "Conflicts", "Breaks", "Replaces"];
        same("Version") && (new.get("SHA256").is_some() && same("SHA256") || builds.into_iter().all(same))
    }

    fn add_provides(&mut self, version: VersionId) {
        let (place, head) = (self.place(version), *self.head(version));
        let node = self.versions[version.0 as usize].node;
        let (first, slot) = (node.0 - self.slot(node) as u32, self.slot(node));
        let any = self.architectures.len();
        match head.multi_arch {
            MultiArch::Foreign => (0..any).filter(|&other| other != slot).for_each(|other| {
                self.add_provide(Node(first + other as u32), version, Some(head.version), true);
            }),
            MultiArch::Allowed => self.add_provide(Node(first + any as u32), version, Some(head.version), true),
            MultiArch::No | MultiArch::Same => {}
        }
        if head.provides.is_empty() {
            return;
        }
        let arch = self.architectures[slot].debian();
        let index = self.sources[place.source as usize].index.clone();
        let _ = relation::each(index.slice(head.provides), arch, |_, atom| {
            let at = match atom.version {
                Some((Op::Equal, wanted)) => Some(index.span_of(wanted)),
                Some(_) => return,
                None => None,
            };
            let first = self.intern(place.source, index.span_of(atom.name));
            let mut add = |slot: usize, implicit| self.add_provide(Node(first + slot as u32), version, at, implicit);
            match (atom.qualifier, head.multi_arch) {
                (Some("any"), _) => add(any, false),
                (Some(_), _) => add(slot, false),
                (None, MultiArch::Foreign) => (0..any).for_each(|slot| add(slot, false)),
                (None, MultiArch::Allowed) => {
                    add(any, true);
                    add(slot, false);
                }
                (None, _) => add(slot, false),
            }
        });
    }

    fn add_provide(&mut self, node: Node, version: VersionId, at: Option<Span>, implicit: bool) {
        let next = self.provided[node.0 as usize].replace(self.provides.len() as u32);
        self.provides.push(Provide { version, at, implicit, next });
    }
}
