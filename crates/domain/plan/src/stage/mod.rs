//! One file a stage: what it does to the tree, or nothing where the spec does not ask for it.

mod alpine;
mod boot;
mod bootstrap;
mod cleanup;
mod cloud_init;
mod grow;
mod grub;
mod indexes;
mod kernel;
mod locale;
mod mender;
mod network;
mod openrc;
mod packages;
mod raspi;
mod readonly;
mod scripts;
mod slot;
mod timezone;
mod users;
mod wifi;

pub use boot::boot;
pub use bootstrap::bootstrap;
pub use cleanup::cleanup;
pub use grub::core as grub_core;
pub use indexes::indexes;
pub use kernel::kernel;
pub use locale::{locale, packages as locale_packages};
pub use mender::JSON_SECRET_PREFIX;
pub use network::network;
pub use packages::packages;
pub use scripts::SECRET_PREFIX;
pub use slot::files as slot_files;
pub use timezone::timezone;
pub use users::users;
pub use wifi::PSK_PREFIX;

use kiln_model::action::PackageRef;
use kiln_model::{Action, Stage, StageKind};

use crate::Inputs;

/// Returns a stage, or none where there is nothing to do.
fn of(kind: StageKind, actions: Vec<Action>) -> Option<Stage> {
    (!actions.is_empty()).then_some(Stage { kind, actions })
}

/// Installs packages, or does nothing where there are none.
fn install(packages: Vec<PackageRef>, hold: &[&str], epoch: i64) -> Vec<Action> {
    if packages.is_empty() {
        return vec![];
    }
    let hold = hold.iter().map(|&program| program.to_owned()).collect();
    vec![
        Action::Unpack { packages, bare: false, only: vec![] },
        Action::Configure { hold, env: script_environment(epoch) },
    ]
}

/// Installs Alpine's packages: the base alone, or everything on top of it.
fn install_apk(inputs: &Inputs<'_>, base: bool) -> Vec<Action> {
    let (all, world) = (inputs.base_packages(), &inputs.spec.packages.set);
    let further = inputs.further_packages();
    let (packages, installed, world) = match base {
        true => (all, 0, world.clone()),
        false => {
            let installed = all.len();
            (all.into_iter().chain(further).collect(), installed, crate::apk::world(inputs.spec))
        }
    };
    if packages.len() == installed && (base || world == crate::apk::sorted(&inputs.spec.packages.set)) {
        return vec![];
    }
    vec![Action::Install { packages, installed, world, env: script_environment(inputs.epoch()) }]
}

/// Brings the packages of the Alpine that is built upon to the lock's.
fn upgrade_apk(inputs: &Inputs<'_>) -> Action {
    Action::Upgrade {
        packages: inputs.further_packages(),
        names: inputs.lock.packages.iter().map(|locked| locked.name.clone()).collect(),
        world: crate::apk::world(inputs.spec),
        env: script_environment(inputs.epoch()),
    }
}

/// Returns the environment of package scripts.
fn script_environment(epoch: i64) -> std::collections::BTreeMap<String, String> {
    [
        ("DEBIAN_FRONTEND", "noninteractive"),
        ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
        ("LC_ALL", "C.UTF-8"),
        ("HOME", "/root"),
        ("INITRD", "No"),
        ("SOURCE_DATE_EPOCH", &epoch.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}
