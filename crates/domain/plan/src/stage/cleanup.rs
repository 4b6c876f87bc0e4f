//! What a build leaves that a device must not have: caches, logs, identities, backups.

use kiln_model::action::Owner;
use kiln_model::{Action, Stage, StageKind};
use kiln_recipe::spec::{MachineId, Point};

use super::{of, scripts};
use crate::Inputs;
use crate::context::{path, write_mode};

/// Globs of what goes. Each is here because it differs from run to run, repeats what the device makes itself, or tells
/// of the build.
const REMOVED: [&str; 24] = [
    "/var/cache/apt/archives/*.deb",
    "/var/cache/apt/*.bin",
    // Not `partial` itself, which belongs to apt.
    "/var/lib/apt/lists/*_*",
    "/var/lib/apt/lists/lock",
    "/var/lib/apt/lists/partial/*",
    "/var/cache/ldconfig/aux-cache",
    "/var/cache/man/*",
    "/var/cache/debconf/*-old",
    "/var/lib/dpkg/*-old",
    "/var/lib/dpkg/lock*",
    "/var/lib/dpkg/triggers/Lock",
    "/var/log/apt/*",
    "/var/log/dpkg.log",
    "/var/log/alternatives.log",
    "/var/log/bootstrap.log",
    "/var/log/fontconfig.log",
    "/var/lib/systemd/random-seed",
    "/var/lib/dbus/machine-id",
    "/etc/ssh/ssh_host_*",
    "/etc/*-",
    "/etc/.pwd.lock",
    "/root/.bash_history",
    "/tmp/*",
    "/run/*",
];

/// What apk leaves besides.
const OF_APK: [&str; 2] = ["/var/cache/apk/*", "/var/log/apk.log"];

pub fn cleanup(inputs: &Inputs<'_>) -> Option<Stage> {
    let mut actions = scripts::at(inputs, Point::Cleanup);
    let of_apk = OF_APK.iter().filter(|_| inputs.is_apk());
    actions.extend(REMOVED.iter().chain(of_apk).map(|&glob| Action::Remove { glob: glob.into() }));
    actions.push(Action::Truncate { glob: "/var/log/*.log".into() });
    actions.extend(machine_id(inputs));
    actions.push(Action::Mkdir { path: path("/tmp"), mode: 0o1777, owner: Owner::default() });
    actions.push(Action::Clamp { epoch: inputs.epoch() });
    of(StageKind::Cleanup, actions)
}

/// machine-id(5): an empty file means that the first boot makes one.
fn machine_id(inputs: &Inputs<'_>) -> Vec<Action> {
    let file = "/etc/machine-id";
    match &inputs.spec.system.machine_id {
        MachineId::Fixed(id) => vec![write_mode(file, format!("{id}\n"), 0o444)],
        MachineId::FirstBoot if inputs.has("systemd") => vec![write_mode(file, "", 0o444)],
        MachineId::FirstBoot => vec![Action::Remove { glob: file.into() }],
    }
}
