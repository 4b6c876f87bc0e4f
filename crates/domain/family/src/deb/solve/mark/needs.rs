//! What a package needs: the first alternative that can be had.

use super::super::Why;
use super::super::depends::Group;
use super::super::providers::{self, Solution};
use super::super::state::{Mode, State, When};
use super::super::universe::{Node, VersionId};
use super::{By, Marker};

impl<'u> Marker<'u> {
    pub(super) fn install_needs(
        &mut self,
        node: Node,
        version: VersionId,
        needs: &[Group<'u>],
        depth: u32,
        protect: bool,
        request: bool,
    ) -> bool {
        let mut fine = true;
        for group in needs {
            if self.states.holds(version, group, When::Install) {
                if protect && group.kind.is_critical() {
                    fine &= self.protect_only_way(version, group, depth);
                }
                continue;
            }
            if !group.kind.is_critical() && self.is_old_disappointment(node, group) {
                continue;
            }
            let met = self.meet(version, group, depth, protect);
            if !met && group.kind.is_critical() {
                fine = false;
                if !protect && !request {
                    return false;
                }
            }
        }
        fine
    }

    /// Installs the first alternative that can be.
    fn meet(&mut self, version: VersionId, group: &Group<'u>, depth: u32, protect: bool) -> bool {
        let by = By::Solver(Some(Why::Needed { by: version, field: group.kind.field() }));
        let mut solutions = self.solutions(version, group, When::Candidate);
        let only = solutions.len() == 1;
        while let Some(solution) = providers::take_best(&self.states, &self.order, &mut solutions) {
            let node = self.states.universe.node_of(solution);
            if self.states.get(node).candidate != Some(solution) {
                continue;
            }
            if protect && group.kind.is_critical() && only {
                if !self.install(node, false, depth + 1, &by) {
                    continue;
                }
                self.states.get_mut(node).protected = true;
            }
            if self.install(node, true, depth + 1, &by) {
                return true;
            }
        }
        false
    }

    /// Protects the package that meets a relation if no other could.
    fn protect_only_way(&mut self, version: VersionId, group: &Group<'u>, depth: u32) -> bool {
        let both = [When::Candidate, When::Now].into_iter().flat_map(|when| self.solutions(version, group, when));
        let mut ways: Vec<VersionId> = both.map(|one| one.version).collect();
        ways.sort_unstable();
        ways.dedup();
        let [only] = ways[..] else { return true };
        let node = self.states.universe.node_of(only);
        if self.states.get(node).protected {
            return true;
        }
        self.states.get_mut(node).protected = true;
        let by = By::Solver(Some(Why::Needed { by: version, field: group.kind.field() }));
        self.install(node, true, depth + 1, &by)
    }

    /// Whether an installed package has recommended this all along, unheard: an upgrade is no reason to hear it now.
    fn is_old_disappointment(&self, node: Node, group: &Group<'u>) -> bool {
        let Some(current) = self.states.get(node).current else { return false };
        let target = group.any_of[0].target;
        let relations = self.states.relations(current);
        let mut known = relations
            .iter()
            .filter(|old| {
                !old.kind.is_critical()
                    && self.states.is_important(old)
                    && old.any_of.iter().any(|one| one.target == target)
            })
            .peekable();
        known.peek().is_some() && !known.any(|old| self.states.holds(current, old, When::Now))
    }

    /// Returns the versions at a point of view that an alternative of a relation names: installed ones first, then by alternative,
    /// then by preference.
    pub(super) fn solutions(&self, version: VersionId, group: &Group<'u>, when: When) -> Vec<Solution> {
        let (mut installed, mut new) = (Vec::new(), Vec::new());
        let mut class = 0;
        for wanted in &group.any_of {
            let found = providers::at(&self.states, version, group, wanted, when);
            let sorted = providers::sorted(&self.states, wanted, found, class);
            class = sorted.last().map_or(class, |last| last.class + 1);
            let (old, fresh): (Vec<_>, Vec<_>) =
                sorted.into_iter().partition(|one| self.state_of(one.version).current.is_some());
            installed.extend(old);
            new.extend(fresh);
        }
        installed.append(&mut new);
        installed.dedup_by_key(|one| one.version);
        if !group.kind.is_negative() {
            installed.retain(|one| {
                let state = self.state_of(one.version);
                !(state.protected
                    && (state.mode == Mode::Delete || state.mode == Mode::Keep && state.current.is_none()))
            });
        }
        installed
    }

    fn state_of(&self, version: VersionId) -> &State {
        self.states.get(self.states.universe.node_of(version))
    }
}
