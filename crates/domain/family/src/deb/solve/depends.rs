//! What a version relates to, with names already looked up.

use super::universe::{Node, Provide, Universe, VersionId};
use crate::deb::packages::MultiArch;
use crate::deb::relation::{self, Atom};
use crate::deb::version::Version;

/// The fields that decide what is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    PreDepends,
    Depends,
    Conflicts,
    Breaks,
    Recommends,
    Suggests,
}

impl Kind {
    /// In the order in which apt reads them.
    const ALL: [Self; 6] =
        [Self::PreDepends, Self::Depends, Self::Conflicts, Self::Breaks, Self::Recommends, Self::Suggests];

    pub(super) const fn field(self) -> &'static str {
        match self {
            Self::PreDepends => "Pre-Depends",
            Self::Depends => "Depends",
            Self::Conflicts => "Conflicts",
            Self::Breaks => "Breaks",
            Self::Recommends => "Recommends",
            Self::Suggests => "Suggests",
        }
    }

    pub(super) const fn is_negative(self) -> bool {
        matches!(self, Self::Conflicts | Self::Breaks)
    }

    /// Whether a tree where it is not met is broken.
    pub(super) const fn is_critical(self) -> bool {
        !matches!(self, Self::Recommends | Self::Suggests)
    }
}

/// Alternatives of which one must hold; for a negative kind, the one thing that must not.
#[derive(Clone, Debug)]
pub(super) struct Group<'u> {
    pub kind: Kind,
    /// Follows from `Multi-Arch` rather than from a field.
    pub implicit: bool,
    pub any_of: Vec<Wanted<'u>>,
}

/// One alternative.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'u> {
    pub atom: Atom<'u>,
    pub target: Target,
    /// For implicit relations: every version but this one.
    pub not: Option<&'u str>,
}

/// The node that a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Nothing is called so.
    Missing,
    /// The package of this name and whatever provides it.
    Node(Node),
    /// `name:arch`: only what is of that architecture.
    Exact(Node),
}

impl Wanted<'_> {
    fn accepts(&self, version: &str) -> bool {
        match self.not {
            Some(not) => Version::raw(version) != Version::raw(not),
            None => self.atom.accepts(version),
        }
    }

    pub(super) fn accepts_real(&self, universe: &Universe, version: VersionId) -> bool {
        self.accepts(universe.version(version))
    }

    pub(super) fn accepts_provide(&self, universe: &Universe, provide: &Provide) -> bool {
        match universe.provided_version(provide) {
            Some(version) => self.accepts(version),
            None => self.atom.version.is_none() && self.not.is_none(),
        }
    }
}

/// Reads what a version relates to.
pub(super) fn read(universe: &Universe, version: VersionId) -> Vec<Group<'_>> {
    let (stanza, slot) = (universe.stanza(version), universe.slot(universe.node_of(version)));
    let arch = universe.architectures()[slot].debian();
    let mut groups = Vec::new();
    for kind in Kind::ALL {
        let Some(field) = stanza.get(kind.field()) else { continue };
        let mut tell = |first: bool, atom| {
            if kind.is_negative() {
                negative(universe, kind, slot, atom, &mut groups);
                return;
            }
            let wanted = Wanted { atom, target: target(universe, slot, atom), not: None };
            match groups.last_mut() {
                Some(Group { any_of, .. }) if !first => any_of.push(wanted),
                _ => groups.push(Group { kind, implicit: false, any_of: vec![wanted] }),
            }
        };
        if let Err(relation::NotARelation(_)) = relation::each(field, arch, &mut tell) {
            // What cannot be read can never be met.
            let atom = Atom { name: field, qualifier: None, version: None };
            groups.push(Group {
                kind: Kind::Depends,
                implicit: false,
                any_of: vec![Wanted { atom, target: Target::Missing, not: None }],
            });
        }
    }
    implicit(universe, version, &mut groups);
    groups
}

