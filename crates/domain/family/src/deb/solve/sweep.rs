//! Sweeping away what was marked on the way but nobody needs in the end.

use super::depends::Kind;
use super::mark::Marker;
use super::state::{States, When};
use super::universe::Node;

/// Takes back new packages that nothing asked for leads to.
pub(super) fn sweep(marker: &mut Marker<'_>) {
    let reached = reached(&marker.states);
    for node in marker.states.installed() {
        let state = marker.states.get_mut(node);
        if !reached[node.0 as usize] && state.current.is_none() {
            state.protected = false;
            state.install = None;
            state.mode = super::state::Mode::Keep;
        }
    }
}

/// Follows every relation that keeps a package: needed, recommended, suggested.
fn reached(states: &States<'_>) -> Vec<bool> {
    let mut reached = vec![false; states.universe.node_count()];
    let mut open: Vec<Node> = states.installed().into_iter().filter(|&node| is_root(states, node)).collect();
    while let Some(node) = open.pop() {
        if std::mem::replace(&mut reached[node.0 as usize], true) {
            continue;
        }
        let Some(version) = states.get(node).install else { continue };
        for group in states.relations(version).iter().filter(|group| !group.kind.is_negative()) {
            debug_assert!(!matches!(group.kind, Kind::Conflicts | Kind::Breaks));
            for wanted in &group.any_of {
                let hits = super::providers::at(states, version, group, wanted, When::Install);
                open.extend(hits.into_iter().map(|version| states.universe.node_of(version)));
            }
        }
    }
    reached
}

fn is_root(states: &States<'_>, node: Node) -> bool {
    let state = states.get(node);
    let required = state.current.is_some_and(|version| states.universe.head(version).priority == 1);
    !state.auto || states.is_essential(node) || required
}
