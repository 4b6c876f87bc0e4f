//! Decisions about one package, and who may take them.

use super::super::providers;
use super::super::state::{Mode, When};
use super::super::universe::{Node, VersionId};
use super::{By, Marker};

/// apt gives up on deeper chains.
const DEEPEST: u32 = 3000;

impl Marker<'_> {
    /// Decides that a package stays as it is.
    pub(in super::super) fn keep(&mut self, node: Node, depth: u32, request: bool) -> bool {
        if !self.may_change(node, Mode::Keep, depth, request) {
            return false;
        }
        let state = self.states.get_mut(node);
        if state.mode != Mode::Keep {
            state.mode = Mode::Keep;
            state.install = state.current;
            state.rumoured = state.candidate;
        }
        true
    }

    /// Decides that a package goes.
    pub(in super::super) fn delete(&mut self, node: Node, depth: u32, request: bool) -> bool {
        if !self.may_change(node, Mode::Delete, depth, request) {
            return false;
        }
        let state = self.states.get(node);
        if state.mode == Mode::Delete || state.install.is_none() {
            return true;
        }
        if !request && !self.may_delete(node) {
            return false;
        }
        let state = self.states.get_mut(node);
        state.mode = if state.current.is_none() { Mode::Keep } else { Mode::Delete };
        state.install = None;
        state.rumoured = state.candidate;
        true
    }

    pub(super) fn may_change(&self, node: Node, mode: Mode, depth: u32, request: bool) -> bool {
        if depth > DEEPEST || self.states.universe.versions_at(node).next().is_none() {
            return false;
        }
        let state = self.states.get(node);
        let held = state.protected || mode == Mode::Delete && self.states.is_essential(node);
        request || state.mode == mode || !held
    }

    /// Whether the solver may take back a new package: not one that was asked for.
    pub(super) fn may_delete(&self, node: Node) -> bool {
        let state = self.states.get(node);
        state.current.is_some() || state.install.is_none() || state.auto
    }

    /// Whether a candidate fits its installed siblings and every critical relation of it could be met at all.
    pub(super) fn may_install(&mut self, node: Node, candidate: VersionId, follow: bool, request: bool) -> bool {
        if !request && !providers::is_in_step(&self.states, node, candidate) {
            return false;
        }
        if !follow || self.states.get(node).current == Some(candidate) {
            return true;
        }
        let relations = self.states.relations(candidate);
        let hopeless =
            relations.iter().filter(|group| group.kind.is_critical() && !group.kind.is_negative()).any(|group| {
                !self.states.holds(candidate, group, When::Install)
                    && !self.states.holds(candidate, group, When::Rumoured)
            });
        if hopeless && !self.states.get(node).protected {
            let state = self.states.get_mut(node);
            state.candidate = state.current;
            state.rumoured = if state.current.is_some() { state.current } else { state.rumoured };
            if state.mode != Mode::Delete {
                state.mode = Mode::Keep;
            }
        }
        !hopeless
    }

    pub(super) fn take_candidate(&mut self, node: Node, by: &By) -> bool {
        let state = self.states.get_mut(node);
        if state.protected && state.install == state.candidate {
            return true;
        }
        let is_new = state.current.is_none();
        state.install = state.candidate;
        state.rumoured = state.candidate;
        state.mode = if state.candidate == state.current { Mode::Keep } else { Mode::Install };
        match by {
            By::Request(_) => state.auto = false,
            By::Solver(_) if is_new => state.auto = true,
            By::Solver(_) => {}
        }
        self.states.decided.push(node);
        if let By::Request(why) | By::Solver(Some(why)) = by {
            self.states.why.insert(node, why.clone());
        }
        true
    }

    pub(super) fn drop_candidate(&mut self, node: Node) {
        let state = self.states.get_mut(node);
        state.candidate = state.install;
    }

    /// Takes a failed attempt back, and never tries it again.
    pub(super) fn undo(&mut self, node: Node) {
        let state = self.states.get_mut(node);
        if state.mode == Mode::Keep && state.install == state.candidate && state.candidate == state.current {
            return;
        }
        state.install = state.current;
        state.mode = Mode::Keep;
        state.rumoured = state.candidate;
        state.candidate = state.install;
    }
}
