//! What stands in the way of a package: keeping it out, upgrading it, removing it.

use super::super::depends::{Group, Target, Wanted};
use super::super::providers::Solution;
use super::super::state::{Mode, When};
use super::super::universe::{Node, VersionId};
use super::{By, Marker};

impl<'u> Marker<'u> {
    /// Handles what stands in the way: keeps candidates out, plans to upgrade or remove what is installed.
    pub(super) fn clear_way(
        &mut self,
        version: VersionId,
        against: &[Group<'u>],
        depth: u32,
        (protect, request): (bool, bool),
        upgrade: &mut Vec<Node>,
        remove: &mut Vec<Node>,
    ) -> bool {
        let (mut fine, mut bad) = (true, Vec::new());
        for group in against {
            for other in self.solutions(version, group, When::Candidate) {
                let other = self.states.universe.node_of(other.version);
                let state = self.states.get(other);
                if state.candidate.is_none() {
                    continue;
                }
                if state.current == state.candidate {
                    fine &= self.remove_for(other, depth, protect, remove);
                } else if state.mode == Mode::Install && !self.keep(other, depth, false) {
                    fine = false;
                } else if protect {
                    self.drop_candidate(other);
                    if self.states.get(other).current.is_none() {
                        self.states.get_mut(other).protected = true;
                    }
                } else {
                    bad.push(other);
                }
                if !fine && !protect && !request {
                    return false;
                }
            }
            for Solution { version: other, .. } in self.solutions(version, group, When::Now) {
                let node = self.states.universe.node_of(other);
                let state = self.states.get(node);
                if state.candidate.is_some() && state.candidate != Some(other) && !bad.contains(&node) {
                    upgrade.push(node);
                } else if state.candidate != state.current {
                    fine &= self.remove_for(node, depth, protect, remove);
                }
                if !fine && !protect && !request {
                    return false;
                }
            }
        }
        fine
    }

    /// Removes an installed package that cannot be upgraded out of the way: at once for a protected decision, else later.
    fn remove_for(&mut self, node: Node, depth: u32, protect: bool, later: &mut Vec<Node>) -> bool {
        let deleted = self.states.get(node).mode == Mode::Delete;
        if !protect {
            if !deleted {
                if !self.may_change(node, Mode::Delete, depth, false) || !self.may_delete(node) {
                    return false;
                }
                later.push(node);
            }
            return true;
        }
        if !deleted && !self.delete(node, depth + 1, false) {
            return false;
        }
        self.drop_candidate(node);
        self.states.get_mut(node).protected = true;
        true
    }

    /// Adds installed packages that fit the current version of `node` but not the one that replaces it.
    pub(super) fn left_behind(&self, node: Node, version: VersionId, upgrade: &mut Vec<Node>) {
        let Some(current) = self.states.get(node).current.filter(|&current| current != version) else { return };
        for &other in &self.states.there {
            let state = self.states.get(other);
            let Some(installed) = state.current.filter(|_| state.mode != Mode::Install) else { continue };
            let relations = self.states.relations(installed);
            let breaks = relations
                .iter()
                .filter(|group| self.states.is_important(group) && !group.kind.is_negative())
                .any(|group| {
                    let names = |one: &&Wanted<'_>| one.target == Target::Node(node);
                    group.any_of.iter().filter(names).any(|one| {
                        one.accepts_real(self.states.universe, current)
                            && !one.accepts_real(self.states.universe, version)
                    })
                });
            if breaks && !upgrade.contains(&other) {
                upgrade.push(other);
            }
        }
    }

    /// Upgrades installed packages that come from the same source and have a version made together with this one.
    pub(super) fn upgrade_siblings_of_source(&mut self, node: Node, version: VersionId, depth: u32) {
        let universe = self.states.universe;
        let behind = |other: &Node| {
            let state = self.states.get(*other);
            *other != node
                && state.current.is_some()
                && state.candidate.is_some()
                && state.current != state.candidate
                && state.install != state.candidate
        };
        let behind: Vec<Node> = self.states.there.iter().copied().filter(behind).collect();
        let together: Vec<Node> = behind
            .into_iter()
            .filter(|&other| {
                self.states
                    .get(other)
                    .candidate
                    .is_some_and(|v| universe.stanza(v).source() == universe.stanza(version).source())
            })
            .collect();
        for follow in [false, true] {
            for &other in &together {
                self.install(other, follow, depth + 1, &By::Solver(None));
            }
        }
    }

    pub(super) fn upgrade_or_remove(&mut self, upgrade: &[Node], depth: u32, (protect, request): (bool, bool)) -> bool {
        let mut fine = true;
        for &other in upgrade {
            if self.states.get(other).mode == Mode::Install || self.install(other, true, depth + 1, &By::Solver(None)) {
                continue;
            }
            if self.delete(other, depth + 1, false) {
                self.states.get_mut(other).protected |= protect;
            } else {
                fine = false;
                if !protect && !request {
                    return false;
                }
            }
        }
        fine
    }
}
