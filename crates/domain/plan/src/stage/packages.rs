//! Everything on top of the base, local package files included.

use kiln_model::{Action, Stage, StageKind};
use kiln_recipe::spec::Point;

use super::{of, script_environment, scripts};
use crate::Inputs;

/// Programs that package scripts call once each and that need to run only once, in the kernel stage.
const HELD: [&str; 2] = ["update-initramfs", "depmod"];

pub fn packages(inputs: &Inputs<'_>) -> Option<Stage> {
    let packages = inputs.further_packages();
    let mut actions = vec![];
    if !packages.is_empty() {
        actions.push(Action::Unpack { packages, bare: false });
        let hold = HELD.map(str::to_owned).into();
        actions.push(Action::Configure { hold, env: script_environment(inputs.epoch()) });
    }
    actions.extend(scripts::at(inputs, Point::Packages));
    of(StageKind::Packages, actions)
}
