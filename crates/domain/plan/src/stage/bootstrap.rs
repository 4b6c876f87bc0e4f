//! The base set, unpacked natively and configured by the family's own tools; or the tree that the recipe builds upon.

use kiln_model::{Action, Stage, StageKind};
use kiln_recipe::spec::Point;

use super::{install, install_apk, of, scripts};
use crate::Inputs;
use crate::context::{local, symlink};

pub fn bootstrap(inputs: &Inputs<'_>) -> Option<Stage> {
    let mut actions: Vec<_> = match &inputs.spec.base.tree {
        Some(tree) => vec![Action::Tree { from: local(tree) }],
        None => fresh(inputs),
    };
    actions.extend(scripts::at(inputs, Point::Bootstrap));
    of(StageKind::Bootstrap, actions)
}

fn fresh(inputs: &Inputs<'_>) -> Vec<Action> {
    let links = inputs.spec.base.merged_usr.iter().map(|(link, target)| symlink(link, target.as_str()));
    let packages = match inputs.is_apk() {
        true => install_apk(inputs, true),
        false => install(inputs.base_packages(), &[], inputs.epoch()),
    };
    links.chain(packages).collect()
}
