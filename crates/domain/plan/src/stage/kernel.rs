//! What was held back while packages were configured: the initrd, made once.

use kiln_model::{Action, Stage, StageKind};
use kiln_recipe::spec::Point;

use super::{of, readonly, script_environment, scripts};
use crate::Inputs;

pub fn kernel(inputs: &Inputs<'_>) -> Option<Stage> {
    let mut actions = vec![];
    if inputs.has_kernel() && inputs.has("initramfs-tools") {
        actions.extend(readonly::initrd(inputs));
        actions.push(Action::Initrd { env: script_environment(inputs.epoch()) });
    }
    actions.extend(scripts::at(inputs, Point::Kernel));
    of(StageKind::Kernel, actions)
}
