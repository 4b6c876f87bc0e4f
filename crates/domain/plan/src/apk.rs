//! What apk is told: the world, and where its packages come from.

use kiln_recipe::Spec;
use kiln_recipe::spec::Repository;

use crate::Inputs;

/// Returns the atoms of the world: the base set, what is asked for, and what must not be.
pub fn world(spec: &Spec) -> Vec<String> {
    let packages = &spec.packages;
    let wanted = packages.include.iter().map(|wanted| wanted.package.clone());
    let banned = packages.exclude.iter().map(|name| format!("!{name}"));
    sorted(&packages.set.iter().cloned().chain(wanted).chain(banned).collect::<Vec<_>>())
}

/// Returns atoms in the order of a world, each once.
pub fn sorted(atoms: &[String]) -> Vec<String> {
    let mut atoms = atoms.to_vec();
    atoms.sort();
    atoms.dedup();
    atoms
}

/// Returns the lines of `/etc/apk/repositories`: one for each list.
pub fn repositories(inputs: &Inputs<'_>) -> Vec<String> {
    let listed = inputs.spec.base.repositories.iter().filter(|repository| repository.in_image);
    listed.flat_map(addresses).collect()
}

fn addresses(repository: &Repository) -> Vec<String> {
    let address = |component: &str| {
        let parts = [repository.uri_in_image.trim_end_matches('/'), repository.suite.trim_matches('/'), component];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
    };
    match repository.components.as_slice() {
        [] => vec![address("")],
        all => all.iter().map(|component| address(component)).collect(),
    }
}
