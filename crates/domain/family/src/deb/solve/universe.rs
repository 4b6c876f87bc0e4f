//! Every package of every repository, found by name and architecture.

use std::cmp::Ordering;
use std::hash::BuildHasher as _;

use hashbrown::HashTable;
use kiln_model::Arch;

use super::{Chosen, Why};
use crate::deb::lock::Locked;
use crate::deb::packages::{self, Head, Index, MultiArch, Span, Stanza};
use crate::deb::relation::{self, Op};
use crate::deb::version;

/// A repository's list for one component and architecture.
#[derive(Clone)]
pub struct Source {
    pub repository: Repository,
    pub index: Index,
}

/// What of a repository decides which of its packages are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repository {
    /// The name in the lock; `local` for files the recipe brings.
    pub name: String,
    /// As in `stable`; what `pkg/stable` asks for.
    pub suite: String,
    /// As in `trixie`.
    pub codename: String,
    /// See [`crate::deb::pin`].
    pub priority: i32,
}

/// One version of one package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionId(pub(super) u32);

/// A package: a name on an architecture. The last slot of a name stands for `name:any`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Node(pub(super) u32);

/// Every repository's packages.
pub struct Universe {
    architectures: Vec<Arch>,
    sources: Vec<Source>,
    names: Names,
    versions: Vec<Version>,
    /// For each node, its newest version.
    newest: Vec<Option<VersionId>>,
    provides: Vec<Provide>,
    /// For each node, the last of `provides` that provides it.
    provided: Vec<Option<u32>>,
}

#[derive(Clone, Debug)]
pub(super) struct Version {
    /// Source and position in its index; the first is where the package is taken from.
    places: Vec<Place>,
    pub(super) node: Node,
    /// The next older version of the node.
    older: Option<VersionId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    source: u16,
    head: u32,
}

/// That a version stands in for a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Provide {
    pub(super) version: VersionId,
    /// At which version; where the provider gives none, no versioned relation is met.
    at: Option<Span>,
    /// Follows from `Multi-Arch` rather than from the `Provides` field.
    pub(super) implicit: bool,
    next: Option<u32>,
}

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
            names: Names::with_capacity(count + count / 2),
            versions: Vec::with_capacity(count),
            newest: Vec::with_capacity(nodes),
            provides: Vec::with_capacity(count),
            provided: Vec::with_capacity(nodes),
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

    /// Returns the architecture that is not foreign.
    pub fn native(&self) -> Arch {
        self.architectures[0]
    }

    /// Returns the stanza of a version.
    pub fn stanza(&self, version: VersionId) -> Stanza<'_> {
        let place = self.versions[version.0 as usize].places[0];
        self.sources[place.source as usize].index.stanza(place.head as usize)
    }

    /// Returns the repository a version is taken from.
    pub fn repository(&self, version: VersionId) -> &Repository {
        &self.repositories(version).next().expect("a version lies somewhere").repository
    }

    /// Returns the package name of a version.
    pub fn name(&self, version: VersionId) -> &str {
        self.text(self.place(version), self.head(version).name)
    }

    /// Returns a version's version number.
    pub fn version(&self, version: VersionId) -> &str {
        self.text(self.place(version), self.head(version).version)
    }

    /// Returns the versions of a package on an architecture (`all` counts as native), newest first.
    pub fn versions_of(&self, name: &str, arch: Arch) -> Vec<VersionId> {
        self.node(name, arch).map(|node| self.versions_at(node).collect()).unwrap_or_default()
    }

    /// Returns a package as a lock names it.
    pub fn locked(&self, chosen: &Chosen) -> Result<Locked, packages::Error> {
        let stanza = self.stanza(chosen.version);
        let (source, source_version) = stanza.source();
        Ok(Locked {
            name: stanza.name().to_owned(),
            version: stanza.version().to_owned(),
            architecture: stanza.architecture().to_owned(),
            repository: self.repository(chosen.version).name.clone(),
            filename: stanza.filename()?.to_owned(),
            size: stanza.size()?,
            sha256: stanza.sha256()?,
            base: chosen.base,
            essential: stanza.is_essential(),
            manual: matches!(chosen.why, Why::Base(_) | Why::Asked(_)),
            why: self.why(&chosen.why),
            source: (source != stanza.name()).then(|| source.to_owned()),
            source_version: (source_version != stanza.version()).then(|| source_version.to_owned()),
        })
    }

    /// Returns a reason in words.
    pub fn why(&self, why: &Why) -> String {
        match why {
            Why::Base(set) => format!("base: {set}"),
            Why::Asked(word) if word.is_empty() => "recipe".to_owned(),
            Why::Asked(word) => format!("recipe: {word}"),
            Why::Installed => "installed".to_owned(),
            Why::Needed { by, field: "Recommends" } => format!("recommended by {}", self.show(*by)),
            Why::Needed { by, .. } => format!("needed by {}", self.show(*by)),
        }
    }

    /// Returns a version's name, with the architecture where it is foreign.
    pub fn show(&self, version: VersionId) -> String {
        self.show_node(self.versions[version.0 as usize].node)
    }
}

