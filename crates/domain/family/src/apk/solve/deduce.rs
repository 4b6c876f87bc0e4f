//! What follows from what is chosen and wanted: choices without an alternative.

use super::state::{Because, State, Want, Who};
use super::universe::{PackageId, Provider};

/// A wanted name that nothing can stand for.
#[derive(Clone)]
pub(super) struct Conflict<'u, 'a> {
    pub name: &'a str,
    /// All as it was when that showed.
    pub state: Box<State<'u, 'a>>,
}

impl<'u, 'a> State<'u, 'a> {
    /// Chooses what has no alternative, until all that is left has one.
    pub fn deduce(&mut self) -> Result<(), Conflict<'u, 'a>> {
        while self.deduce_names()? || self.deduce_conditions() {}
        Ok(())
    }

    /// Goes through the wanted names once; those that come up on the way, too.
    fn deduce_names(&mut self) -> Result<bool, Conflict<'u, 'a>> {
        let (mut news, mut at) = (false, 0);
        while let Some(&name) = self.names.get(at) {
            at += 1;
            if self.is_met(name) {
                continue;
            }
            let candidates = self.candidates(name);
            match candidates[..] {
                [] if self.is_pending(name) => {}
                [] => return Err(Conflict { name, state: Box::new(self.clone()) }),
                [only] => {
                    self.choose(only.package, Because::Wanted(name));
                    news = true;
                }
                _ => news |= self.in_common(name, candidates),
            }
        }
        Ok(news)
    }

    /// Whether a name has a provider that somebody else may yet choose.
    pub fn is_pending(&self, name: &str) -> bool {
        self.universe.providers(name).iter().any(|one| {
            !self.universe.is_selectable(*one)
                && self.against(one.package, 0).is_none()
                && self.wants(name).iter().all(|want| self.universe.fits(*one, &want.atom))
        })
    }

    /// Wants what all candidates need.
    fn in_common(&mut self, name: &str, mut candidates: Vec<Provider<'a>>) -> bool {
        self.rank(name, &mut candidates);
        let [best, others @ ..] = &candidates[..] else { return false };
        let universe = self.universe;
        let needs = |other: &Provider<'a>, atom| universe.package(other.package).depends.contains(atom);
        let common = universe.package(best.package).depends.iter().filter(|atom| !atom.conflict);
        let common = common.filter(|atom| others.iter().all(|other| needs(other, atom)));
        let mut news = false;
        for &atom in common {
            let known = self.wants(atom.name).iter().any(|want| want.atom == atom);
            news |= !known && self.say(Want { atom, by: Who::Package(best.package) });
            for tag in self.tags(name).to_vec() {
                self.add_tag(atom.name, tag);
            }
        }
        news
    }

    /// Chooses packages whose `install_if` holds, the best version of each, unless that leads nowhere.
    fn deduce_conditions(&mut self) -> bool {
        let mut held: Vec<PackageId> = Vec::new();
        for &package in &self.universe.conditional {
            if self.universe.package(package).install_if.iter().all(|atom| self.holds(atom)) {
                held.push(package);
            }
        }
        let mut held: Vec<_> = held.into_iter().filter(|&one| self.is_open(one)).collect();
        held.iter().for_each(|&package| self.inherit(package));
        held.retain(|&package| self.against(package, 1).is_none());
        let Some(&first) = held.first() else { return false };
        let package = self.best(&held, first);
        let mut tried = self.clone();
        tried.choose(package, Because::InstallIf);
        match tried.deduce_names() {
            Ok(_) => *self = tried,
            Err(_) => drop(self.banned.insert(package)),
        }
        true
    }

    fn is_open(&self, package: PackageId) -> bool {
        !self.is_chosen(package) && !self.banned.contains(&package)
    }

    /// What brings a package lets its repositories serve that, too.
    fn inherit(&mut self, package: PackageId) {
        let universe = self.universe;
        let own = universe.package(package);
        for atom in own.install_if.iter().filter(|atom| !atom.conflict) {
            for tag in self.tags(atom.name).to_vec() {
                self.add_tag(own.entry.name, tag);
            }
        }
    }

    /// Returns the best of those with the same name as `first`.
    fn best(&self, held: &[PackageId], first: PackageId) -> PackageId {
        let name = self.universe.package(first).entry.name;
        let same = held.iter().filter(|&&one| self.universe.package(one).entry.name == name);
        let provider =
            |&package: &PackageId| Provider { package, version: Some(self.universe.package(package).entry.version) };
        let mut same: Vec<Provider<'a>> = same.map(provider).collect();
        self.rank(name, &mut same);
        same[0].package
    }
}
