//! Who keeps a path that two packages ship.

use super::status::Installed;
use crate::deb::package::{Control, Stanza};
use crate::deb::relation;

/// What is asked of a package when it meets another at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimant {
    pub name: String,
    pub version: String,
    pub architecture: String,
    /// The name dpkg files it under.
    pub filed_as: String,
    multi_arch_same: bool,
    replaces: String,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Mine,
    Theirs,
    /// Instances of one package for several architectures own it together; their contents must be equal.
    Shared,
    Neither,
}

impl Claimant {
    fn new(stanza: &Stanza, filed_as: String) -> Self {
        let field = |name| stanza.get(name).unwrap_or_default().to_owned();
        Self {
            name: field("Package"),
            version: field("Version"),
            architecture: field("Architecture"),
            filed_as,
            multi_arch_same: field("Multi-Arch") == "same",
            replaces: field("Replaces"),
        }
    }

    /// Whether `Replaces` names `other` in its version.
    fn replaces(&self, other: &Self) -> bool {
        let groups = relation::parse(&self.replaces, &self.architecture).unwrap_or_default();
        groups.iter().flatten().any(|atom| atom.name == other.name && atom.accepts(&other.version))
    }

    /// Returns the place in the order in which packages count as unpacked, whichever thread was faster: `base-files`
    /// first, since it says what the tree's first directories are like, then by name.
    pub fn rank(&self) -> (bool, &str, &str) {
        (self.name != "base-files", &self.name, &self.architecture)
    }
}

impl From<&Control> for Claimant {
    fn from(control: &Control) -> Self {
        Self::new(&control.stanza, control.filed_as())
    }
}

impl From<&Installed> for Claimant {
    fn from(installed: &Installed) -> Self {
        Self::new(&installed.stanza, installed.filed_as())
    }
}

/// Decides as dpkg does; where two packages replace each other, the one that ranks later wins.
pub fn settle(mine: &Claimant, theirs: &Claimant) -> Verdict {
    let one = mine.name == theirs.name && mine.version == theirs.version;
    if one && mine.multi_arch_same && theirs.multi_arch_same {
        return Verdict::Shared;
    }
    match (mine.replaces(theirs), theirs.replaces(mine)) {
        (true, true) if mine.rank() > theirs.rank() => Verdict::Mine,
        (true, true) => Verdict::Theirs,
        (true, false) => Verdict::Mine,
        (false, true) => Verdict::Theirs,
        (false, false) => Verdict::Neither,
    }
}
