//! Mender's client, and the script by which U-Boot chooses between its two roots.
//!
//! Source: Mender's documentation of the client's configuration and of its integration with boot loaders: the client sets
//! `mender_boot_part` to the root it wrote, `upgrade_available` to 1 and `bootcount` to 0, and clears `upgrade_available` when the new
//! root has come up. The variables have a file of their own: U-Boot's `uboot.env` would hold all that U-Boot finds out about the board,
//! and hold it against the next U-Boot.

use kiln_disk::u_boot;
use kiln_model::action::{Content, Owner};
use kiln_model::{Action, Arch, RunIn};
use kiln_recipe::spec::{Disk, Mender};

use super::raspi::U_BOOT;
use super::{boot, script_environment};
use crate::Inputs;
use crate::context::{path, symlink, write, write_bytes, write_mode};

/// What a text of JSON has in the place of a secret: this, its name, a colon, its fingerprint and a colon.
pub const JSON_SECRET_PREFIX: &str = "kiln-json-secret:";

/// The file with the variables, on the FAT, and its length in bytes.
const ENVIRONMENT: &str = "mender.env";
/// What it was when a confirmed root last started: no FAT replaces a file at once.
const COPY: &str = "mender.old";
const LENGTH: usize = 0x4000;
const NAMES: &str = "mender_boot_part mender_boot_part_hex upgrade_available bootcount";

/// U-Boot, the device trees that the firmware hands on, the script and its variables.
pub fn start(inputs: &Inputs<'_>, disk: &Disk) -> Vec<Action> {
    let (Some(mender), Some(roots)) = (&inputs.spec.mender, roots(inputs, disk)) else { return vec![] };
    let fat = fat(disk);
    let first = roots[0].0.to_string();
    let variables = [
        ("mender_boot_part", &*first),
        ("mender_boot_part_hex", &*first),
        ("upgrade_available", "0"),
        ("bootcount", "0"),
    ];
    let variables = u_boot::environment(&variables, LENGTH);
    let script = script(inputs.spec.base.architecture, &roots);
    let title = "which root starts";
    vec![
        Action::Run {
            name: "u-boot".into(),
            r#in: RunIn::Target,
            argv: ["/bin/sh", "-eu", "/dev/stdin", &mender.u_boot.to_string(), &format!("{fat}/{U_BOOT}"), &fat]
                .map(str::to_owned)
                .into(),
            env: script_environment(inputs.epoch()),
            stdin: Some(Content::Text(include_str!("mender.sh").into())),
            files: None,
        },
        write_bytes(
            &format!("{fat}/boot.scr"),
            &u_boot::script(&script, title, inputs.spec.base.architecture, inputs.epoch()),
        ),
        // What the hooks of kernel and initrd copied while nothing told them of U-Boot.
        Action::Remove { glob: format!("{fat}/vmlinuz-*") },
        Action::Remove { glob: format!("{fat}/initrd.img-*") },
        write_bytes(&format!("{fat}/{ENVIRONMENT}"), &variables),
        write_bytes(&format!("{fat}/{COPY}"), &variables),
        // libubootenv's: the file, where in it the variables begin, and how long they are.
        write("/etc/fw_env.config", format!("{fat}/{ENVIRONMENT} 0x0000 {LENGTH:#x}\n")),
    ]
}

/// Returns number and id of the two roots.
fn roots(inputs: &Inputs<'_>, disk: &Disk) -> Option<[(usize, String); 2]> {
    let first = disk.partitions.iter().position(|part| part.is_root())?;
    let second = disk.partitions.iter().position(|part| part.is_slot_of(&disk.partitions[first].name))?;
    Some([first, second].map(|at| (at + 1, boot::partition_id(inputs, disk, at))))
}

fn fat(disk: &Disk) -> String {
    let fat = disk.partitions.iter().find(|part| part.role == "firmware").and_then(|part| part.mount.as_ref());
    fat.map_or_else(|| "/boot/firmware".into(), ToString::to_string)
}

fn script(arch: Arch, roots: &[(usize, String); 2]) -> String {
    // U-Boot counts in hexadecimal.
    let [(a, id_a), (b, id_b)] = roots;
    let words = [
        ("@FILE@", ENVIRONMENT.to_owned()),
        ("@COPY@", COPY.to_owned()),
        ("@LENGTH@", format!("{LENGTH:x}")),
        ("@NAMES@", NAMES.to_owned()),
        ("@A@", a.to_string()),
        ("@B@", b.to_string()),
        ("@ID_A@", id_a.clone()),
        ("@ID_B@", id_b.clone()),
        ("@BOOT@", if arch == Arch::Arm64 { "booti" } else { "bootz" }.to_owned()),
    ];
    words.iter().fold(include_str!("mender.cmd").to_owned(), |text, (word, value)| text.replace(word, value))
}

/// What the client knows of server, device and software.
pub fn client(inputs: &Inputs<'_>) -> Vec<Action> {
    let spec = inputs.spec;
    let (Some(mender), Some(disk)) = (&spec.mender, &spec.disk) else { return vec![] };
    let Some(roots) = roots(inputs, disk) else { return vec![] };
    let mode = if mender.tenant_token.is_some() { 0o600 } else { 0o644 };
    let examples = "/usr/share/doc/mender-client/examples";
    let directory = |at: &str, mode| Action::Mkdir { path: path(at), mode, owner: Owner::default() };
    let mut actions = vec![
        directory("/etc/mender", 0o755),
        write_mode("/etc/mender/mender.conf", configuration(inputs, mender, &roots), mode),
        write("/etc/mender/artifact_info", format!("artifact_name={}\n", mender.artifact_name)),
        directory("/data/mender", 0o700),
        write_mode("/data/mender/device_type", format!("device_type={}\n", mender.device_type), 0o444),
        // Debian's package leaves to its user who a device is and what is told of it, and brings examples that do.
        symlink("/usr/share/mender/identity/mender-device-identity", format!("{examples}/mender-device-identity")),
    ];
    actions.extend(
        INVENTORY.map(|name| symlink(&format!("/usr/share/mender/inventory/{name}"), format!("{examples}/{name}"))),
    );
    actions
}

const INVENTORY: [&str; 6] = [
    "mender-inventory-bootloader-integration",
    "mender-inventory-hostinfo",
    "mender-inventory-network",
    "mender-inventory-os",
    "mender-inventory-provides",
    "mender-inventory-rootfs-type",
];

/// The client looks through links of this folder.
fn configuration(inputs: &Inputs<'_>, mender: &Mender, roots: &[(usize, String); 2]) -> String {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let root = |id: &str| text(&format!("/dev/disk/by-partuuid/{id}"));
    let mut lines = vec![
        format!("  \"InventoryPollIntervalSeconds\": {}", mender.inventory_interval),
        format!("  \"RetryPollIntervalSeconds\": {}", mender.retry_interval),
        format!("  \"RootfsPartA\": {}", root(&roots[0].1)),
        format!("  \"RootfsPartB\": {}", root(&roots[1].1)),
        format!("  \"ServerURL\": {}", text(&mender.server_url)),
    ];
    lines.extend(mender.tenant_token.as_ref().map(|name| {
        let fingerprint = inputs.secrets.get(name).map(String::as_str).unwrap_or_default();
        format!("  \"TenantToken\": {JSON_SECRET_PREFIX}{name}:{fingerprint}:")
    }));
    lines.push(format!("  \"UpdatePollIntervalSeconds\": {}", mender.update_interval));
    format!("{{\n{}\n}}\n", lines.join(",\n"))
}
