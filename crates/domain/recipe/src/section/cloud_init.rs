//! `[cloud-init]`: what sets a machine up at its first boot, and where it finds what it is told.

use kiln_model::GuestPath;
use kiln_model::action::FilesystemKind;

use super::base::Ground;
use super::files::local;
use crate::catalogue::release::Init;
use crate::desk::{Desk, Note};
use crate::forms::LOCAL_PATH;
use crate::needs::Needs;
use crate::shape::{Form, Shape, Table, Wrong, did_you_mean, key};
use crate::spec::{CloudInit, Disk, LocalFile, Network, Seed};
use crate::view::{Said, View};

pub static KEYS: Table = Table {
    name: "[cloud-init]",
    doc: "cloud-init: the machine is set up at its first boot, as a cloud or the files here tell it. An empty section installs \
          it; boards for clouds have it without being asked. Interfaces are its business unless `[network]` says some; the root grows as \
          `system.grow` says, and it leaves that alone.",
    keys: &[
        key(
            "user-data",
            Shape::Text(&LOCAL_PATH),
            "A file with what is to be done: `#cloud-config`, a script, or another form cloud-init knows. With it the image is its own \
             NoCloud seed; on a board with a FAT partition `/boot/firmware` the seed lies there and can be edited from any \
             computer.",
        )
        .example("\"cloud/user-data\""),
        key("meta-data", Shape::Text(&LOCAL_PATH), "A file with what the machine is: `instance-id`, `local-hostname`.")
            .default("an `instance-id` of the image's own")
            .example("\"cloud/meta-data\""),
        key("network-config", Shape::Text(&LOCAL_PATH), "A file with the interfaces, in cloud-init's version 1 or 2.")
            .default("DHCP on the first interface, as cloud-init has it")
            .example("\"cloud/network-config\""),
        key("datasources", Shape::List(&Shape::Text(&DATASOURCE)), "Where it looks, in this order.")
            .default("with a seed in the image `[\"NoCloud\", \"None\"]`, else every cloud it knows")
            .example("[\"ConfigDrive\", \"OpenStack\"]")
            .replaces(),
    ],
    more: None,
};

/// The sources that cloud-init 22.4 (Debian 12) and 25.1 (Debian 13) both have, those that ask no network first.
const DATASOURCES: [&str; 28] = [
    "NoCloud",
    "ConfigDrive",
    "Azure",
    "OVF",
    "VMware",
    "AltCloud",
    "OpenNebula",
    "SmartOS",
    "CloudSigma",
    "IBMCloud",
    "RbxCloud",
    "LXD",
    "NWCS",
    "DigitalOcean",
    "Hetzner",
    "Vultr",
    "UpCloud",
    "Oracle",
    "OpenStack",
    "Ec2",
    "AliYun",
    "GCE",
    "CloudStack",
    "Exoscale",
    "Scaleway",
    "Bigstep",
    "MAAS",
    "None",
];

static DATASOURCE: Form = Form {
    what: "a data source of cloud-init, such as \"NoCloud\"",
    pattern: Some(r"^[A-Za-z0-9]+$"),
    check: |text| {
        if DATASOURCES.contains(&text) {
            return Ok(());
        }
        let wrong = Wrong::new(format!("cloud-init has no data source `{text}`"));
        Err(wrong.maybe_hint(did_you_mean(text, DATASOURCES)))
    },
    hint: None,
};

/// Where an image that is its own seed has it.
const SEED: &str = "/var/lib/cloud/seed/nocloud";

