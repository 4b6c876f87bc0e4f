//! The base set, unpacked natively and configured by the family's own tools.

use kiln_model::{Stage, StageKind};
use kiln_recipe::spec::Point;

use super::{install, install_apk, of, scripts};
use crate::Inputs;
use crate::context::symlink;

pub fn bootstrap(inputs: &Inputs<'_>) -> Option<Stage> {
    let mut actions: Vec<_> =
        inputs.spec.base.merged_usr.iter().map(|(link, target)| symlink(link, target.as_str())).collect();
    actions.extend(match inputs.is_apk() {
        true => install_apk(inputs, true),
        false => install(inputs.base_packages(), &[], inputs.epoch()),
    });
    actions.extend(scripts::at(inputs, Point::Bootstrap));
    of(StageKind::Bootstrap, actions)
}
