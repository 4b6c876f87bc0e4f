//! The base set, unpacked natively and configured by the family's own tools; or the tree that the recipe builds upon.

use kiln_model::action::Owner;
use kiln_model::{Action, Stage, StageKind};
use kiln_recipe::spec::Point;

use super::{install, install_apk, of, scripts};
use crate::Inputs;
use crate::context::{local, path, symlink};

pub fn bootstrap(inputs: &Inputs<'_>) -> Option<Stage> {
    let mut actions: Vec<_> = match &inputs.spec.base.tree {
        Some(tree) => vec![Action::Tree { from: local(tree) }],
        None => fresh(inputs),
    };
    actions.extend(scripts::at(inputs, Point::Bootstrap));
    of(StageKind::Bootstrap, actions)
}

fn fresh(inputs: &Inputs<'_>) -> Vec<Action> {
    let merged = &inputs.spec.base.merged_usr;
    // Whichever of Alpine's packages comes first, its files have a place behind the links.
    let folders = merged.iter().filter(|_| inputs.is_apk()).map(|(_, target)| Action::Mkdir {
        path: path(&format!("/{}", target.trim_start_matches('/'))),
        mode: 0o755,
        owner: Owner::default(),
    });
    let links = merged.iter().map(|(link, target)| symlink(link, target.as_str()));
    let packages = match inputs.is_apk() {
        true => install_apk(inputs, true),
        false => install(inputs.base_packages(), &[], inputs.epoch()),
    };
    let (unpack, configure): (Vec<_>, Vec<_>) =
        packages.into_iter().partition(|action| matches!(action, Action::Unpack { .. }));
    let (start, unpacked) = (scripts::at(inputs, Point::Start), scripts::at(inputs, Point::Unpack));
    folders.chain(links).chain(start).chain(unpack).chain(unpacked).chain(configure).collect()
}
