//! Which packages to install: apt's answer, with a reason for every package.
//!
//! What comes out is not *a* solution of the dependencies but the one that apt's greedy procedure happens to find:
//!
//! 1. `candidate`: the one version of each package that would be installed.
//! 2. `mark`: a relation is met by the first of its alternatives that can be installed (`providers` orders them, with `order` for
//!    the last resort); what was asked for is protected, and so is the only way to it; what an attempt changed stays changed.
//! 3. `mend`: where something is left broken, scores decide what gives way.
//! 4. `sweep`: what nobody needs in the end is taken back.
//!
//! The base is one such run, what a recipe includes a second one upon it (`answer`). Relations are read only of versions that
//! are looked at (`depends`, `state`), so that an answer costs milliseconds once the lists are scanned (`universe`).

use crate::lock::Locked;

use super::packages;

mod answer;
mod ask;
mod candidate;
mod depends;
mod explain;
mod mark;
mod mend;
mod nearest;
mod order;
mod providers;
mod reason;
mod state;
mod sweep;
mod universe;
mod words;

pub use answer::solve;
pub use ask::{misnamed, vain};
pub use nearest::did_you_mean;
pub use reason::{Kind, Reason, Unsatisfiable};
pub use universe::{Repository, Source, Universe, VersionId};

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    pub base: Base,
    /// `pkg`, `pkg=version`, `pkg/suite`, `pkg:arch`, `task^`.
    pub include: Vec<String>,
    /// Names of packages that must never be installed.
    pub exclude: Vec<String>,
    /// Whether recommended packages come along (never for the base).
    pub recommends: bool,
    /// Packages of a tree that exists already.
    pub installed: Vec<Pin>,
    /// Versions to prefer where they still exist: those of an older lock, except what is to be updated.
    pub prefer: Vec<Pin>,
}

/// A package at a version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pin {
    pub name: String,
    pub architecture: String,
    pub version: String,
}

impl From<&Locked> for Pin {
    fn from(locked: &Locked) -> Self {
        Self { name: locked.name.clone(), architecture: locked.architecture.clone(), version: locked.version.clone() }
    }
}

/// Returns what to prefer so that an older lock's packages stay, except those to be updated.
pub fn keeping(old: &[Locked], update: &[String]) -> Vec<Pin> {
    old.iter().filter(|locked| !update.contains(&locked.name)).map(Pin::from).collect()
}

/// What a tree starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Base {
    /// Nothing: only what is included, and what that needs.
    #[default]
    Empty,
    /// `Essential: yes`.
    Essential,
    /// The above, `Priority: required` and apt.
    Minbase,
    /// The above and `Priority: important`.
    Important,
    /// The above and `Priority: standard`.
    Standard,
}

/// apt's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Solution {
    /// In the order in which they were decided.
    pub packages: Vec<Chosen>,
}

/// One package of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    pub version: VersionId,
    /// Whether it belongs to the base set.
    pub base: bool,
    /// Whether it was already installed.
    pub installed: bool,
    pub why: Why,
}

/// What brought a package in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is part of the base, as in `essential`, `priority required`.
    Base(&'static str),
    /// The recipe names it; the word is the recipe's.
    Asked(String),
    /// It was there before.
    Installed,
    /// Another package needs it: `Depends`, `Pre-Depends` or `Recommends`.
    Needed { by: VersionId, field: &'static str },
}

impl Solution {
    /// Returns the packages in the form of a lock, by name.
    pub fn locked(&self, universe: &Universe) -> Result<Vec<Locked>, packages::Error> {
        let mut locked: Vec<Locked> =
            self.packages.iter().map(|chosen| universe.locked(chosen)).collect::<Result<_, _>>()?;
        locked.sort_by(|a, b| (&a.name, &a.architecture).cmp(&(&b.name, &b.architecture)));
        Ok(locked)
    }
}
