//! Why there is no answer, in words: who wants what, and what speaks against each package that has the name.

use kiln_model::Fault;

use super::candidates::Against;
use super::deduce::Conflict;
use super::state::{State, Want, Who};
use super::universe::{Dead, PackageId, Universe};
use crate::apk::relation::Atom;
use crate::deb::solve::did_you_mean;

/// A world that cannot be.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{}", .problems.iter().map(|problem| problem.text.as_str()).collect::<Vec<_>>().join("; "))]
pub struct Unsatisfiable {
    pub problems: Vec<Problem>,
}

/// One thing that cannot be, and a way out where one is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub text: String,
    pub hint: Option<String>,
}

impl From<Unsatisfiable> for Fault {
    fn from(error: Unsatisfiable) -> Self {
        let hints: Vec<&str> = error.problems.iter().filter_map(|problem| problem.hint.as_deref()).collect();
        let fault = Self::recipe(error.to_string());
        if hints.is_empty() { fault } else { fault.hint(hints.join("; ")) }
    }
}

/// How many packages of a name are spoken of.
const TOLD: usize = 4;

/// Looks for names of the world that nothing has: all of them are told at once.
pub(super) fn check_names(universe: &Universe<'_>, world: &[Atom<'_>]) -> Result<(), Unsatisfiable> {
    let unknown = world.iter().filter(|atom| !atom.conflict && universe.providers(atom.name).is_empty());
    let problems: Vec<Problem> =
        unknown.map(|atom| no_such(universe, atom.name, &format!("`{atom}` by the world"))).collect();
    if problems.is_empty() { Ok(()) } else { Err(Unsatisfiable { problems }) }
}

fn no_such(universe: &Universe<'_>, name: &str, wanted: &str) -> Problem {
    Problem {
        text: format!("there is no package `{name}`, which is wanted as {wanted}"),
        hint: did_you_mean(name, universe.names()),
    }
}

pub(super) fn explain(conflict: &Conflict<'_, '_>) -> Unsatisfiable {
    let (state, name) = (&*conflict.state, conflict.name);
    let wanted = sentence(state.wants(name).iter().map(|want| said(state.universe, want)).collect());
    let providers = state.universe.providers(name);
    let problem = if providers.is_empty() {
        no_such(state.universe, name, &wanted)
    } else if state.is_pending(name) {
        virtual_name(state, name, &wanted)
    } else {
        nothing_fits(state, name, &wanted)
    };
    Unsatisfiable { problems: vec![problem] }
}

fn virtual_name(state: &State<'_, '_>, name: &str, wanted: &str) -> Problem {
    let mut names: Vec<&str> =
        state.universe.providers(name).iter().map(|one| state.universe.package(one.package).entry.name).collect();
    names.dedup();
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    Problem {
        text: format!("`{name}` is a virtual package, wanted as {wanted}"),
        hint: Some(format!("name one that provides it: {}", names.join(", "))),
    }
}

fn nothing_fits(state: &State<'_, '_>, name: &str, wanted: &str) -> Problem {
    let against = |package: PackageId| {
        let shown = state.universe.package(package).shown();
        let why = state.against(package, 1);
        why.map(|why| format!("`{shown}` {}", reason(state, package, &why)))
    };
    let mut reasons: Vec<String> = Vec::new();
    for one in state.universe.providers(name) {
        reasons.extend(against(one.package).filter(|reason| !reasons.contains(reason)));
    }
    reasons.truncate(TOLD);
    let owner = state.providing(name).first();
    reasons.extend(owner.map(|one| format!("`{}` is to be installed", state.universe.package(one.package).shown())));
    let masked = state.universe.providers(name).iter().find_map(|one| match state.against(one.package, 0) {
        Some(Against::Masked(tags)) => tags.first().map(|tag| format!("write `{name}@{tag}` to allow that repository")),
        _ => None,
    });
    Problem { text: format!("nothing fits `{name}`, wanted as {wanted}: {}", reasons.join(", ")), hint: masked }
}

fn reason(state: &State<'_, '_>, package: PackageId, against: &Against<'_>) -> String {
    let universe = state.universe;
    match against {
        Against::Dead(Dead::Arch) => format!("is for `{}`", universe.package(package).entry.arch),
        Against::Dead(Dead::Broken(error)) => format!("is broken: {error}"),
        Against::Dead(Dead::Itself(name)) => format!("conflicts with itself: it provides `{name}` twice"),
        Against::Dead(Dead::Missing(atom)) => format!("needs `{atom}`, which nothing meets"),
        Against::Masked(tags) => format!("is only in @{}", tags.join(", @")),
        Against::Breaks(want) => format!("breaks {}", said(universe, want)),
        Against::Forbids(other, atom) => format!("forbids `{}` by `{atom}`", universe.package(*other).shown()),
        Against::Owned(other, name) => {
            format!("conflicts with `{}`, which has `{name}`", universe.package(*other).shown())
        }
        Against::Needs(atom) => format!("needs `{atom}`{}", deeper(state, atom)),
        Against::Fails => "leads to another conflict".to_owned(),
    }
}

/// Says what speaks against the packages that an atom asks for.
fn deeper(state: &State<'_, '_>, atom: &Atom<'_>) -> String {
    let fitting = state.universe.providers(atom.name).iter().filter(|one| state.universe.fits(**one, atom));
    let reasons: Vec<String> = fitting
        .filter_map(|one| {
            let why = state.against(one.package, 0)?;
            Some(format!("`{}` {}", state.universe.package(one.package).shown(), reason(state, one.package, &why)))
        })
        .take(TOLD)
        .collect();
    if reasons.is_empty() { String::new() } else { format!(", but {}", reasons.join(" and ")) }
}

fn said(universe: &Universe<'_>, want: &Want<'_>) -> String {
    match want.by {
        Who::World => format!("`{}` by the world", want.atom),
        Who::Package(package) => format!("`{}` by `{}`", want.atom, universe.package(package).shown()),
    }
}

fn sentence(mut parts: Vec<String>) -> String {
    parts.dedup();
    match parts.pop() {
        Some(last) if parts.is_empty() => last,
        Some(last) => format!("{} and {last}", parts.join(", ")),
        None => "nothing".to_owned(),
    }
}