fn target(universe: &Universe, slot: usize, atom: Atom<'_>) -> Target {
    let exact = |slot| universe.node_in_slot(atom.name, slot).map(Target::Exact);
    let found = match atom.qualifier {
        None => universe.node_in_slot(atom.name, slot).map(Target::Node),
        Some("any") => universe.node_any(atom.name).map(Target::Node),
        Some("native") => exact(0),
        Some(arch) => universe.architectures().iter().position(|known| known.debian() == arch).and_then(exact),
    };
    found.unwrap_or(Target::Missing)
}

/// A conflict counts on every architecture unless it names one.
fn negative<'u>(universe: &'u Universe, kind: Kind, slot: usize, atom: Atom<'u>, groups: &mut Vec<Group<'u>>) {
    let mut push = |target| {
        if target != Target::Missing {
            groups.push(Group { kind, implicit: false, any_of: vec![Wanted { atom, target, not: None }] });
        }
    };
    match atom.qualifier {
        Some(_) => push(target(universe, slot, atom)),
        None => (0..universe.architectures().len())
            .for_each(|slot| push(universe.node_in_slot(atom.name, slot).map_or(Target::Missing, Target::Node))),
    }
}

/// Siblings of other architectures: of the same version with `Multi-Arch: same`, else none.
fn implicit<'u>(universe: &'u Universe, version: VersionId, groups: &mut Vec<Group<'u>>) {
    let node = universe.node_of(version);
    let same = universe.head(version).multi_arch == MultiArch::Same;
    for sibling in universe.siblings(node) {
        if sibling == node || universe.versions_at(sibling).next().is_none() {
            continue;
        }
        let atom = Atom { name: universe.node_name(node), qualifier: None, version: None };
        let not = same.then(|| universe.version(version));
        let kind = if same { Kind::Breaks } else { Kind::Conflicts };
        groups.push(Group { kind, implicit: true, any_of: vec![Wanted { atom, target: Target::Node(sibling), not }] });
    }
}

/// Whether a relation of `parent` does not count against a package: nobody conflicts with itself.
pub(super) fn ignores_real(universe: &Universe, parent: VersionId, group: &Group<'_>, node: Node) -> bool {
    let own = universe.node_of(parent);
    if !group.kind.is_negative() || !universe.same_name(own, node) {
        return false;
    }
    own == node || universe.head(parent).multi_arch == MultiArch::Same && !group.implicit
}

/// Whether a relation of `parent` does not count against a provider.
pub(super) fn ignores_provide(universe: &Universe, parent: VersionId, group: &Group<'_>, provide: &Provide) -> bool {
    let same_name = || universe.same_name(universe.node_of(provide.version), universe.node_of(parent));
    group.kind.is_negative() && (group.implicit || same_name())
}

/// Returns every version that an alternative could be met by, real ones first.
pub(super) fn possible(
    universe: &Universe,
    parent: VersionId,
    group: &Group<'_>,
    wanted: &Wanted<'_>,
) -> Vec<VersionId> {
    let mut found = Vec::new();
    let (Target::Node(node) | Target::Exact(node)) = wanted.target else { return found };
    if !ignores_real(universe, parent, group, node) {
        found.extend(universe.versions_at(node).filter(|&version| wanted.accepts_real(universe, version)));
    }
    let counts = |provide: &&Provide| {
        counts_here(universe, wanted.target, provide)
            && !ignores_provide(universe, parent, group, provide)
            && wanted.accepts_provide(universe, provide)
    };
    found.extend(universe.provides_at(node).filter(counts).map(|provide| provide.version));
    found
}

/// Whether a provider is of the architecture that `name:arch` asks for.
pub(super) fn counts_here(universe: &Universe, target: Target, provide: &Provide) -> bool {
    match target {
        Target::Exact(node) => {
            !provide.implicit && universe.slot(universe.node_of(provide.version)) == universe.slot(node)
        }
        _ => true,
    }
}

/// Whether a version is older than another.
pub(super) fn is_older(universe: &Universe, a: VersionId, b: VersionId) -> bool {
    Version::raw(universe.version(a)) < Version::raw(universe.version(b))
}

/// Shows a group as it is written.
pub(super) fn show(group: &Group<'_>) -> String {
    group.any_of.iter().map(|wanted| wanted.atom.to_string()).collect::<Vec<_>>().join(" | ")
}
