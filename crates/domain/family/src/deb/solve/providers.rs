//! Which packages can meet a relation, and which of them apt likes best.

use std::cmp::Ordering;

use super::depends::{self, Group, Target, Wanted};
use super::order::{self, Order, Rank};
use super::state::{Mode, States, When};
use super::universe::{Node, VersionId};
use crate::deb::packages::{Head, MultiArch};
use crate::deb::version::Version;

/// Returns the versions at a point of view that one alternative names.
pub(super) fn at(
    states: &States<'_>,
    parent: VersionId,
    group: &Group<'_>,
    wanted: &Wanted<'_>,
    when: When,
) -> Vec<VersionId> {
    let universe = states.universe;
    let mut found = Vec::new();
    if when == When::Candidate && !states.hits(parent, group, wanted, When::Rumoured) {
        return found;
    }
    let (Target::Node(node) | Target::Exact(node)) = wanted.target else { return found };
    if let Some(version) = states.get(node).at(when)
        && !depends::ignores_real(universe, parent, group, node)
        && wanted.accepts_real(universe, version)
    {
        found.push(version);
    }
    for provide in universe.provides_at(node) {
        if states.get(universe.node_of(provide.version)).at(when) == Some(provide.version)
            && depends::counts_here(universe, wanted.target, provide)
            && !depends::ignores_provide(universe, parent, group, provide)
            && wanted.accepts_provide(universe, provide)
            && !found.contains(&provide.version)
        {
            found.push(provide.version);
        }
    }
    found
}

/// A version that could be chosen; those of one class are tied but for the order of the lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Solution {
    pub version: VersionId,
    pub class: u32,
}

/// Sorts versions that one alternative names, the preferred first; classes count up from `class`.
pub(super) fn sorted(states: &States<'_>, wanted: &Wanted<'_>, mut found: Vec<VersionId>, class: u32) -> Vec<Solution> {
    if found.len() > 1 {
        found.sort_by(|&a, &b| compare(states, wanted, a, b));
    }
    let mut solutions: Vec<Solution> = Vec::with_capacity(found.len());
    for version in found {
        let class = match solutions.last() {
            None => class,
            Some(last) if compare(states, wanted, last.version, version).is_eq() => last.class,
            Some(last) => last.class + 1,
        };
        solutions.push(Solution { version, class });
    }
    solutions
}

/// Takes the best version out of a sorted list.
///
/// Of tied ones it is what the lists name last. A package is named by its own stanza at the latest, so that most
/// need not be searched for.
pub(super) fn take_best(states: &States<'_>, order: &Order, solutions: &mut Vec<Solution>) -> Option<VersionId> {
    let first = solutions.first()?;
    let tied = solutions.iter().take_while(|one| one.class == first.class).count();
    if tied == 1 {
        return Some(solutions.remove(0).version);
    }
    let universe = states.universe;
    let mut by_bound: Vec<(Rank, usize)> =
        (0..tied).map(|at| (order::latest(universe, universe.node_of(solutions[at].version)), at)).collect();
    by_bound.sort_unstable_by(|a, b| b.cmp(a));
    let mut best: Option<(Rank, usize)> = None;
    for (bound, at) in by_bound {
        if best.is_some_and(|(known, _)| known >= bound) {
            break;
        }
        let rank = order.rank(universe, universe.node_of(solutions[at].version));
        if best.is_none_or(|(known, _)| rank > known) {
            best = Some((rank, at));
        }
    }
    best.map(|(_, at)| solutions.remove(at).version)
}

/// apt's preferences in turn: protected; a foreign sibling installed; installed; of the name asked for; essential;
/// native; of higher priority.
fn compare(states: &States<'_>, wanted: &Wanted<'_>, a: VersionId, b: VersionId) -> Ordering {
    let universe = states.universe;
    let (node_a, node_b) = (universe.node_of(a), universe.node_of(b));
    let (head_a, head_b) = (universe.head(a), universe.head(b));
    let first = |test: &dyn Fn(Node, VersionId) -> bool| test(node_b, b).cmp(&test(node_a, a));
    let installed = |node: Node| states.get(node).current.is_some();
    let has_installed_sibling = |node: Node, version: VersionId| {
        universe.head(version).multi_arch == MultiArch::Same && universe.siblings(node).any(installed)
    };
    let flagged =
        |node: Node, flag: fn(&Head) -> bool| universe.versions_at(node).any(|version| flag(universe.head(version)));
    first(&|node, _| states.get(node).protected)
        .then_with(|| first(&has_installed_sibling))
        .then_with(|| first(&|node, _| installed(node)))
        .then_with(|| first(&|node, _| universe.node_name(node) == wanted.atom.name))
        .then_with(|| first(&|node, _| flagged(node, |head| head.essential)))
        .then_with(|| first(&|node, _| flagged(node, |head| head.protected)))
        .then_with(|| universe.slot(node_a).cmp(&universe.slot(node_b)))
        .then_with(|| head_a.priority.cmp(&head_b.priority))
}

/// Whether a `Multi-Arch: same` candidate has the version that its installed siblings will have.
pub(super) fn is_in_step(states: &States<'_>, node: Node, candidate: VersionId) -> bool {
    let universe = states.universe;
    let state = states.get(node);
    if state.mode == Mode::Install && state.install == state.candidate
        || state.current == Some(candidate)
        || universe.head(candidate).multi_arch != MultiArch::Same
    {
        return true;
    }
    universe.siblings(node).filter(|&sibling| sibling != node && states.get(sibling).current.is_some()).all(|sibling| {
        states.get(sibling).candidate.is_none_or(|other| {
            universe.head(other).multi_arch != MultiArch::Same
                || Version::raw(universe.version(other)) == Version::raw(universe.version(candidate))
        })
    })
}
