//! Choices among candidates, and taking them back.

use super::deduce::Conflict;
use super::explain::{self, Unsatisfiable};
use super::state::{Because, State};
use super::universe::Universe;
use crate::apk::relation::Atom;

/// Choices that may be tried before the search gives up; an archive needs a few dozen.
const TRIES: usize = 5_000;

/// Finds the best state in which all that is wanted is met.
pub(super) fn search<'u, 'a>(universe: &'u Universe<'a>, world: &[Atom<'a>]) -> Result<State<'u, 'a>, Unsatisfiable> {
    let mut start = State::new(universe, world);
    loop {
        let state = settle(start.clone()).map_err(|conflict| explain::explain(&conflict))?;
        let late = |package: &_| !universe.package(*package).install_if.iter().all(|atom| still(&state, atom));
        // What came by a condition that a later choice took away must not come.
        match state.by_install_if().filter(late).min() {
            Some(package) if start.banned.insert(package) => {}
            _ => return Ok(state),
        }
    }
}

fn still(state: &State<'_, '_>, atom: &Atom<'_>) -> bool {
    let met = state.providing(atom.name).iter().any(|one| state.universe.fits(*one, atom));
    met != atom.conflict
}

fn settle<'u, 'a>(mut start: State<'u, 'a>) -> Result<State<'u, 'a>, Conflict<'u, 'a>> {
    start.deduce()?;
    let (mut stack, mut first) = (vec![Branch::new(start)], None);
    for _ in 0..TRIES {
        let Some(branch) = stack.last_mut() else { break };
        let Some(name) = branch.open else { return branch.finish() };
        let Some(package) = branch.choices.pop() else {
            stack.pop();
            continue;
        };
        let mut state = branch.state.clone();
        state.choose(package, Because::Wanted(name));
        match state.deduce() {
            Ok(()) => stack.push(Branch::new(state)),
            Err(conflict) => {
                branch.state.banned.insert(package);
                first.get_or_insert(conflict);
            }
        }
    }
    Err(first.or_else(|| stack.pop().map(Branch::give_up)).expect("the last branch is left by a conflict"))
}

/// A state with the choices that are left for one name of it.
struct Branch<'u, 'a> {
    state: State<'u, 'a>,
    open: Option<&'a str>,
    /// The best is the last.
    choices: Vec<super::universe::PackageId>,
}

impl<'u, 'a> Branch<'u, 'a> {
    /// Opens the first name that is not met and may be; virtual names come last, when somebody else may have met them.
    fn new(state: State<'u, 'a>) -> Self {
        let unmet = || state.names.iter().copied().filter(|name| !state.is_met(name));
        let real = unmet().filter(|name| !state.universe.is_virtual(name));
        let open = real.chain(unmet()).find(|name| !state.candidates(name).is_empty());
        let mut candidates = open.map(|name| state.candidates(name)).unwrap_or_default();
        open.iter().for_each(|name| state.rank(name, &mut candidates));
        let choices = candidates.iter().rev().map(|one| one.package).collect();
        Self { state, open, choices }
    }

    /// Blames the open name when there were too many choices.
    fn give_up(self) -> Conflict<'u, 'a> {
        Conflict { name: self.open.unwrap_or_default(), state: Box::new(self.state) }
    }

    /// Ends the search; names that only a person can choose for are left over.
    fn finish(&self) -> Result<State<'u, 'a>, Conflict<'u, 'a>> {
        match self.state.names.iter().find(|name| !self.state.is_met(name)) {
            Some(name) => Err(Conflict { name, state: Box::new(self.state.clone()) }),
            None => Ok(self.state.clone()),
        }
    }
}
