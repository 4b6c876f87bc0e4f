//! The boot loader, its entries, fstab, and what grows the root at first boot.

use kiln_model::action::{FilesystemKind, TableKind};
use kiln_model::{Action, GuestPath, RunIn, Stage, StageKind};
use kiln_recipe::spec::{BoardSpec, Disk, Loader, PartitionSpec};
use uuid::Uuid;

use super::readonly::is_read_only;
use super::{grub, of, script_environment};
use crate::Inputs;
use crate::context::{symlink, write, write_mode};

pub fn boot(inputs: &Inputs<'_>) -> Option<Stage> {
    let disk = inputs.spec.disk.as_ref()?;
    let mut actions = vec![write("/etc/fstab", fstab(inputs, disk))];
    actions.extend(mount_points(disk));
    actions.extend(grow(inputs, disk));
    actions.extend(inputs.spec.base.board.as_ref().into_iter().flat_map(|board| loader(inputs, disk, board)));
    of(StageKind::Boot, actions)
}

/// fstab(5). A root that is only read is under an overlay by then, which nothing may mount anew.
fn fstab(inputs: &Inputs<'_>, disk: &Disk) -> String {
    let overlaid = |partition: &PartitionSpec| partition.mount == GuestPath::root() && is_read_only(partition);
    let mounted = disk.partitions.iter().enumerate().filter(|(_, partition)| !overlaid(partition));
    let lines = mounted.map(|(at, partition)| {
        let source = source(inputs, disk, at);
        let (kind, pass) = match partition.filesystem {
            FilesystemKind::Ext4 if partition.mount.as_bytes() == b"/" => ("ext4", 1),
            FilesystemKind::Ext4 => ("ext4", 2),
            FilesystemKind::Fat => ("vfat", 2),
            FilesystemKind::Erofs => ("erofs", 0),
            FilesystemKind::Squashfs => ("squashfs", 0),
        };
        format!("{source} {} {kind} {} 0 {pass}\n", partition.mount, mount_options(inputs, partition))
    });
    lines.collect()
}

fn mount_options(inputs: &Inputs<'_>, partition: &PartitionSpec) -> String {
    let grows = inputs.spec.system.grow && partition.mount.as_bytes() == b"/";
    match (partition.mount_options.as_str(), grows) {
        ("", true) => "x-systemd.growfs".into(),
        ("", false) => "defaults".into(),
        (options, true) => format!("{options},x-systemd.growfs"),
        (options, false) => options.to_owned(),
    }
}

/// Returns what finds the partition at this place of the table: its filesystem's UUID, as `blkid` prints it. A squashfs
/// has none, so its partition's stands in; in an MBR that is the disk's id and the row.
fn source(inputs: &Inputs<'_>, disk: &Disk, at: usize) -> String {
    let partition = &disk.partitions[at];
    match (partition.filesystem, disk.table) {
        (FilesystemKind::Squashfs, TableKind::Gpt | TableKind::Hybrid) => {
            format!("PARTUUID={}", inputs.uuid(&format!("partition {}", partition.name)))
        }
        (FilesystemKind::Squashfs, TableKind::Mbr) => {
            format!("PARTUUID={:08x}-{:02x}", leading(inputs.uuid("disk")), at + 1)
        }
        _ => format!("UUID={}", filesystem_id(inputs, partition)),
    }
}

/// FAT has only four bytes, in capitals.
pub(super) fn filesystem_id(inputs: &Inputs<'_>, partition: &PartitionSpec) -> String {
    let uuid = inputs.uuid(&format!("filesystem {}", partition.name));
    match partition.filesystem {
        FilesystemKind::Fat => {
            let id = leading(uuid);
            format!("{:04X}-{:04X}", id >> 16, id & 0xffff)
        }
        _ => uuid.to_string(),
    }
}

fn leading(uuid: Uuid) -> u32 {
    u32::from_be_bytes(*uuid.as_bytes().first_chunk().expect("sixteen bytes"))
}

fn mount_points(disk: &Disk) -> impl Iterator<Item = Action> {
    let inner = disk.partitions.iter().filter(|partition| partition.mount.as_bytes() != b"/");
    inner.map(|partition| Action::Mkdir { path: partition.mount.clone(), mode: 0o755, owner: Default::default() })
}

