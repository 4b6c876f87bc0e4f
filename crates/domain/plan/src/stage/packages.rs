//! Everything on top of the base, local package files included.

use kiln_model::{Action, Stage, StageKind};
use kiln_recipe::spec::Point;

use super::{install, of, scripts};
use crate::Inputs;

/// Programs that package scripts call once each and that need to run only once: depmod at the end of this stage, the other in
/// the kernel's.
const HELD: [&str; 2] = ["update-initramfs", "depmod"];

pub fn packages(inputs: &Inputs<'_>) -> Option<Stage> {
    let mut actions = install(inputs.further_packages(), &HELD, inputs.epoch());
    actions.extend(scripts::at(inputs, Point::Packages));
    if inputs.has_kernel() {
        actions.push(Action::Depmod);
    }
    of(StageKind::Packages, actions)
}
