//! The base set, unpacked natively and configured by dpkg.

use kiln_model::{Action, Stage, StageKind};
use kiln_recipe::spec::Point;

use super::{of, script_environment, scripts};
use crate::Inputs;
use crate::context::symlink;

pub fn bootstrap(inputs: &Inputs<'_>) -> Option<Stage> {
    let mut actions: Vec<_> =
        inputs.spec.base.merged_usr.iter().map(|(link, target)| symlink(link, target.as_str())).collect();
    actions.push(Action::Unpack { packages: inputs.base_packages(), bare: false });
    actions.push(Action::Configure { hold: vec![], env: script_environment(inputs.epoch()) });
    actions.extend(scripts::at(inputs, Point::Bootstrap));
    of(StageKind::Bootstrap, actions)
}