/// systemd-repart(8) grows the partition of a GPT, a unit of ours that of an MBR; `x-systemd.growfs` the filesystem in it.
fn grow(inputs: &Inputs<'_>, disk: &Disk) -> Vec<Action> {
    if !inputs.spec.system.grow {
        return vec![];
    }
    if disk.table.has_gpt() {
        let text = "# The root takes what the medium has, at first boot.\n[Partition]\nType=root\n";
        return vec![write("/usr/lib/repart.d/50-root.conf", text)];
    }
    let unit = "/usr/lib/systemd/system/kiln-grow-root.service";
    vec![
        write_mode("/usr/lib/kiln/grow-root", include_str!("grow-root.sh"), 0o755),
        write(unit, include_str!("grow-root.service")),
        symlink("/usr/lib/systemd/system/sysinit.target.wants/kiln-grow-root.service", unit.to_owned()),
    ]
}

/// Kernel, initrd and command line for the loader; `/etc/kernel` keeps kernel updates on the device working.
fn loader(inputs: &Inputs<'_>, disk: &Disk, board: &BoardSpec) -> Vec<Action> {
    let name = match board.loader {
        Loader::None => return vec![],
        Loader::Extlinux => return extlinux(inputs, disk, board),
        Loader::RaspiFirmware => return super::raspi::generated(inputs, &cmdline(inputs, disk, board)),
        Loader::ConfigTxt => return super::raspi::kept(inputs, disk, &cmdline(inputs, disk, board)),
        Loader::SystemdBoot => "systemd-boot",
        Loader::Uki => "uki",
    };
    let cmdline = cmdline(inputs, disk, board);
    let (token, base) = (inputs.spec.base.distribution.clone(), &inputs.spec.base);
    let title = format!("{} {} ({})", base.distribution, base.release, base.codename);
    let esp = esp(disk);
    let mut actions = vec![
        write("/etc/kernel/cmdline", format!("{cmdline}\n")),
        write("/etc/kernel/entry-token", format!("{token}\n")),
        write("/etc/kernel/install.conf", format!("layout={}\n", if name == "uki" { "uki" } else { "bls" })),
        Action::Boot { loader: name.into(), cmdline, title, token, timeout: 0, esp: esp.clone() },
    ];
    actions.extend(grub::files(inputs, &esp.to_string(), board));
    actions
}

/// `u-boot-update` writes `extlinux.conf`, now and for every kernel that comes later.
fn extlinux(inputs: &Inputs<'_>, disk: &Disk, board: &BoardSpec) -> Vec<Action> {
    let cmdline = cmdline(inputs, disk, board);
    let (root, rest) = cmdline.split_once(' ').unwrap_or((&cmdline, ""));
    let tree = board.device_tree.as_ref().map(|file| format!("U_BOOT_FDT=\"{file}\"\n")).unwrap_or_default();
    let text = format!(
        "# Read by u-boot-update, which writes /boot/extlinux/extlinux.conf for every kernel.\n\
         U_BOOT_ROOT=\"{root}\"\nU_BOOT_PARAMETERS=\"{rest}\"\nU_BOOT_TIMEOUT=\"10\"\n{tree}"
    );
    let update = Action::Run {
        name: "u-boot-update".into(),
        r#in: RunIn::Target,
        argv: vec!["u-boot-update".into()],
        env: script_environment(inputs.epoch()),
        stdin: None,
    };
    vec![write("/etc/default/u-boot", text), update]
}

pub(super) fn cmdline(inputs: &Inputs<'_>, disk: &Disk, board: &BoardSpec) -> String {
    let root = disk.partitions.iter().position(|partition| partition.mount == GuestPath::root());
    let root = root.map(|at| {
        let mode = if is_read_only(&disk.partitions[at]) { "ro" } else { "rw" };
        format!("root={} {mode}", source(inputs, disk, at))
    });
    let words = root.iter().chain(&board.kernel_arguments).chain(&inputs.spec.system.kernel_arguments);
    words.cloned().collect::<Vec<_>>().join(" ")
}

/// Returns where the boot partition is mounted; a disk without one keeps its loader in `/boot`.
fn esp(disk: &Disk) -> kiln_model::GuestPath {
    let found = disk.partitions.iter().find(|partition| partition.role == "esp");
    found.map_or_else(|| crate::context::path("/boot"), |partition| partition.mount.clone())
}
