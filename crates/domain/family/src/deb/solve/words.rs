//! The words of a request: `pkg`, `pkg:arch`, `pkg=version`, `pkg/suite`, `task^`.

use std::collections::BTreeSet;

use kiln_model::Arch;

use super::Reason;
use super::nearest::Spellings;
use super::state::{States, When};
use super::universe::{Node, Universe, VersionId};

/// A word looked up: the version to install, and the suite its relations may be met from too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub version: VersionId,
    pub suite: Option<String>,
}

/// Looks a word up.
pub(super) fn look_up(states: &States<'_>, word: &str) -> Result<Vec<Wish>, Reason> {
    if let Some(task) = word.strip_suffix('^') {
        return look_up_task(states, task);
    }
    let (name, version, suite) = match (word.split_once('='), word.split_once('/')) {
        (Some((name, version)), _) => (name, Some(version), None),
        (None, Some((name, suite))) => (name, None, Some(suite)),
        (None, None) => (word, None, None),
    };
    let node = find(states.universe, name)?;
    let chosen = match (version, suite) {
        (Some(version), _) => by_version(states.universe, node, version)?,
        (None, Some(suite)) => by_suite(states.universe, node, suite)?,
        (None, None) => candidate(states, node)?,
    };
    Ok(vec![Wish { version: chosen, suite: suite.map(str::to_owned) }])
}

/// Finds the node of `name` or `name:arch`; a foreign one where there is no native.
pub(super) fn find(universe: &Universe, word: &str) -> Result<Node, Reason> {
    let real = |node: &Node| universe.versions_at(*node).next().is_some();
    let known = |node: &Node| real(node) || universe.provides_at(*node).next().is_some();
    let (name, arch) = word.split_once(':').map_or((word, None), |(name, arch)| (name, Some(arch)));
    let nodes = || (0..universe.architectures().len()).filter_map(|slot| universe.node_in_slot(name, slot));
    let anywhere = nodes().find(real).or_else(|| nodes().find(known));
    let anywhere = anywhere
        .ok_or_else(|| Reason::unknown(format!("there is no package `{name}`"), universe.spellings().hint(name)))?;
    let Some(arch) = arch else { return Ok(anywhere) };
    let slot = universe.architectures().iter().position(|known| known.debian() == arch);
    let slot = if arch == "native" { Some(0) } else { slot };
    let found = slot.and_then(|slot| universe.node_in_slot(name, slot)).filter(known);
    found.ok_or_else(|| {
        let hint = match slot {
            None if arch.parse::<Arch>().is_err() => "there is no such architecture".to_owned(),
            None => format!("say under `[packages]`: foreign = [\"{arch}\"]"),
            Some(_) => format!("there is `{}`", universe.show_node(anywhere)),
        };
        Reason::unmet(format!("there is no package `{name}` for `{arch}`"), Some(hint))
    })
}

fn by_version(universe: &Universe, node: Node, version: &str) -> Result<VersionId, Reason> {
    let found = universe.versions_at(node).find(|&one| universe.version(one) == version);
    found.ok_or_else(|| {
        let name = universe.show_node(node);
        let have: Vec<String> = universe.versions_at(node).map(|one| format!("`{}`", universe.version(one))).collect();
        let there = if have.is_empty() { "none".to_owned() } else { have.join(", ") };
        let newest = universe.versions_at(node).next().map(|one| universe.version(one));
        let hint = newest.map(|newest| format!("write `{name}={newest}`, or `{name}` for the newest there is"));
        Reason::unmet(format!("there is no version `{version}` of `{name}`; there is {there}"), hint)
    })
}

fn by_suite(universe: &Universe, node: Node, suite: &str) -> Result<VersionId, Reason> {
    let found = universe.versions_at(node).find(|&one| is_from(universe, one, suite));
    found.ok_or_else(|| {
        let name = universe.show_node(node);
        let there: BTreeSet<&str> = universe.versions_at(node).flat_map(|one| suites(universe, one)).collect();
        let there: Vec<String> = there.iter().map(|suite| format!("`{name}/{suite}`")).collect();
        let hint = format!("there is {}; another suite wants a `[[base.repository]]` of its own", there.join(", "));
        Reason::unmet(format!("there is no `{name}` in suite `{suite}`"), (!there.is_empty()).then_some(hint))
    })
}

/// Returns the suites a version lies in, by the name that says most.
fn suites(universe: &Universe, version: VersionId) -> impl Iterator<Item = &str> {
    universe.repositories(version).map(|source| {
        let repository = &source.repository;
        let names = [&repository.codename, &repository.suite, &repository.name];
        names.into_iter().find(|name| !name.is_empty()).map_or("", String::as_str)
    })
}

/// Whether a version lies in a suite, by any of its names.
pub(super) fn is_from(universe: &Universe, version: VersionId, suite: &str) -> bool {
    universe.repositories(version).any(|source| {
        let repository = &source.repository;
        [&repository.suite, &repository.codename, &repository.name].into_iter().any(|name| name == suite)
    })
}

/// Returns a package's candidate; for a virtual package, its only provider.
fn candidate(states: &States<'_>, node: Node) -> Result<VersionId, Reason> {
    let universe = states.universe;
    if let Some(version) = states.get(node).candidate {
        return Ok(version);
    }
    let name = universe.show_node(node);
    if universe.versions_at(node).next().is_some() {
        let hint = super::explain::why_no_candidate(states, node);
        return Err(Reason::unmet(format!("`{name}` has no version that may be installed"), hint));
    }
    let mut providers: Vec<VersionId> = universe.provides_at(node).map(|provide| provide.version).collect();
    providers.retain(|&version| states.get(universe.node_of(version)).at(When::Candidate) == Some(version));
    providers.sort_unstable();
    providers.dedup();
    match providers[..] {
        [only] => Ok(only),
        [] => Err(Reason::unmet(format!("nothing that may be installed provides `{name}`"), None)),
        _ => {
            let hint = format!("name one that provides it: {}", named(universe, &providers));
            Err(Reason::unmet(format!("`{name}` is a virtual package"), Some(hint)))
        }
    }
}

/// Returns the names of versions, sorted, as many as people read.
pub(super) fn named(universe: &Universe, versions: &[VersionId]) -> String {
    let names: BTreeSet<String> = versions.iter().map(|&version| format!("`{}`", universe.show(version))).collect();
    names.into_iter().take(8).collect::<Vec<_>>().join(", ")
}

fn look_up_task(states: &States<'_>, task: &str) -> Result<Vec<Wish>, Reason> {
    let universe = states.universe;
    let members = universe.tasks().get(task).into_iter().flatten().copied();
    let wishes: Vec<Wish> = members
        .filter(|&version| universe.slot(universe.node_of(version)) == 0)
        .filter(|&version| states.get(universe.node_of(version)).candidate == Some(version))
        .map(|version| Wish { version, suite: None })
        .collect();
    if !wishes.is_empty() {
        return Ok(wishes);
    }
    let near =
        Spellings::new(universe.tasks().keys().map(String::as_str)).nearest(task).first().map(|&near| near.to_owned());
    let hint = match near {
        Some(near) if near != task => Some(format!("did you mean `{near}^`?")),
        _ => find(universe, task).is_ok().then(|| format!("the package is called `{task}`, without `^`")),
    };
    Err(Reason::unknown(format!("there is no task `{task}`"), hint))
}
