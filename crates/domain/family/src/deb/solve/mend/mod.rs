//! Mending what marking left broken: apt's second thoughts.
//!
//! Packages are visited from the highest score to the lowest. Of a broken one, what scores lower gives way: the package
//! itself is kept back or removed, or what it quarrels with is. Passes repeat while something changes, twenty at most.

mod score;

use super::depends::{self, Group, Target, Wanted};
use super::mark::{By, Marker};
use super::state::{Mode, When};
use super::universe::{Node, VersionId};

const PASSES: u32 = 20;

/// Tries to mend everything; says whether nothing is broken any more.
pub(super) fn mend(marker: &mut Marker<'_>, requested: &[Node]) -> bool {
    if marker.states.broken().is_empty() {
        return true;
    }
    let scores = score::of_all(&marker.states, requested);
    let mut order: Vec<Node> =
        marker.states.nodes().filter(|&node| marker.states.universe.versions_at(node).next().is_some()).collect();
    order.sort_by_key(|node| -scores[node.0 as usize]);
    let tried = vec![false; scores.len()];
    let mut mender = Mender { marker, scores, tried };
    for pass in 0..PASSES {
        let mut changed = false;
        for &node in &order {
            if mender.marker.states.get(node).install.is_some() && mender.marker.states.is_broken(node) {
                changed |= mender.visit(node, pass);
            }
        }
        if !changed {
            break;
        }
    }
    mender.marker.states.broken().is_empty()
}

struct Mender<'m, 'u> {
    marker: &'m mut Marker<'u>,
    scores: Vec<i32>,
    /// Packages that were installed or upgraded once to mend something: once is enough.
    tried: Vec<bool>,
}

/// What to do with a package none of whose alternatives could be mended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Remove,
    Keep,
}

/// What a look at one alternative came to.
enum Step {
    /// Nothing was changed.
    Nothing,
    /// Something was; the package is dealt with for this pass.
    Done,
    /// The package is kept back, and that is that.
    Over,
}

/// What is to give way to the package under visit.
struct Kill<'u> {
    node: Node,
    version: VersionId,
    group: Group<'u>,
}