/// What the solver looks at.
impl Universe {
    pub(super) fn show_node(&self, node: Node) -> String {
        let name = self.node_name(node);
        match self.slot(node) {
            0 => name.to_owned(),
            slot => format!("{name}:{}", self.architectures.get(slot).map_or("any", |arch| arch.debian())),
        }
    }

    pub(super) fn node_count(&self) -> usize {
        self.newest.len()
    }

    pub(super) fn version_count(&self) -> usize {
        self.versions.len()
    }

    pub(super) fn architectures(&self) -> &[Arch] {
        &self.architectures
    }

    pub(super) fn all_versions(&self) -> impl Iterator<Item = VersionId> {
        (0..self.versions.len() as u32).map(VersionId)
    }

    pub(super) fn node_of(&self, version: VersionId) -> Node {
        self.versions[version.0 as usize].node
    }

    /// Returns a node's versions, newest first.
    pub(super) fn versions_at(&self, node: Node) -> impl Iterator<Item = VersionId> {
        std::iter::successors(self.newest[node.0 as usize], |version| self.versions[version.0 as usize].older)
    }

    pub(super) fn provides_at(&self, node: Node) -> impl Iterator<Item = &Provide> {
        let first = self.provided[node.0 as usize].map(|at| &self.provides[at as usize]);
        std::iter::successors(first, |provide| provide.next.map(|at| &self.provides[at as usize]))
    }

    /// Returns the version number at which a provider stands in.
    pub(super) fn provided_version(&self, provide: &Provide) -> Option<&str> {
        provide.at.map(|span| self.text(self.place(provide.version), span))
    }

    pub(super) fn head(&self, version: VersionId) -> &Head {
        let place = self.place(version);
        &self.sources[place.source as usize].index.heads()[place.head as usize]
    }

    /// Returns every source a version lies in.
    pub(super) fn repositories(&self, version: VersionId) -> impl Iterator<Item = &Source> {
        self.versions[version.0 as usize].places.iter().map(|place| &self.sources[place.source as usize])
    }

    /// Returns where a version lies: source and stanza.
    pub(super) fn places(&self, version: VersionId) -> impl Iterator<Item = (usize, usize)> {
        self.versions[version.0 as usize].places.iter().map(|place| (place.source as usize, place.head as usize))
    }

    /// Whether two nodes are one name on different architectures, or the same.
    pub(super) fn same_name(&self, a: Node, b: Node) -> bool {
        a.0 / self.slots() == b.0 / self.slots()
    }

    pub(super) fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Returns the node of a name on an architecture, if anything is called so.
    pub(super) fn node(&self, name: &str, arch: Arch) -> Option<Node> {
        let slot = self.architectures.iter().position(|&known| known == arch)?;
        self.node_in_slot(name, slot)
    }

    /// Returns the node of `name:any`.
    pub(super) fn node_any(&self, name: &str) -> Option<Node> {
        self.node_in_slot(name, self.architectures.len())
    }

    pub(super) fn node_in_slot(&self, name: &str, slot: usize) -> Option<Node> {
        let name = self.names.find(&self.sources, name)?;
        Some(Node(name * self.slots() + slot as u32))
    }

    /// Returns the nodes of the same name on the real architectures.
    pub(super) fn siblings(&self, node: Node) -> impl Iterator<Item = Node> {
        let first = node.0 - self.slot(node) as u32;
        (0..self.architectures.len() as u32).map(move |slot| Node(first + slot))
    }

    /// Returns a node's place among the architectures: 0 is native.
    pub(super) fn slot(&self, node: Node) -> usize {
        (node.0 % self.slots()) as usize
    }

    pub(super) fn node_name(&self, node: Node) -> &str {
        self.names.text(&self.sources, node.0 / self.slots())
    }

    /// Returns every name that has a version on some architecture.
    pub(super) fn package_names(&self) -> impl Iterator<Item = &str> {
        let slots = self.slots() as usize;
        self.newest
            .chunks(slots)
            .enumerate()
            .filter(|(_, chunk)| chunk.iter().any(Option::is_some))
            .map(|(name, _)| self.names.text(&self.sources, name as u32))
    }
}

/// How it is built.
impl Universe {
    fn slots(&self) -> u32 {
        self.architectures.len() as u32 + 1
    }

    fn place(&self, version: VersionId) -> Place {
        self.versions[version.0 as usize].places[0]
    }

    fn text(&self, place: Place, span: Span) -> &str {
        self.sources[place.source as usize].index.slice(span)
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

/// The names of packages, real and virtual; each is a text that lies in some index.
#[derive(Default)]
struct Names {
    table: HashTable<u32>,
    places: Vec<(u16, Span)>,
    hasher: foldhash::fast::FixedState,
}

impl Names {
    fn with_capacity(count: usize) -> Self {
        Self { table: HashTable::with_capacity(count), places: Vec::with_capacity(count), ..Self::default() }
    }

    fn text<'a>(&self, sources: &'a [Source], name: u32) -> &'a str {
        let (source, span) = self.places[name as usize];
        sources[source as usize].index.slice(span)
    }

    fn find(&self, sources: &[Source], text: &str) -> Option<u32> {
        self.table.find(self.hasher.hash_one(text), |&name| self.text(sources, name) == text).copied()
    }

    fn intern(&mut self, sources: &[Source], source: u16, span: Span) -> u32 {
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
