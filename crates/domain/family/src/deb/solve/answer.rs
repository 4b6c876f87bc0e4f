//! From a request to its answer: first the base, then what is included, each as one run of apt would be.

use std::collections::{HashMap, HashSet};

use super::candidate::{self, Wishes};
use super::depends::Kind;
use super::mark::{By, Marker};
use super::order::Order;
use super::state::{States, When};
use super::sweep::sweep;
use super::universe::{Node, Universe, VersionId};
use super::words::{self, Wish};
use super::{Base, Chosen, Reason, Request, Solution, Unsatisfiable, Why, explain, mend};

/// Finds apt's answer.
///
/// Preferred versions that stand in the way of an answer are let go, and only those.
pub fn solve(universe: &Universe, request: &Request) -> Result<Solution, Unsatisfiable> {
    let mut request = request.clone();
    loop {
        let error = match attempt(universe, &request) {
            Ok(solution) => return Ok(solution),
            Err(error) => error,
        };
        let before = request.prefer.len();
        request.prefer.retain(|pin| !error.blamed.contains(&pin.name));
        match (before, request.prefer.len()) {
            (0, _) => return Err(error),
            (before, after) if before == after => request.prefer.clear(),
            _ => {}
        }
    }
}

fn attempt(universe: &Universe, request: &Request) -> Result<Solution, Unsatisfiable> {
    let installed = installed(universe, request)?;
    let mut answer: HashMap<Node, Chosen> = HashMap::new();
    let mut decided = Vec::new();
    for &version in &installed {
        let chosen = Chosen { version, base: false, installed: true, why: Why::Installed };
        decided.push(universe.node_of(version));
        answer.insert(universe.node_of(version), chosen);
    }
    if request.base != Base::Empty {
        let run = Run { universe, request, recommends: false, base: true };
        run.extend(&mut answer, &mut decided, |marker| base_wishes(marker, request))?;
    }
    if !request.include.is_empty() {
        let run = Run { universe, request, recommends: request.recommends, base: false };
        run.extend(&mut answer, &mut decided, |marker| included_wishes(marker, request))?;
    }
    let mut seen = HashSet::new();
    let packages =
        decided.into_iter().filter(|node| seen.insert(*node)).filter_map(|node| answer.remove(&node)).collect();
    Ok(Solution { packages })
}

/// Finds the versions of the tree that exists already.
fn installed(universe: &Universe, request: &Request) -> Result<Vec<VersionId>, Unsatisfiable> {
    let mut found = Vec::new();
    let mut reasons = Vec::new();
    for pin in &request.installed {
        let slot = if pin.architecture == "all" {
            Some(0)
        } else {
            universe.architectures().iter().position(|a| a.debian() == pin.architecture)
        };
        let node = slot.and_then(|slot| universe.node_in_slot(&pin.name, slot));
        match node.and_then(|node| universe.versions_at(node).find(|&one| universe.version(one) == pin.version)) {
            Some(version) => found.push(version),
            None => reasons
                .push(Reason::unmet(format!("the installed `{}` {} is in no repository", pin.name, pin.version), None)),
        }
    }
    if reasons.is_empty() { Ok(found) } else { Err(Unsatisfiable::new(reasons)) }
}

/// A wish with the reason to tell.
type Wanted = (Wish, Why);

fn base_wishes(marker: &Marker<'_>, request: &Request) -> Result<Vec<Wanted>, Unsatisfiable> {
    let (states, universe) = (&marker.states, marker.states.universe);
    let excluded = |version: VersionId| request.exclude.iter().any(|name| name == universe.name(version));
    let candidates =
        states.nodes().filter(|&node| universe.slot(node) == 0).filter_map(|node| states.get(node).candidate);
    let wishes: Vec<Wanted> = candidates
        .filter(|&version| !excluded(version))
        .filter_map(|version| {
            Some((Wish { version, suite: None }, Why::Base(base_reason(universe, version, request.base)?)))
        })
        .collect();
    if wishes.is_empty() {
        let hint = Some("name a repository with the distribution's `main`".to_owned());
        let reason = Reason::unmet("the repositories hold no base packages for this architecture", hint);
        return Err(Unsatisfiable::new(vec![reason]));
    }
    Ok(wishes)
}

fn base_reason(universe: &Universe, version: VersionId, base: Base) -> Option<&'static str> {
    let head = universe.head(version);
    let deepest = match base {
        Base::Empty | Base::Essential => 0,
        Base::Minbase => 1,
        Base::Important => 2,
        Base::Standard => 3,
    };
    match head.priority {
        _ if head.essential => Some("essential"),
        1 if deepest >= 1 => Some("priority required"),
        2 if deepest >= 2 => Some("priority important"),
        3 if deepest >= 3 => Some("priority standard"),
        _ if deepest >= 1 && universe.name(version) == "apt" => Some("package manager"),
        _ => None,
    }
}

