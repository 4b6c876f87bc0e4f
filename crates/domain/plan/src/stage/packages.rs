//! Everything on top of the base, local package files included.

use kiln_model::{Stage, StageKind};
use kiln_recipe::spec::Point;

use super::{install, of, scripts};
use crate::Inputs;

/// Programs that package scripts call once each and that need to run only once, in the kernel stage.
const HELD: [&str; 2] = ["update-initramfs", "depmod"];

pub fn packages(inputs: &Inputs<'_>) -> Option<Stage> {
    let mut actions = install(inputs.further_packages(), &HELD, inputs.epoch());
    actions.extend(scripts::at(inputs, Point::Packages));
    of(StageKind::Packages, actions)
}
