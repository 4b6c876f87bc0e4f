//! The order of installation: what a package needs (or forbids, in another version) comes before it, the world is gone through by
//! name, and a package with `install_if` comes as soon as that holds.

use super::Set;
use super::state::State;
use super::universe::{PackageId, Universe};
use crate::apk::relation::Atom;

pub(super) fn install_order(universe: &Universe<'_>, state: &State<'_, '_>, world: &[Atom<'_>]) -> Vec<PackageId> {
    let mut conditional: Vec<PackageId> =
        state.chosen().filter(|&one| !universe.package(one).install_if.is_empty()).collect();
    conditional.sort_unstable();
    let mut walk = Walk { universe, state, conditional, entered: Set::default(), order: Vec::new() };
    world.iter().for_each(|atom| walk.meet(atom));
    // A condition that held by what came later still, or a circle.
    let mut rest: Vec<PackageId> = state.chosen().collect();
    rest.sort_unstable();
    rest.into_iter().for_each(|package| walk.visit(package));
    walk.order
}

struct Walk<'w, 'u, 'a> {
    universe: &'w Universe<'a>,
    state: &'w State<'u, 'a>,
    conditional: Vec<PackageId>,
    entered: Set<PackageId>,
    order: Vec<PackageId>,
}

impl Walk<'_, '_, '_> {
    /// Visits who stands for an atom; what a condition brought waits for that, if somebody else does.
    fn meet(&mut self, atom: &Atom<'_>) {
        let state = self.state;
        let standing: Vec<PackageId> = state.providing(atom.name).iter().map(|one| one.package).collect();
        let (brought, own): (Vec<_>, Vec<_>) = standing.into_iter().partition(|&one| state.is_brought(one));
        let standing = if own.is_empty() { brought } else { own };
        standing.into_iter().for_each(|package| self.visit(package));
    }

    fn visit(&mut self, package: PackageId) {
        if !self.entered.insert(package) {
            return;
        }
        let universe = self.universe;
        universe.package(package).depends.iter().for_each(|atom| self.meet(atom));
        self.order.push(package);
        self.brought_by(package);
    }

    /// Visits the packages whose last condition a package was.
    fn brought_by(&mut self, package: PackageId) {
        for at in 0..self.conditional.len() {
            let candidate = self.conditional[at];
            let conditions = &self.universe.package(candidate).install_if;
            let speaks = conditions.iter().any(|atom| self.universe.meets(package, atom));
            if speaks && conditions.iter().all(|atom| atom.conflict || self.is_placed(atom)) {
                self.visit(candidate);
            }
        }
    }

    fn is_placed(&self, atom: &Atom<'_>) -> bool {
        self.order.iter().any(|&one| self.universe.meets(one, atom))
    }
}
