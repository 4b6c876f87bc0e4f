//! Every package of every repository, found by name and architecture.

mod build;
mod names;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use kiln_model::Arch;
use names::Names;

use super::nearest::Spellings;
use super::{Chosen, Why};
use crate::deb::packages::{self, Head, Index, Span, Stanza};
use crate::lock::Locked;

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
    /// Made when the first unknown name is looked for.
    spellings: OnceLock<Spellings>,
    /// Made when the first task is looked for: each task's name and its packages.
    tasks: OnceLock<BTreeMap<String, Vec<VersionId>>>,
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
            installed: stanza.installed(),
            sha256: stanza.sha256()?,
            base: chosen.base,
            essential: stanza.is_essential(),
            manual: matches!(chosen.why, Why::Base(_) | Why::Asked(_)),
            in_tree: false,
            promoted: false,
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

    /// Returns the names that have a version, to look for one that is like another.
    pub(super) fn spellings(&self) -> &Spellings {
        self.spellings.get_or_init(|| Spellings::new(self.package_names()))
    }

    /// Returns every task with the versions that belong to it, in the order of their nodes.
    pub(super) fn tasks(&self) -> &BTreeMap<String, Vec<VersionId>> {
        self.tasks.get_or_init(|| {
            let mut tasks = BTreeMap::<String, Vec<VersionId>>::new();
            let nodes = (0..self.newest.len() as u32).map(Node);
            for version in nodes.flat_map(|node| self.versions_at(node)) {
                for task in self.stanza(version).tasks() {
                    match tasks.get_mut(task) {
                        Some(members) => members.push(version),
                        None => drop(tasks.insert(task.to_owned(), vec![version])),
                    }
                }
            }
            tasks
        })
    }

    fn slots(&self) -> u32 {
        self.architectures.len() as u32 + 1
    }

    fn place(&self, version: VersionId) -> Place {
        self.versions[version.0 as usize].places[0]
    }

    fn text(&self, place: Place, span: Span) -> &str {
        self.sources[place.source as usize].index.slice(span)
    }
}