/// Returns what cloud-init is told; none where neither the recipe nor the board asks for it.
pub fn read(
    root: View<'_>,
    ground: &Ground,
    disk: Option<&Disk>,
    network: &Network,
    needs: &Needs,
    desk: &Desk<'_>,
) -> Option<CloudInit> {
    let board = ground.board.filter(|board| board.value.cloud_init);
    let (why, span) = match (root.key_span("cloud-init"), board) {
        (Some(span), _) => ("`[cloud-init]`".to_owned(), span),
        (None, Some(board)) => (format!("board `{}`", board.value.name), board.span),
        (None, None) => return None,
    };
    needs.feature("cloud-init", &*why, span);
    if network.interfaces.is_empty() && ground.release.init == Init::Systemd {
        needs.feature("networkd", &*why, span);
        needs.feature("resolved", &*why, span);
    }
    let view = root.section("cloud-init");
    two_networks(view, root, network, desk);
    let seed = seed(view, disk, desk);
    if seed.as_ref().is_some_and(Seed::is_on_firmware) && ground.board.is_some_and(|board| board.value.imager.is_some())
    {
        let why = "what Raspberry Pi Imager asks of cloud-init";
        ["imager", "keyboard", "ssh", "timezone", "wifi"].iter().for_each(|name| needs.feature(name, why, span));
    }
    let own = view.strings("datasources");
    if let (Some(node), Some(span), Some(_)) = (view.node("datasources"), view.key_span("datasources"), &seed)
        && !own.iter().any(|source| source == "NoCloud")
        && !desk.blames(&[node.span])
    {
        let note =
            Note::error(span, "contradiction", "the image is a NoCloud seed, and cloud-init is not to look for one");
        desk.say(note.hint("add \"NoCloud\" to `datasources`"));
    }
    let usual = if seed.is_some() { &["NoCloud", "None"][..] } else { &DATASOURCES };
    let usual = || usual.iter().map(|&name| name.to_owned()).collect();
    Some(CloudInit { datasources: if own.is_empty() { usual() } else { own }, seed })
}

/// Interfaces are said in one place.
fn two_networks(view: View<'_>, root: View<'_>, network: &Network, desk: &Desk<'_>) {
    let Some(span) = view.key_span("network-config") else { return };
    if !network.interfaces.is_empty() {
        let message = "`network-config` and the interfaces of `[network]` cannot both be";
        let other = root.key_span("network").unwrap_or(span);
        desk.say(Note::error(span, "contradiction", message).also(other, "the interfaces"));
    }
}

/// Returns the seed when the recipe brings one, or the board has a partition to edit it on.
fn seed(view: View<'_>, disk: Option<&Disk>, desk: &Desk<'_>) -> Option<Seed> {
    let file = |key| view.text(key).and_then(|said| plain_file(said, desk));
    let user = view.text("user-data").map(|said| (said, file("user-data")));
    if let Some((said, Some(_))) = &user {
        user_data(*said, desk);
    }
    let (meta_data, network_config) = (file("meta-data"), file("network-config"));
    let firmware = disk.is_some_and(|disk| {
        disk.partitions.iter().any(|partition| {
            partition.filesystem == FilesystemKind::Fat
                && partition.mount.as_ref().is_some_and(|mount| mount.as_bytes() == Seed::FIRMWARE.as_bytes())
        })
    });
    let user_data = user.and_then(|(_, file)| file);
    if !firmware && user_data.is_none() && meta_data.is_none() && network_config.is_none() {
        return None;
    }
    let folder = GuestPath::new(if firmware { Seed::FIRMWARE } else { SEED }).expect("our own paths are good");
    Some(Seed { folder, user_data, meta_data, network_config })
}

fn plain_file(said: Said<&str>, desk: &Desk<'_>) -> Option<LocalFile> {
    let (file, found) = local(said, desk)?;
    if found.folder {
        let message = format!("`{}` is a folder, and cloud-init wants a file", said.value);
        desk.say(Note::error(said.span, "bad-value", message));
        return None;
    }
    Some(file)
}

/// How user data may begin; cloud-init passes over any other with a line in its log. What is packed is not looked into.
const HEADS: [&str; 9] = [
    "#cloud-config",
    "#!",
    "#include",
    "#cloud-boothook",
    "#part-handler",
    "## template: jinja",
    "Content-Type:",
    "MIME-Version:",
    "From ",
];

fn user_data(said: Said<&str>, desk: &Desk<'_>) {
    let Ok(text) = desk.sources.read(&desk.host_path(said.span, said.value)) else { return };
    if text.trim().is_empty() || HEADS.iter().any(|head| text.starts_with(head)) {
        return;
    }
    let first = text.lines().next().unwrap_or_default().chars().take(60).collect::<String>();
    let message = format!("cloud-init would pass over `{}`: nothing tells it what that is", said.value);
    let note = Note::error(said.span, "bad-value", message).label(format!("it begins with `{first}`"));
    desk.say(note.hint("its first line must be `#cloud-config`, or `#!` and a program"));
}
