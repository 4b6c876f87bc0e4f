//! The version of each package that would be installed: by priority, then by version, never backwards.

use std::collections::HashSet;

use super::universe::{Node, Universe, VersionId};
use super::{Pin, depends};
use crate::deb::pin;

/// What bends the choice.
pub(super) struct Wishes<'a> {
    pub exclude: HashSet<&'a str>,
    pub prefer: &'a [Pin],
}

/// Returns a node's candidate.
pub(super) fn choose(
    universe: &Universe,
    node: Node,
    current: Option<VersionId>,
    wishes: &Wishes<'_>,
) -> Option<VersionId> {
    if wishes.exclude.contains(universe.node_name(node)) {
        return current;
    }
    preferred(universe, node, wishes).or_else(|| by_priority(universe, node, current))
}

fn preferred(universe: &Universe, node: Node, wishes: &Wishes<'_>) -> Option<VersionId> {
    let name = universe.node_name(node);
    let pins = wishes.prefer.iter().filter(|pin| pin.name == name);
    pins.filter_map(|pin| {
        universe.versions_at(node).find(|&version| {
            universe.version(version) == pin.version && universe.stanza(version).architecture() == pin.architecture
        })
    })
    .next()
}

fn by_priority(universe: &Universe, node: Node, current: Option<VersionId>) -> Option<VersionId> {
    let mut best: Option<(i32, VersionId)> = None;
    for version in universe.versions_at(node) {
        let listed = universe.repositories(version).map(|source| source.repository.priority).max();
        let installed = (current == Some(version)).then_some(pin::INSTALLED);
        let priority = listed.max(installed).unwrap_or(pin::NOT_AUTOMATIC);
        let backwards = current.is_some_and(|current| depends::is_older(universe, version, current));
        if priority < 0 || backwards && priority < 1000 || best.is_some_and(|(known, _)| priority <= known) {
            continue;
        }
        best = Some((priority, version));
    }
    best.map(|(_, version)| version)
}
