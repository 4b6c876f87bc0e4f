//! How much a package weighs when two cannot stay together.

use super::super::depends::{Kind, Target};
use super::super::providers;
use super::super::state::{States, When};
use super::super::universe::Node;

/// By priority: none, required, important, standard, optional, extra.
const PRIORITY: [i32; 6] = [0, 3, 2, 1, -1, -2];
const ESSENTIAL: i32 = 100;
const ALREADY_THERE: i32 = 1;
const REQUESTED: i32 = 10_000;
const NEVER_LOST: i32 = 5_000;

/// Returns every node's score: its own weight, one for each package that relates to it, and theirs on top.
pub(super) fn of_all(states: &States<'_>, requested: &[Node]) -> Vec<i32> {
    let mut scores = vec![0; states.universe.node_count()];
    let installed = states.installed();
    installed.iter().for_each(|&node| own_weight(states, node, &mut scores));
    let own = scores.clone();
    inherit(states, &installed, &own, &mut scores);
    lend_to_providers(states, &own, &mut scores);
    requested.iter().for_each(|node| scores[node.0 as usize] += REQUESTED);
    states.nodes().filter(|&node| states.is_essential(node)).for_each(|node| scores[node.0 as usize] += NEVER_LOST);
    scores
}

fn own_weight(states: &States<'_>, node: Node, scores: &mut [i32]) {
    let Some(version) = states.get(node).install else { return };
    let score = &mut scores[node.0 as usize];
    *score += if states.is_essential(node) { ESSENTIAL } else { 0 };
    *score += PRIORITY[states.universe.head(version).priority.min(5) as usize];
    *score +=
        if states.get(node).current.is_some() && states.get(node).candidate.is_some() { ALREADY_THERE } else { 0 };
    for group in states.relations(version).iter() {
        let weight = match group.kind {
            Kind::PreDepends | Kind::Depends | Kind::Recommends => 1,
            Kind::Conflicts | Kind::Breaks => -1,
            Kind::Suggests => continue,
        };
        for wanted in &group.any_of {
            for hit in providers::at(states, version, group, wanted, When::Install) {
                scores[states.universe.node_of(hit).0 as usize] += weight;
            }
            if let Target::Node(target) = wanted.target
                && wanted.atom.version.is_none()
                && wanted.not.is_none()
                && states.get(target).install.is_none()
            {
                scores[target.0 as usize] += weight;
            }
        }
    }
}

/// Adds the weight of what depends on a package.
fn inherit(states: &States<'_>, installed: &[Node], own: &[i32], scores: &mut [i32]) {
    for &node in installed {
        let Some(version) = states.get(node).install else { continue };
        let weight = own[node.0 as usize].max(0);
        for group in states.relations(version).iter() {
            if !matches!(group.kind, Kind::PreDepends | Kind::Depends | Kind::Recommends) {
                continue;
            }
            for wanted in &group.any_of {
                if let Target::Node(target) | Target::Exact(target) = wanted.target
                    && states.get(target).install.is_some()
                {
                    scores[target.0 as usize] += weight;
                }
            }
        }
    }
}

/// Passes what a name inherited on to the packages that provide it.
fn lend_to_providers(states: &States<'_>, own: &[i32], scores: &mut [i32]) {
    for node in states.nodes() {
        let lent = (scores[node.0 as usize] - own[node.0 as usize]).abs();
        if lent == 0 {
            continue;
        }
        let mut owners: Vec<Node> = states
            .universe
            .provides_at(node)
            .filter(|provide| !provide.implicit)
            .filter(|provide| states.get(states.universe.node_of(provide.version)).install == Some(provide.version))
            .map(|provide| states.universe.node_of(provide.version))
            .collect();
        owners.sort_unstable();
        owners.dedup();
        owners.iter().for_each(|owner| scores[owner.0 as usize] += lent);
    }
}
