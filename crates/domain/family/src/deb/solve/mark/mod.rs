//! Marking a package for installation, with everything that follows, the way apt does.
//!
//! Greedy: a relation is met by the first of its alternatives that can be installed; what an attempt changed on its way
//! stays changed, and what nobody needs in the end is swept away (`sweep`). What is then still broken is for `mend`.

mod conflicts;
mod decide;
mod needs;

use super::Why;
use super::depends::Group;
use super::order::Order;
use super::state::{Mode, States, When};
use super::universe::{Node, VersionId};

/// Who wants a package, and how strongly.
#[derive(Clone, Debug)]
pub(super) enum By {
    /// The request itself, which is always right.
    Request(Why),
    /// Another package or the mending of one.
    Solver(Option<Why>),
}

impl By {
    fn is_request(&self) -> bool {
        matches!(self, Self::Request(_))
    }
}

/// The marking verbs, over the states.
pub(super) struct Marker<'u> {
    pub states: States<'u>,
    pub order: Order,
}

impl<'u> Marker<'u> {
    /// Marks a package for installation; with `follow`, what it needs as well. Says whether that worked out.
    pub(super) fn install(&mut self, node: Node, follow: bool, depth: u32, by: &By) -> bool {
        let state = self.states.get(node).clone();
        let only_protects = state.protected
            && state.mode == Mode::Keep
            && state.candidate.is_some()
            && state.candidate == state.current;
        if !only_protects && !self.may_change(node, Mode::Install, depth, by.is_request()) {
            return false;
        }
        let Some(candidate) = state.candidate else { return false };
        if !state.protected && !self.states.is_unhappy(node) && !self.states.is_broken(node) {
            if state.candidate == state.current {
                return state.install.is_some() || self.keep(node, depth + 1, by.is_request());
            }
            if state.mode == Mode::Install {
                return true;
            }
        }
        if !self.may_install(node, candidate, follow, by.is_request()) {
            return false;
        }
        if follow { self.install_with_needs(node, candidate, depth, by) } else { self.take_candidate(node, by) }
    }

    fn install_with_needs(&mut self, node: Node, candidate: VersionId, depth: u32, by: &By) -> bool {
        let was_protected = self.states.get(node).protected;
        let give_up = !was_protected && !by.is_request();
        let mut fine = true;
        if by.is_request() {
            self.take_candidate(node, by);
        }
        let (needs, against) = self.unmet(node, candidate);
        let mut upgrade = Vec::new();
        let mut remove = Vec::new();
        fine &= self.clear_way(candidate, &against, depth, (was_protected, by.is_request()), &mut upgrade, &mut remove);
        if !fine && give_up {
            return false;
        }
        self.left_behind(node, candidate, &mut upgrade);
        if !by.is_request() {
            self.take_candidate(node, by);
        }
        // Nothing further down may undo this decision while it is being worked out.
        self.states.get_mut(node).protected = true;
        self.upgrade_siblings_of_source(node, candidate, depth);
        fine &= self.upgrade_or_remove(&upgrade, depth, (was_protected, by.is_request()));
        if fine || !give_up {
            fine &= self.install_needs(node, candidate, &needs, depth, was_protected, by.is_request());
        }
        self.states.get_mut(node).protected = was_protected;
        if fine || !give_up {
            for other in remove {
                fine &= self.delete(other, depth, false);
            }
        }
        if !fine && give_up {
            self.undo(node);
        }
        fine
    }

    /// Returns what of a version's relations asks for something: packages to install, packages in the way.
    ///
    /// For a protected package also what is met already, so that its only way can be protected too.
    fn unmet(&self, node: Node, version: VersionId) -> (Vec<Group<'u>>, Vec<Group<'u>>) {
        let all = self.states.get(node).protected;
        let relations = self.states.relations(version);
        let wanted = relations.iter().filter(|group| {
            let met = group.any_of.iter().any(|one| self.states.holds_one(version, group, one, When::Install));
            (all || !met) && self.states.is_important(group)
        });
        wanted.cloned().partition(|group| !group.kind.is_negative())
    }
}
