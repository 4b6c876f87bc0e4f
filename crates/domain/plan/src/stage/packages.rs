//! Everything on top of the base, local package files included.

use kiln_model::{Action, Stage, StageKind};
use kiln_recipe::spec::{Loader, Point};

use super::{alpine, install, install_apk, of, openrc, scripts, upgrade_apk};
use crate::Inputs;

/// Programs that package scripts call once each and that need to run only once: depmod at the end of this stage, the others in
/// those of the kernel and of booting.
const HELD: [&str; 2] = ["update-initramfs", "depmod"];
const HELD_FOR_U_BOOT: [&str; 1] = ["u-boot-update"];

pub fn packages(inputs: &Inputs<'_>) -> Option<Stage> {
    if inputs.is_apk() {
        // Alpine's kernels bring the indexes of their modules.
        let mut actions: Vec<_> = alpine::initrd(inputs).into_iter().collect();
        match inputs.spec.base.tree {
            Some(_) => actions.push(upgrade_apk(inputs)),
            None => actions.extend(install_apk(inputs, false)),
        }
        actions.extend(openrc::usual(inputs));
        actions.extend(scripts::at(inputs, Point::Packages));
        return of(StageKind::Packages, actions);
    }
    let loader = inputs.spec.base.board.as_ref().map(|board| board.loader);
    let more = if loader == Some(Loader::Extlinux) { &HELD_FOR_U_BOOT[..] } else { &[] };
    let mut actions: Vec<_> = manual(inputs).into_iter().collect();
    actions.extend(install(inputs.further_packages(), &[&HELD, more].concat(), inputs.epoch()));
    actions.extend(scripts::at(inputs, Point::Packages));
    if inputs.has_kernel() {
        actions.push(Action::Depmod);
    }
    of(StageKind::Packages, actions)
}

/// Marks what the tree that is built upon has already as `apt-get install` would.
fn manual(inputs: &Inputs<'_>) -> Option<Action> {
    let packages = inputs.promoted();
    (!packages.is_empty()).then_some(Action::Manual { packages })
}
