//! What is decided about every package, and what holds under those decisions.

use std::cell::OnceCell;
use std::rc::Rc;

use super::Why;
use super::depends::{self, Group, Target, Wanted};
use super::universe::{Node, Universe, VersionId};

/// What shall happen to a package.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    #[default]
    Keep,
    Install,
    Delete,
}

/// One package.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// Installed before.
    pub current: Option<VersionId>,
    /// Would be installed.
    pub candidate: Option<VersionId>,
    /// The candidate as other packages' relations know it: apt tells them of a candidate's loss only at the next decision
    /// about the package, and until then tries ways that lead nowhere.
    pub rumoured: Option<VersionId>,
    /// Will be installed.
    pub install: Option<VersionId>,
    pub mode: Mode,
    /// Nobody asked for it.
    pub auto: bool,
    /// Decided for good: asked for, or the only way to what was.
    pub protected: bool,
}

impl State {
    /// Returns the version at one of three points of view.
    pub(super) fn at(&self, when: When) -> Option<VersionId> {
        match when {
            When::Now => self.current,
            When::Install => self.install,
            When::Candidate => self.candidate,
            When::Rumoured => self.rumoured,
        }
    }
}

/// A point of view: what is installed, what will be, what could be, what is thought that it could be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Now,
    Install,
    Candidate,
    Rumoured,
}

/// All packages.
pub(super) struct States<'u> {
    pub universe: &'u Universe,
    pub recommends: bool,
    states: Vec<State>,
    /// Essential or protected, in any version: never removed.
    essential: Vec<bool>,
    relations: Vec<OnceCell<Rc<[Group<'u>]>>>,
    /// Nodes that are installed already.
    pub there: Vec<Node>,
    /// Why each package came in, by node.
    pub why: std::collections::HashMap<Node, Why>,
    /// Nodes in the order in which they were decided.
    pub decided: Vec<Node>,
}

impl<'u> States<'u> {
    pub(super) fn new(universe: &'u Universe, recommends: bool) -> Self {
        let mut essential = vec![false; universe.node_count()];
        for version in universe.all_versions() {
            let head = universe.head(version);
            essential[universe.node_of(version).0 as usize] |= head.essential || head.protected;
        }
        Self {
            universe,
            recommends,
            states: vec![State::default(); universe.node_count()],
            essential,
            relations: (0..universe.version_count()).map(|_| OnceCell::new()).collect(),
            there: Vec::new(),
            why: std::collections::HashMap::new(),
            decided: Vec::new(),
        }
    }

    /// Sets a candidate and lets everybody know.
    pub(super) fn set_candidate(&mut self, node: Node, candidate: Option<VersionId>) {
        let state = self.get_mut(node);
        state.candidate = candidate;
        state.rumoured = candidate;
    }

    /// Takes a version as installed already.
    pub(super) fn set_installed(&mut self, version: VersionId) {
        let node = self.universe.node_of(version);
        let state = self.get_mut(node);
        state.current = Some(version);
        state.install = state.current;
        self.there.push(node);
    }

    pub(super) fn get(&self, node: Node) -> &State {
        &self.states[node.0 as usize]
    }

    pub(super) fn get_mut(&mut self, node: Node) -> &mut State {
        &mut self.states[node.0 as usize]
    }

    pub(super) fn is_essential(&self, node: Node) -> bool {
        self.essential[node.0 as usize]
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = Node> + use<> {
        (0..self.states.len() as u32).map(Node)
    }

    /// Returns the packages that will be there.
    pub(super) fn installed(&self) -> Vec<Node> {
        let mut installed: Vec<Node> = self.there.iter().chain(&self.decided).copied().collect();
        installed.retain(|&node| self.get(node).install.is_some());
        installed.sort_unstable();
        installed.dedup();
        installed
    }

    /// Returns what a version relates to.
    pub(super) fn relations(&self, version: VersionId) -> Rc<[Group<'u>]> {
        let cell = &self.relations[version.0 as usize];
        Rc::clone(cell.get_or_init(|| depends::read(self.universe, version).into()))
    }

    /// Whether a relation is acted upon.
    pub(super) fn is_important(&self, group: &Group<'_>) -> bool {
        group.kind.is_critical() || self.recommends && group.kind == depends::Kind::Recommends
    }

    /// Whether something at a point of view is what an alternative names, for good or ill.
    pub(super) fn hits(&self, parent: VersionId, group: &Group<'_>, wanted: &Wanted<'_>, when: When) -> bool {
        self.hit(parent, group, wanted, when).is_some()
    }

    /// Returns the package that an alternative names at a point of view: the real one before providers.
    pub(super) fn hit(&self, parent: VersionId, group: &Group<'_>, wanted: &Wanted<'_>, when: When) -> Option<Node> {
        let universe = self.universe;
        let (Target::Node(node) | Target::Exact(node)) = wanted.target else { return None };
        if !depends::ignores_real(universe, parent, group, node)
            && self.get(node).at(when).is_some_and(|version| wanted.accepts_real(universe, version))
        {
            return Some(node);
        }
        let mut providers = universe.provides_at(node).filter(|provide| {
            self.get(universe.node_of(provide.version)).at(when) == Some(provide.version)
                && depends::counts_here(universe, wanted.target, provide)
                && !depends::ignores_provide(universe, parent, group, provide)
                && wanted.accepts_provide(universe, provide)
        });
        providers.next().map(|provide| universe.node_of(provide.version))
    }

    /// Whether one alternative holds, which for a negative kind means that it hits nothing.
    pub(super) fn holds_one(&self, parent: VersionId, group: &Group<'_>, wanted: &Wanted<'_>, when: When) -> bool {
        self.hits(parent, group, wanted, when) != group.kind.is_negative()
    }

    /// Whether a relation holds at a point of view.
    pub(super) fn holds(&self, parent: VersionId, group: &Group<'_>, when: When) -> bool {
        group.any_of.iter().any(|wanted| self.holds_one(parent, group, wanted, when))
    }

    /// Whether a package will be there with an unmet critical relation.
    pub(super) fn is_broken(&self, node: Node) -> bool {
        self.fails(node, When::Install, |group| group.kind.is_critical())
    }

    /// Whether a package is there with an unmet critical relation.
    pub(super) fn is_broken_now(&self, node: Node) -> bool {
        self.fails(node, When::Now, |group| group.kind.is_critical())
    }

    /// Whether a package will be there with an unmet relation that is acted upon.
    pub(super) fn is_unhappy(&self, node: Node) -> bool {
        self.fails(node, When::Install, |group| self.is_important(group))
    }

    fn fails(&self, node: Node, when: When, counts: impl Fn(&Group<'_>) -> bool) -> bool {
        let Some(version) = self.get(node).at(when) else { return false };
        self.relations(version).iter().any(|group| counts(group) && !self.holds(version, group, when))
    }

    /// Returns the packages that will be there broken.
    pub(super) fn broken(&self) -> Vec<Node> {
        self.installed().into_iter().filter(|&node| self.is_broken(node)).collect()
    }
}
