//! Why there is no answer, in plain words.

use super::depends::{self, Group, Target, Wanted};
use super::mark::Marker;
use super::state::{States, When};
use super::universe::{Node, VersionId};
use super::{Reason, Unsatisfiable, Why, candidate::Wishes};

/// Returns why a package that exists may not be installed.
pub(super) fn why_no_candidate(states: &States<'_>, node: Node) -> Option<String> {
    let name = states.universe.show_node(node);
    states
        .universe
        .versions_at(node)
        .next()
        .map(|_| format!("`{name}` is excluded, or its repository's priority is below zero"))
}

/// Explains what stays broken: each requested or installed package with the chain down to what cannot be met.
pub(super) fn broken(marker: &Marker<'_>, broken: &[Node], wishes: &Wishes<'_>) -> Unsatisfiable {
    let states = &marker.states;
    let (mut reasons, mut blamed) = (Vec::<String>::new(), Vec::new());
    for &node in broken.iter().filter(|&&node| states.get(node).protected).chain(broken) {
        let Some(version) = states.get(node).install else { continue };
        for group in states.relations(version).iter().filter(|group| group.kind.is_critical()) {
            if !states.holds(version, group, When::Install) {
                let reason = one(states, version, group, wishes, 0);
                if !reasons.contains(&reason) {
                    reasons.push(reason);
                    blamed.extend(group.any_of.iter().flat_map(|wanted| deep_names(states, version, group, wanted, 0)));
                }
            }
        }
    }
    reasons.truncate(6);
    let reasons = reasons.into_iter().map(|text| Reason::unmet(text, None)).collect();
    Unsatisfiable { reasons, blamed }
}

/// Returns the names of all that could have met an alternative, and of what those miss in turn.
fn deep_names(
    states: &States<'_>,
    version: VersionId,
    group: &Group<'_>,
    wanted: &Wanted<'_>,
    depth: usize,
) -> Vec<String> {
    let mut names = Vec::new();
    for way in depends::possible(states.universe, version, group, wanted) {
        names.push(states.universe.name(way).to_owned());
        let relations = states.relations(way);
        let unmet = relations.iter().filter(|group| {
            !group.kind.is_negative() && group.kind.is_critical() && !states.holds(way, group, When::Candidate)
        });
        if depth < DEEPEST && !names[..names.len() - 1].contains(&names[names.len() - 1]) {
            for group in unmet {
                names.extend(group.any_of.iter().flat_map(|wanted| deep_names(states, way, group, wanted, depth + 1)));
            }
        }
    }
    names
}

/// Deeper chains say no more.
const DEEPEST: usize = 8;

fn one(states: &States<'_>, version: VersionId, group: &Group<'_>, wishes: &Wishes<'_>, depth: usize) -> String {
    let who = if depth == 0 { with_origin(states, version) } else { format!("`{}`", states.universe.show(version)) };
    if group.kind.is_negative() {
        let hit = group.any_of.iter().find_map(|wanted| states.hit(version, group, wanted, When::Install));
        let other = hit.map_or_else(|| depends::show(group), |node| states.universe.show_node(node));
        return format!("{who} cannot be installed together with `{other}`");
    }
    let needs = format!("{who} needs `{}`", depends::show(group));
    let whys: Vec<String> =
        group.any_of.iter().map(|wanted| why_not(states, version, group, wanted, wishes, depth)).collect();
    format!("{needs}, but {}", whys.join(", and "))
}

/// Names a version and, if nobody asked for it, what did bring it in.
fn with_origin(states: &States<'_>, version: VersionId) -> String {
    let name = states.universe.show(version);
    let (mut origin, mut steps) = (version, 0);
    while let Some(Why::Needed { by, .. }) = states.why.get(&states.universe.node_of(origin))
        && steps < 100
    {
        (origin, steps) = (*by, steps + 1);
    }
    if origin == version { format!("`{name}`") } else { format!("`{name}` (for `{}`)", states.universe.show(origin)) }
}

/// Returns why an alternative is not to be had.
fn why_not(
    states: &States<'_>,
    version: VersionId,
    group: &Group<'_>,
    wanted: &Wanted<'_>,
    wishes: &Wishes<'_>,
    depth: usize,
) -> String {
    let universe = states.universe;
    let name = wanted.atom.name;
    if wishes.exclude.contains(name) {
        return format!("the recipe excludes `{name}`");
    }
    let (Target::Node(node) | Target::Exact(node)) = wanted.target else {
        return format!("there is no package `{name}`");
    };
    let possible = depends::possible(universe, version, group, wanted);
    let Some(&first) = possible.first() else {
        return match universe.versions_at(node).next() {
            Some(newest) => {
                format!("the newest `{name}` is {} from {}", universe.version(newest), universe.repository(newest).name)
            }
            None => format!("nothing provides `{name}`"),
        };
    };
    let shown = universe.show(first);
    let excluded: Vec<&VersionId> =
        possible.iter().filter(|&&one| wishes.exclude.contains(universe.name(one))).collect();
    if excluded.len() == possible.len() {
        return format!("the recipe excludes `{}`", universe.name(first));
    }
    let state = states.get(universe.node_of(first));
    if state.install.is_some() && state.install != Some(first) {
        let taken = state.install.map_or("none", |version| universe.version(version));
        return format!("`{shown}` is taken at {taken}");
    }
    if depth < DEEPEST
        && let Some(reason) = deeper(states, first, wishes, depth + 1)
    {
        return reason;
    }
    format!("`{shown}` is not to be installed")
}

/// Returns why a version cannot be installed beside what is decided.
fn deeper(states: &States<'_>, version: VersionId, wishes: &Wishes<'_>, depth: usize) -> Option<String> {
    let relations = states.relations(version);
    let critical = || relations.iter().filter(|group| group.kind.is_critical());
    let hopeless = critical()
        .filter(|group| !group.kind.is_negative())
        .find(|group| !states.holds(version, group, When::Install) && !states.holds(version, group, When::Candidate));
    let against = || {
        critical()
            .filter(|group| group.kind.is_negative())
            .find(|group| group.any_of.iter().any(|wanted| states.hits(version, group, wanted, When::Install)))
    };
    if let Some(group) = hopeless.or_else(against) {
        return Some(one(states, version, group, wishes, depth));
    }
    let enemy = states.installed().into_iter().find_map(|node| {
        let other = states.get(node).install?;
        let hostile = states.relations(other).iter().any(|group| {
            group.kind.is_negative()
                && depends::possible(states.universe, other, group, &group.any_of[0]).contains(&version)
        });
        hostile.then_some(other)
    });
    enemy.map(|other| {
        let (a, b) = (states.universe.show(other), states.universe.show(version));
        format!("`{a}` cannot be installed together with `{b}`")
    })
}
