//! The world solver: what apk would install into an empty tree, in which order, and why.
//!
//! What must hold (apk-package(5), apk-world(5)):
//!
//! - every atom of the world and of a chosen package is met by a chosen package; no `!atom` is;
//! - a name provided with a version has one owner; a name provided without may have many providers;
//! - a provider without a version is chosen by itself only where it has a `provider_priority`;
//! - tagged repositories serve the names that the world tags and what those need;
//! - a package whose `install_if` holds comes along, unless something else speaks against it.
//!
//! How: what has one answer only is chosen until nothing has ([`deduce`]); then the best candidate of the first open name is
//! ([`rank`]), and so on. A choice that fails is taken back. Why not resolvo: docs/adr/0007.

mod candidates;
mod deduce;
mod explain;
mod order;
mod rank;
mod search;
mod state;
mod universe;

use std::collections::BTreeSet;

use super::index::{Entry, Index};
use super::relation::{Atom, NotARelation};

pub use explain::{Problem, Unsatisfiable};
use universe::{PackageId, Universe};

/// Tables whose order is the same each time.
type Map<K, V> = hashbrown::HashMap<K, V, foldhash::fast::FixedState>;
type Set<K> = hashbrown::HashSet<K, foldhash::fast::FixedState>;

/// A package list and where it came from.
#[derive(Clone, Debug)]
pub struct Repository {
    /// The name that answers refer to.
    pub name: String,
    /// `@tag`: for packages that the world tags so, and what they need.
    pub tag: Option<String>,
    pub index: Index,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The world's atoms.
    pub world: &'a [String],
    /// Names and versions to keep where they still exist, as a lock has them.
    pub keep: &'a [(String, String)],
    /// The architecture of the tree as apk calls it; `noarch` always fits.
    pub arch: &'a str,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Solution<'a> {
    /// In the order of their installation.
    pub packages: Vec<Chosen<'a>>,
}

/// A package of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen<'a> {
    pub entry: Entry<'a>,
    /// Name of the first repository that has it and may serve it.
    pub repository: &'a str,
    /// That repository's tag.
    pub tag: Option<&'a str>,
    pub why: Why,
}

/// Why a package is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The world names it, with this atom.
    World(String),
    /// A package (`name-version`) needs it, with this atom.
    Needed { by: String, atom: String },
    /// Its `install_if` holds.
    InstallIf(Vec<String>),
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::World(atom) => write!(f, "`{atom}` in the world"),
            Self::Needed { by, atom } => write!(f, "`{by}` needs `{atom}`"),
            Self::InstallIf(atoms) => write!(f, "installed with `{}`", atoms.join("` and `")),
        }
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error(transparent)]
    World(#[from] NotARelation),
    #[error(transparent)]
    Unsatisfiable(#[from] Unsatisfiable),
}

impl From<Error> for kiln_model::Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::World(error) => Self::recipe(error.to_string()),
            Error::Unsatisfiable(error) => error.into(),
        }
    }
}

/// Returns what apk would install.
pub fn solve<'a>(repositories: &'a [Repository], request: &Request<'a>) -> Result<Solution<'a>, Error> {
    let mut world = request.world.iter().map(|text| Atom::parse_world(text)).collect::<Result<Vec<_>, _>>()?;
    world.sort_by_key(|atom| atom.name);
    let universe = Universe::new(repositories, request);
    explain::check_names(&universe, &world)?;
    let state = search::search(&universe, &world)?;
    let order = order::install_order(&universe, &state, &world);
    let packages = order.into_iter().map(|package| chosen(&universe, &state, package)).collect();
    Ok(Solution { packages })
}

impl Solution<'_> {
    /// Returns which packages the atoms of `world` alone would bring, by their places in the answer.
    pub fn closure(&self, world: &[String]) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        world.iter().filter_map(|text| Atom::parse_world(text).ok()).for_each(|atom| self.reach(&atom, &mut found));
        // A package that comes by its conditions may meet another's.
        loop {
            let holds = |atom: &Atom<'_>| found.iter().any(|&at| self.provides(at, atom)) != atom.conflict;
            let met = |atom: &&str| Atom::parse(atom).is_ok_and(|atom| holds(&atom));
            let brought = (0..self.packages.len()).find(|at| {
                let conditions = &self.packages[*at].entry.install_if;
                !found.contains(at) && !conditions.is_empty() && conditions.iter().all(met)
            });
            let Some(brought) = brought else { return found };
            self.enter(brought, &mut found);
        }
    }

    fn reach(&self, atom: &Atom<'_>, found: &mut BTreeSet<usize>) {
        let places = || 0..self.packages.len();
        let own = places().find(|&at| self.packages[at].entry.name == atom.name);
        if let Some(at) = own.or_else(|| places().find(|&at| self.provides(at, atom))).filter(|_| !atom.conflict) {
            self.enter(at, found);
        }
    }

    fn enter(&self, at: usize, found: &mut BTreeSet<usize>) {
        if found.insert(at) {
            let depends = self.packages[at].entry.depends.iter().filter_map(|text| Atom::parse(text).ok());
            depends.for_each(|atom| self.reach(&atom, found));
        }
    }

    fn provides(&self, at: usize, atom: &Atom<'_>) -> bool {
        let entry = &self.packages[at].entry;
        let mut provided = entry.provides.iter().filter_map(|text| Atom::parse(text).ok());
        let itself = entry.name == atom.name && atom.positive().accepts(Some(entry.version));
        itself || provided.any(|provided| provided.name == atom.name)
    }
}

fn chosen<'a>(universe: &Universe<'a>, state: &state::State<'_, 'a>, package: PackageId) -> Chosen<'a> {
    let repository = state.repository(package);
    Chosen {
        entry: universe.package(package).entry.clone(),
        repository: &repository.name,
        tag: repository.tag.as_deref(),
        why: state.why(package),
    }
}
