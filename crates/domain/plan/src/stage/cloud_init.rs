//! cloud-init: what it must leave alone, where it looks, and the seed that the image brings.

use kiln_model::action::Owner;
use kiln_model::{Action, GuestPath};
use kiln_recipe::spec::{CloudInit, LocalFile, Seed};

use crate::Inputs;
use crate::context::{local, write, write_mode};

pub fn actions(inputs: &Inputs<'_>) -> Vec<Action> {
    let Some(cloud) = &inputs.spec.cloud_init else { return vec![] };
    let mut actions = vec![write("/etc/cloud/cloud.cfg.d/95-kiln.cfg", configuration(inputs, cloud))];
    actions.extend(cloud.seed.iter().flat_map(|seed| put(inputs, seed)));
    if inputs.spec.is_set_up_by_imager() {
        actions.push(write("/etc/systemd/network/10-imager.link", KERNEL_NAMES));
    }
    if inputs.spec.network.interfaces.is_empty() {
        let enable = vec!["systemd-networkd.service".to_owned()];
        actions.push(Action::Services { enable, disable: vec![], mask: vec![] });
    }
    actions
}

/// Imager speaks of `eth0` and `wlan0`, where systemd would call them by their addresses.
const KERNEL_NAMES: &str = "[Match]\nType=ether wlan\nKind=!*\n\n[Link]\nNamePolicy=\n";

/// The list stands on one line, since `ds-identify` reads no other.
fn configuration(inputs: &Inputs<'_>, cloud: &CloudInit) -> String {
    let mut text = format!(
        "# Written by kiln; a file that sorts after this one may say otherwise.\n\
         datasource_list: [ {} ]\n\
         # Partition and filesystem of the root grow without it.\n\
         growpart:\n  mode: 'off'\nresize_rootfs: false\n\
         # The image's package sources stay, and its own name can be resolved.\n\
         apt:\n  preserve_sources_list: true\nmanage_etc_hosts: localhost\n",
        cloud.datasources.join(", ")
    );
    if !inputs.spec.network.interfaces.is_empty() {
        text.push_str("# The interfaces are the image's own.\nnetwork:\n  config: disabled\n");
    }
    if let Some(seed) = cloud.seed.as_ref().filter(|seed| is_mounted(seed)) {
        text.push_str(&format!("datasource:\n  NoCloud:\n    seedfrom: file://{}/\n", seed.folder));
    }
    text
}

/// Whether the seed lies on a partition of its own rather than where cloud-init looks by itself.
fn is_mounted(seed: &Seed) -> bool {
    !seed.folder.as_bytes().starts_with(b"/var/lib/cloud/")
}

/// Without both, user data and meta data, cloud-init takes a seed for none.
fn put(inputs: &Inputs<'_>, seed: &Seed) -> Vec<Action> {
    let instance = format!("instance-id: kiln-{}\n", inputs.uuid("instance").simple());
    let files = [
        file(seed, "user-data", seed.user_data.as_ref(), Some("#cloud-config\n".into())),
        file(seed, "meta-data", seed.meta_data.as_ref(), Some(instance)),
        file(seed, "network-config", seed.network_config.as_ref(), None),
    ];
    let mut actions: Vec<_> = files.into_iter().flatten().collect();
    if is_mounted(seed) {
        // The first is Debian 13's, whose later stages are parts of it; before that each is a program of its own.
        let after = format!("[Unit]\nRequiresMountsFor={}\n", seed.folder);
        let units = ["cloud-init-main", "cloud-init-local"];
        actions.extend(
            units.map(|unit| write(&format!("/etc/systemd/system/{unit}.service.d/50-kiln-seed.conf"), after.as_str())),
        );
    }
    actions
}

/// User data may hold what only root is to read.
fn file(seed: &Seed, name: &str, from: Option<&LocalFile>, usual: Option<String>) -> Option<Action> {
    let path: GuestPath = seed.folder.join(name).expect("a plain name");
    match from {
        Some(from) => Some(Action::Copy { path, from: local(from), mode: Some(0o600), owner: Owner::default() }),
        None => usual.map(|text| write_mode(&path.to_string(), text, 0o600)),
    }
}