impl<'u> Mender<'_, 'u> {
    /// Visits a broken package; says whether anything changed.
    fn visit(&mut self, node: Node, pass: u32) -> bool {
        let Some(version) = self.marker.states.get(node).install else { return false };
        let (mut changed, mut kill) = (false, Vec::new());
        for group in self.marker.states.relations(version).iter().filter(|group| group.kind.is_critical()) {
            if self.marker.states.get(node).install != Some(version) {
                break;
            }
            let before = kill.len();
            let mut last = Last::Remove;
            let is_choice = group.any_of.len() > 1;
            let mut done = false;
            for wanted in &group.any_of {
                if self.marker.states.holds(version, group, When::Install) {
                    break;
                }
                match self.alternative(node, version, group, wanted, pass, &mut kill, &mut last) {
                    Step::Nothing => {}
                    Step::Done => (changed, done) = (true, true),
                    Step::Over => return true,
                }
            }
            if self.marker.states.holds(version, group, When::Install) && !done {
                continue;
            }
            if is_choice && kill.len() == before {
                changed |= self.last_resort(node, last);
            } else if done && !is_choice {
                break;
            }
        }
        changed | self.give_way(node, kill, pass)
    }

    fn last_resort(&mut self, node: Node, last: Last) -> bool {
        match last {
            Last::Remove if self.marker.states.get(node).protected => return false,
            Last::Remove => self.marker.delete(node, 0, false),
            Last::Keep => self.marker.keep(node, 0, false),
        };
        true
    }

    #[allow(clippy::too_many_arguments, reason = "one visit's whole state")]
    fn alternative(
        &mut self,
        node: Node,
        version: VersionId,
        group: &Group<'u>,
        wanted: &Wanted<'u>,
        pass: u32,
        kill: &mut Vec<Kill<'u>>,
        last: &mut Last,
    ) -> Step {
        let universe = self.marker.states.universe;
        let (negative, is_choice) = (group.kind.is_negative(), group.any_of.len() > 1);
        let protected = self.marker.states.get(node).protected;
        let possible = depends::possible(universe, version, group, wanted);
        if possible.is_empty() && !protected && !negative {
            return self.impossible(node, is_choice, last);
        }
        for other in possible {
            let other_node = universe.node_of(other);
            if negative && self.marker.states.get(other_node).install != Some(other) {
                continue;
            }
            let held_now = self.marker.states.holds_one(version, group, wanted, When::Now);
            if self.score(node) <= self.score(other_node) || !held_now && !negative {
                if protected {
                    if self.upgrade(other_node) {
                        let limit = self.score(node);
                        let score = &mut self.scores[other_node.0 as usize];
                        *score = limit.min(*score);
                        return Step::Nothing;
                    }
                    continue;
                }
                self.yield_to(node, other_node, wanted, is_choice, pass, last);
                return Step::Done;
            }
            if group.kind == depends::Kind::Breaks && self.marker.states.holds(version, group, When::Rumoured) {
                self.marker.install(other_node, false, 0, &By::Solver(None));
                continue;
            }
            let state = self.marker.states.get(other_node);
            if state.protected && state.mode != Mode::Delete {
                continue;
            }
            kill.push(Kill { node: other_node, version, group: group.clone() });
            if !negative {
                break;
            }
        }
        Step::Nothing
    }

    /// Deals with a package that needs what nobody has.
    fn impossible(&mut self, node: Node, is_choice: bool, last: &mut Last) -> Step {
        if !self.marker.states.is_broken_now(node) {
            if is_choice {
                return Step::Nothing;
            }
            self.marker.keep(node, 0, false);
            return Step::Over;
        }
        let was_new = self.marker.states.get(node).mode == Mode::Install;
        self.marker.keep(node, 0, false);
        if !self.marker.states.is_broken(node) {
            *last = Last::Keep;
            if is_choice && was_new {
                self.marker.install(node, false, 0, &By::Solver(None));
            }
        } else if !is_choice {
            self.marker.delete(node, 0, false);
        }
        Step::Done
    }

    /// Keeps a package back for the sake of one that scores higher, or else removes it.
    fn yield_to(&mut self, node: Node, other: Node, wanted: &Wanted<'u>, is_choice: bool, pass: u32, last: &mut Last) {
        let was_new = self.marker.states.get(node).mode == Mode::Install;
        self.marker.keep(node, 0, false);
        if !self.marker.states.is_broken(node) {
            *last = Last::Keep;
            if is_choice && was_new {
                self.marker.install(node, false, 0, &By::Solver(None));
            }
            return;
        }
        if self.upgrade(node) {
            return;
        }
        if !is_choice {
            self.marker.delete(node, 0, false);
            if pass > 1 && self.score(other) > self.score(node) {
                self.scores[node.0 as usize] = self.score(other);
            }
        } else if let Target::Node(target) = wanted.target {
            self.try_instead(target);
        }
    }

    /// Tries a package not installed so far, as another way to meet what is broken.
    fn try_instead(&mut self, target: Node) {
        let state = self.marker.states.get(target);
        if state.current.is_some() || state.mode == Mode::Delete || state.candidate.is_none() {
            return;
        }
        let before = self.marker.states.broken().len();
        self.marker.install(target, true, 1, &By::Solver(None));
        if self.marker.states.is_broken(target) || self.marker.states.broken().len() > before {
            self.marker.delete(target, 1, false);
        }
    }

    /// Installs or upgrades a package if what it needs can be had the same way.
    fn upgrade(&mut self, node: Node) -> bool {
        let state = self.marker.states.get(node).clone();
        let newer = state.candidate.is_some() && state.candidate != state.current;
        if self.tried[node.0 as usize] || !newer || state.protected {
            return false;
        }
        self.tried[node.0 as usize] = true;
        if !self.marker.install(node, false, 0, &By::Solver(None)) {
            return false;
        }
        let Some(version) = self.marker.states.get(node).install else { return false };
        if self.upgrade_needs(version) {
            return true;
        }
        if state.mode == Mode::Keep {
            self.marker.keep(node, 0, false)
        } else {
            self.marker.delete(node, 0, false)
        };
        false
    }

    fn upgrade_needs(&mut self, version: VersionId) -> bool {
        for group in self.marker.states.relations(version).iter().filter(|group| group.kind.is_critical()) {
            let mut failed = false;
            for wanted in &group.any_of {
                if self.marker.states.holds(version, group, When::Install) {
                    break;
                }
                let target = self.smart_target(wanted);
                let could = self.marker.states.holds_one(version, group, wanted, When::Rumoured);
                if target.is_some_and(|node| self.marker.states.get(node).protected) {
                    failed = true;
                } else if could {
                    failed = !target.is_some_and(|node| self.upgrade(node));
                    if !failed {
                        break;
                    }
                } else if group.kind.is_negative() {
                    break;
                } else {
                    failed = true;
                }
            }
            if failed {
                return false;
            }
        }
        true
    }

    /// Returns the package behind a name: for a virtual one with a single provider, that.
    fn smart_target(&self, wanted: &Wanted<'_>) -> Option<Node> {
        let universe = self.marker.states.universe;
        let (Target::Node(node) | Target::Exact(node)) = wanted.target else { return None };
        if universe.versions_at(node).next().is_some() {
            return Some(node);
        }
        let mut providers: Vec<Node> =
            universe.provides_at(node).map(|provide| universe.node_of(provide.version)).collect();
        providers.dedup();
        providers.first().copied()
    }

    /// Lets everything on the list give way.
    fn give_way(&mut self, node: Node, kill: Vec<Kill<'u>>, pass: u32) -> bool {
        let mut changed = false;
        if self.marker.states.get(node).install.is_none() {
            return false;
        }
        for one in kill {
            let gone = if self.marker.states.holds(one.version, &one.group, When::Now) {
                self.marker.keep(one.node, 0, false)
            } else {
                one.group.kind.is_negative() && self.marker.delete(one.node, 0, false)
            };
            if (!gone || pass > 1) && self.score(node) > self.score(one.node) {
                self.scores[one.node.0 as usize] = self.score(node);
                changed = true;
            }
            changed |= gone;
        }
        changed
    }

    fn score(&self, node: Node) -> i32 {
        self.scores[node.0 as usize]
    }
}
