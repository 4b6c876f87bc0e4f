//! Marking a package for installation, with everything that follows, the way apt does.
//!
//! Greedy: a relation is met by the first of its alternatives that can be installed; what an attempt changed on its way
//! stays changed, and what nobody needs in the end is swept away (`sweep`). What is then still broken is for `mend`.

use super::Why;
use super::depends::{Group, Wanted};
use super::order::Order;
use super::providers::{self, Solution};
use super::state::{Mode, State, States, When};
use super::universe::{Node, VersionId};

/// apt gives up on deeper chains.
const DEEPEST: u32 = 3000;

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

    /// Handles what stands in the way: keeps candidates out, plans to upgrade or remove what is installed.
    fn clear_way(
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
    fn left_behind(&self, node: Node, version: VersionId, upgrade: &mut Vec<Node>) {
        let Some(current) = self.states.get(node).current.filter(|&current| current != version) else { return };
        for &other in &self.states.there {
            let state = self.states.get(other);
            let Some(installed) = state.current.filter(|_| state.mode != Mode::Install) else { continue };
            let relations = self.states.relations(installed);
            let breaks = relations
                .iter()
                .filter(|group| self.states.is_important(group) && !group.kind.is_negative())
                .any(|group| {
                    let names = |one: &&Wanted<'_>| one.target == super::depends::Target::Node(node);
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
    fn upgrade_siblings_of_source(&mut self, node: Node, version: VersionId, depth: u32) {
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

    fn upgrade_or_remove(&mut self, upgrade: &[Node], depth: u32, (protect, request): (bool, bool)) -> bool {
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

    fn install_needs(
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
    fn solutions(&self, version: VersionId, group: &Group<'u>, when: When) -> Vec<Solution> {
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

    /// Decides that a package stays as it is.
    pub(super) fn keep(&mut self, node: Node, depth: u32, request: bool) -> bool {
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
    pub(super) fn delete(&mut self, node: Node, depth: u32, request: bool) -> bool {
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

    fn may_change(&self, node: Node, mode: Mode, depth: u32, request: bool) -> bool {
        if depth > DEEPEST || self.states.universe.versions_at(node).next().is_none() {
            return false;
        }
        let state = self.states.get(node);
        request || state.mode == mode || !state.protected && !(mode == Mode::Delete && self.states.is_essential(node))
    }

    /// Whether the solver may take back a new package: not one that was asked for.
    fn may_delete(&self, node: Node) -> bool {
        let state = self.states.get(node);
        state.current.is_some() || state.install.is_none() || state.auto
    }

    /// Whether a candidate fits its installed siblings and every critical relation of it could be met at all.
    fn may_install(&mut self, node: Node, candidate: VersionId, follow: bool, request: bool) -> bool {
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

    fn take_candidate(&mut self, node: Node, by: &By) -> bool {
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

    fn drop_candidate(&mut self, node: Node) {
        let state = self.states.get_mut(node);
        state.candidate = state.install;
    }

    /// Takes a failed attempt back, and never tries it again.
    fn undo(&mut self, node: Node) {
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
