//! Which packages may still be chosen, and what speaks against the others.

use super::state::{State, Want, Who};
use super::universe::{Dead, PackageId, Provider};
use crate::apk::relation::Atom;

/// What speaks against a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Against<'a> {
    Dead(Dead),
    /// No repository that may serve it has it; those that have it carry these tags.
    Masked(Vec<&'a str>),
    /// It is not what is wanted of one of its names, or it is forbidden.
    Breaks(Want<'a>),
    /// It forbids a chosen package.
    Forbids(PackageId, Atom<'a>),
    /// A chosen package has one of its names.
    Owned(PackageId, &'a str),
    /// Nothing that may still be chosen meets an atom of it.
    Needs(Atom<'a>),
    /// Choosing it leads to a contradiction.
    Fails,
}

impl<'a> State<'_, 'a> {
    /// Returns the providers of a wanted name that may still be chosen.
    pub fn candidates(&self, name: &str) -> Vec<Provider<'a>> {
        let providers = self.universe.providers(name).iter().copied();
        providers.filter(|one| self.may_stand(*one, name) && self.against(one.package, 1).is_none()).collect()
    }

    /// Whether a provider is what is wanted of a name.
    pub fn may_stand(&self, provider: Provider<'a>, name: &str) -> bool {
        (self.universe.is_selectable(provider))
            && self.wants(name).iter().all(|want| self.universe.fits(provider, &want.atom))
    }

    /// Returns the first thing that speaks against a package; its own needs are looked at so many levels down.
    pub fn against(&self, package: PackageId, depth: usize) -> Option<Against<'a>> {
        if self.is_chosen(package) {
            return None;
        }
        let own = self.universe.package(package);
        if let Some(dead) = &own.dead {
            return Some(Against::Dead(dead.clone()));
        }
        if !self.is_served(package) {
            return Some(Against::Masked(own.repositories.iter().filter_map(|one| one.tag.as_deref()).collect()));
        }
        if self.banned.contains(&package) {
            return Some(Against::Fails);
        }
        self.broken(package).or_else(|| self.forbidding(package)).or_else(|| self.unmet(package, depth))
    }

    /// What of the wanted, the forbidden and the chosen does its names break?
    fn broken(&self, package: PackageId) -> Option<Against<'a>> {
        for &(name, version) in &self.universe.package(package).provides {
            let own = Provider { package, version };
            let unwanted = |want: &&Want<'a>| version.is_some() && !self.universe.fits(own, &want.atom);
            let forbidden =
                |want: &&Want<'a>| want.by != Who::Package(package) && self.universe.fits(own, &want.atom.positive());
            let breaks = self.wants(name).iter().find(unwanted).or_else(|| self.forbids(name).iter().find(forbidden));
            if let Some(want) = breaks {
                return Some(Against::Breaks(*want));
            }
            let clash =
                |other: &&Provider<'a>| other.package != package && (version.is_some() || other.version.is_some());
            if let Some(other) = self.providing(name).iter().find(clash) {
                return Some(Against::Owned(other.package, name));
            }
        }
        None
    }

    fn forbidding(&self, package: PackageId) -> Option<Against<'a>> {
        let forbids = self.universe.package(package).depends.iter().filter(|atom| atom.conflict);
        forbids.into_iter().find_map(|atom| {
            let fits = |one: &&Provider<'a>| one.package != package && self.universe.fits(**one, atom);
            self.providing(atom.name).iter().find(fits).map(|one| Against::Forbids(one.package, *atom))
        })
    }

    fn unmet(&self, package: PackageId, depth: usize) -> Option<Against<'a>> {
        if depth == 0 {
            return None;
        }
        let needs = self.universe.package(package).depends.iter().filter(|atom| !atom.conflict);
        let tags = self.tags_of(package);
        needs.into_iter().find(|atom| !self.can_meet(package, atom, &tags, depth - 1)).map(|atom| Against::Needs(*atom))
    }

    /// Whether something may still meet an atom. Repositories are left out of account: a choice may yet let them serve.
    fn can_meet(&self, asking: PackageId, atom: &Atom<'a>, tags: &[&str], depth: usize) -> bool {
        let mut providers = self.universe.providers(atom.name).iter();
        providers.any(|one| {
            one.package == asking
                || self.universe.fits(*one, atom)
                    && match self.against(one.package, depth) {
                        None => true,
                        Some(Against::Masked(own)) => own.iter().any(|tag| tags.contains(tag)),
                        Some(_) => false,
                    }
        })
    }
}
