//! The words of a request: `pkg`, `pkg:arch`, `pkg=version`, `pkg/suite`, `task^`.

use super::state::{States, When};
use super::universe::{Node, Universe, VersionId};

/// A word looked up: the version to install, and the suite its relations may be met from too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub version: VersionId,
    pub suite: Option<String>,
}

/// Looks a word up; an error is a sentence and maybe a hint.
pub(super) fn look_up(states: &States<'_>, word: &str) -> Result<Vec<Wish>, (String, Option<String>)> {
    if let Some(task) = word.strip_suffix('^') {
        return look_up_task(states, task);
    }
    let (name, version, suite) = match (word.split_once('='), word.split_once('/')) {
        (Some((name, version)), _) => (name, Some(version), None),
        (None, Some((name, suite))) => (name, None, Some(suite)),
        (None, None) => (word, None, None),
    };
    let node = find(states, name).map_err(|hint| (format!("there is no package `{name}`"), hint))?;
    let chosen = match (version, suite) {
        (Some(version), _) => by_version(states.universe, node, version)?,
        (None, Some(suite)) => by_suite(states.universe, node, suite)?,
        (None, None) => candidate(states, node)?,
    };
    Ok(vec![Wish { version: chosen, suite: suite.map(str::to_owned) }])
}

/// Finds the node of `name` or `name:arch`; a foreign one where there is no native.
fn find(states: &States<'_>, name: &str) -> Result<Node, Option<String>> {
    let universe = states.universe;
    let known =
        |node: &Node| universe.versions_at(*node).next().is_some() || universe.provides_at(*node).next().is_some();
    let slots = universe.architectures().len();
    let found = match name.split_once(':') {
        Some((name, arch)) => {
            let slot = universe.architectures().iter().position(|known| known.debian() == arch);
            let slot = if arch == "native" { Some(0) } else { slot };
            slot.and_then(|slot| universe.node_in_slot(name, slot)).filter(known)
        }
        None => {
            let real = |node: &Node| universe.versions_at(*node).next().is_some();
            let nodes = || (0..slots).filter_map(|slot| universe.node_in_slot(name, slot));
            nodes().find(real).or_else(|| nodes().find(known))
        }
    };
    found.ok_or_else(|| super::explain::nearest(universe, name.split(':').next().unwrap_or(name)))
}

fn by_version(universe: &Universe, node: Node, version: &str) -> Result<VersionId, (String, Option<String>)> {
    let found = universe.versions_at(node).find(|&one| universe.version(one) == version);
    found.ok_or_else(|| {
        let have: Vec<String> = universe.versions_at(node).map(|one| format!("`{}`", universe.version(one))).collect();
        let there = if have.is_empty() { "none".to_owned() } else { have.join(", ") };
        (format!("there is no version `{version}` of `{}`; there is {there}", universe.show_node(node)), None)
    })
}

fn by_suite(universe: &Universe, node: Node, suite: &str) -> Result<VersionId, (String, Option<String>)> {
    let found = universe.versions_at(node).find(|&one| is_from(universe, one, suite));
    found.ok_or_else(|| (format!("there is no `{}` in suite `{suite}`", universe.show_node(node)), None))
}

/// Whether a version lies in a suite, by any of its names.
pub(super) fn is_from(universe: &Universe, version: VersionId, suite: &str) -> bool {
    universe.repositories(version).any(|source| {
        let repository = &source.repository;
        [&repository.suite, &repository.codename, &repository.name].into_iter().any(|name| name == suite)
    })
}

/// Returns a package's candidate; for a virtual package, its only provider.
fn candidate(states: &States<'_>, node: Node) -> Result<VersionId, (String, Option<String>)> {
    let universe = states.universe;
    if let Some(version) = states.get(node).candidate {
        return Ok(version);
    }
    let name = universe.show_node(node);
    if universe.versions_at(node).next().is_some() {
        return Err((
            format!("`{name}` has no version that may be installed"),
            super::explain::why_no_candidate(states, node),
        ));
    }
    let mut providers: Vec<VersionId> = universe.provides_at(node).map(|provide| provide.version).collect();
    providers.retain(|&version| states.get(universe.node_of(version)).at(When::Candidate) == Some(version));
    providers.sort_unstable();
    providers.dedup();
    match providers[..] {
        [only] => Ok(only),
        [] => Err((format!("nothing that may be installed provides `{name}`"), None)),
        _ => {
            let mut names: Vec<String> =
                providers.iter().map(|&version| format!("`{}`", universe.show(version))).collect();
            names.sort();
            names.truncate(8);
            Err((
                format!("`{name}` is a virtual package"),
                Some(format!("name one that provides it: {}", names.join(", "))),
            ))
        }
    }
}

fn look_up_task(states: &States<'_>, task: &str) -> Result<Vec<Wish>, (String, Option<String>)> {
    let universe = states.universe;
    let members = states.nodes().filter(|&node| universe.slot(node) == 0).filter_map(|node| states.get(node).candidate);
    let wishes: Vec<Wish> = members
        .filter(|&version| universe.stanza(version).tasks().any(|name| name == task))
        .map(|version| Wish { version, suite: None })
        .collect();
    if wishes.is_empty() { Err((format!("there is no task `{task}`"), None)) } else { Ok(wishes) }
}