fn included_wishes(marker: &Marker<'_>, request: &Request) -> Result<Vec<Wanted>, Unsatisfiable> {
    let (mut wishes, mut reasons): (Vec<Wanted>, _) = (Vec::new(), Vec::new());
    for word in &request.include {
        match words::look_up(&marker.states, word) {
            Ok(found) => wishes.extend(found.into_iter().map(|wish| (wish, Why::Asked(word.clone())))),
            Err(reason) => reasons.push(reason.about(word)),
        }
    }
    let mut seen = HashSet::new();
    wishes.retain(|(wish, _)| seen.insert(wish.version));
    if reasons.is_empty() { Ok(wishes) } else { Err(Unsatisfiable::new(reasons)) }
}

/// One run of apt.
struct Run<'a> {
    universe: &'a Universe,
    request: &'a Request,
    recommends: bool,
    base: bool,
}

impl<'a> Run<'a> {
    fn extend(
        &self,
        answer: &mut HashMap<Node, Chosen>,
        decided: &mut Vec<Node>,
        wishes: impl FnOnce(&Marker<'a>) -> Result<Vec<Wanted>, Unsatisfiable>,
    ) -> Result<(), Unsatisfiable> {
        let bent =
            Wishes { exclude: self.request.exclude.iter().map(String::as_str).collect(), prefer: &self.request.prefer };
        let mut marker = self.start(answer, &bent);
        let wishes = wishes(&marker)?;
        mark(&mut marker, &wishes);
        let requested: Vec<Node> = wishes.iter().map(|(wish, _)| self.universe.node_of(wish.version)).collect();
        if !mend::mend(&mut marker, &requested) {
            return Err(explain::broken(&marker, &marker.states.broken(), &bent));
        }
        sweep(&mut marker);
        decided.extend(&marker.states.decided);
        self.take(&marker, answer, decided);
        Ok(())
    }

    fn start(&self, answer: &HashMap<Node, Chosen>, bent: &Wishes<'_>) -> Marker<'a> {
        let mut states = States::new(self.universe, self.recommends);
        let mut there: Vec<VersionId> = answer.values().map(|chosen| chosen.version).collect();
        there.sort_unstable();
        there.into_iter().for_each(|version| states.set_installed(version));
        for node in states.nodes() {
            let current = states.get(node).current;
            let candidate = candidate::choose(self.universe, node, current, bent);
            states.set_candidate(node, candidate);
        }
        Marker { states, order: Order::default() }
    }

    /// Takes over what the run came to.
    fn take(&self, marker: &Marker<'_>, answer: &mut HashMap<Node, Chosen>, decided: &mut Vec<Node>) {
        answer.retain(|&node, _| marker.states.get(node).install.is_some());
        for node in marker.states.installed() {
            let version = marker.states.get(node).install.expect("just listed");
            let known = answer.get(&node);
            if known.is_some_and(|known| known.version == version) {
                continue;
            }
            let base = self.base || known.is_some_and(|known| known.base);
            let why = marker.states.why.get(&node).cloned().unwrap_or(Why::Installed);
            answer.insert(node, Chosen { version, base, installed: false, why });
            decided.push(node);
        }
    }
}

fn mark(marker: &mut Marker<'_>, wishes: &[Wanted]) {
    let universe = marker.states.universe;
    for (wish, why) in wishes {
        let node = universe.node_of(wish.version);
        marker.states.set_candidate(node, Some(wish.version));
        marker.states.get_mut(node).protected = true;
        marker.install(node, false, 0, &By::Request(why.clone()));
    }
    for (wish, _) in wishes {
        if let Some(suite) = &wish.suite {
            switch_suite(marker, wish.version, suite, 0);
        }
    }
    let mut later: Vec<(Node, &Why)> = wishes.iter().map(|(wish, why)| (universe.node_of(wish.version), why)).collect();
    // The members of a base need each other and little else: no order among them changes the answer, and ranks cost time.
    let is_base = wishes.iter().all(|(_, why)| matches!(why, Why::Base(_)));
    if later.len() > 1 && !is_base {
        later.sort_by_cached_key(|(node, _)| marker.order.rank(universe, *node));
    }
    for (node, why) in later {
        marker.install(node, true, 0, &By::Request(why.clone()));
    }
}

/// Moves candidates to a suite where a version taken from there needs it (`pkg/suite`).
fn switch_suite(marker: &mut Marker<'_>, version: VersionId, suite: &str, depth: u32) {
    if depth > 100 {
        return;
    }
    let universe = marker.states.universe;
    for group in marker.states.relations(version).iter() {
        let positive = matches!(group.kind, Kind::PreDepends | Kind::Depends | Kind::Recommends);
        if !positive || marker.states.holds(version, group, When::Candidate) {
            continue;
        }
        let mut ways =
            group.any_of.iter().flat_map(|wanted| super::depends::possible(universe, version, group, wanted));
        if let Some(way) = ways.find(|&way| words::is_from(universe, way, suite)) {
            marker.states.set_candidate(universe.node_of(way), Some(way));
            switch_suite(marker, way, suite, depth + 1);
        }
    }
}
