//! The boot loader, its entries, fstab, and what grows the root at first boot.

use kiln_model::action::{FilesystemKind, Subvolume, TableKind};
use kiln_model::{Action, GuestPath, RunIn, Stage, StageKind};
use kiln_recipe::spec::{BoardSpec, Disk, Loader, PartitionSpec};
use uuid::Uuid;

use super::grow::grow;
use super::readonly::is_read_only;
use super::{grub, mender, of, script_environment, slot};
use crate::Inputs;
use crate::context::write;

pub const FSTAB: &str = "/etc/fstab";
pub const CMDLINE: &str = "/etc/kernel/cmdline";
pub const TOKEN: &str = "/etc/kernel/entry-token";

pub fn boot(inputs: &Inputs<'_>) -> Option<Stage> {
    let disk = inputs.spec.disk.as_ref()?;
    let mut actions = vec![write(FSTAB, fstab(inputs, disk))];
    actions.extend(mount_points(disk));
    actions.extend(grow(inputs, disk));
    actions.extend(inputs.spec.base.board.as_ref().into_iter().flat_map(|board| loader(inputs, disk, board)));
    of(StageKind::Boot, actions)
}

/// fstab(5). A root that is only read is under an overlay by then, which nothing may mount anew.
pub fn fstab(inputs: &Inputs<'_>, disk: &Disk) -> String {
    disk.partitions.iter().enumerate().map(|(at, partition)| lines(inputs, disk, at, partition)).collect()
}

/// Returns a partition's lines: one for each place where it is mounted.
fn lines(inputs: &Inputs<'_>, disk: &Disk, at: usize, partition: &PartitionSpec) -> String {
    let source = source(inputs, disk, at);
    let Some(mount) = partition.mount.as_ref().filter(|_| !(partition.is_root() && is_read_only(partition))) else {
        let swap = partition.filesystem == FilesystemKind::Swap;
        return if swap { format!("{source} none swap sw 0 0\n") } else { String::new() };
    };
    let grows = inputs.spec.system.grow
        && !inputs.is_apk()
        && disk.last_to_grow().is_some_and(|last| last.name == partition.name);
    let grows = grows.then_some("x-systemd.growfs");
    if !partition.subvolumes.is_empty() {
        let line = |one: &Subvolume| {
            let option = format!("subvol={}", one.name);
            let options =
                options([&partition.mount_options, &option, grows.filter(|_| one.mount == *mount).unwrap_or("")]);
            format!("{source} {} btrfs {options} 0 0\n", one.mount)
        };
        return partition.subvolumes.iter().map(line).collect();
    }
    let (kind, pass) = match partition.filesystem {
        FilesystemKind::Ext4 if partition.is_root() => ("ext4", 1),
        FilesystemKind::Ext4 => ("ext4", 2),
        FilesystemKind::Btrfs => ("btrfs", 0),
        FilesystemKind::Fat => ("vfat", 2),
        FilesystemKind::Erofs => ("erofs", 0),
        FilesystemKind::Squashfs => ("squashfs", 0),
        FilesystemKind::Swap | FilesystemKind::Blank => return String::new(),
    };
    format!("{source} {mount} {kind} {} 0 {pass}\n", options([&partition.mount_options, grows.unwrap_or("")]))
}

fn options<const N: usize>(words: [&str; N]) -> String {
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    if words.is_empty() { "defaults".into() } else { words.join(",") }
}

/// Returns what finds the partition at this place of the table: its filesystem's UUID, as `blkid` prints it. A squashfs
/// has none, so its partition's stands in; so it does where the filesystem is that of another build.
fn source(inputs: &Inputs<'_>, disk: &Disk, at: usize) -> String {
    let partition = &disk.partitions[at];
    let elsewhere = inputs.spec.mender.is_some() && !partition.is_root();
    if elsewhere || partition.filesystem == FilesystemKind::Squashfs {
        return format!("PARTUUID={}", partition_id(inputs, disk, at));
    }
    format!("UUID={}", filesystem_id(inputs, partition))
}

/// Returns the id of the partition at this place of the table, as `blkid` prints it; in an MBR that is the disk's id and the row.
pub(super) fn partition_id(inputs: &Inputs<'_>, disk: &Disk, at: usize) -> String {
    match disk.table {
        TableKind::Gpt | TableKind::Hybrid => {
            inputs.lasting(&format!("partition {}", disk.partitions[at].name)).to_string()
        }
        TableKind::Mbr => format!("{:08x}-{:02x}", leading(inputs.lasting("disk")), at + 1),
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
    let of_partitions = disk.partitions.iter().filter_map(|partition| partition.mount.as_ref());
    let subvolumes = disk.partitions.iter().flat_map(|partition| &partition.subvolumes);
    // Where a partition is mounted, one of its subvolumes is.
    let of_subvolumes = subvolumes
        .map(|one| &one.mount)
        .filter(|mount| disk.partitions.iter().all(|partition| partition.mount.as_ref() != Some(mount)));
    let inner = of_partitions.chain(of_subvolumes).filter(|mount| **mount != GuestPath::root());
    inner.map(|mount| Action::Mkdir { path: mount.clone(), mode: 0o755, owner: Default::default() })
}

/// Kernel, initrd and command line for the loader; `/etc/kernel` keeps kernel updates on the device working.
fn loader(inputs: &Inputs<'_>, disk: &Disk, board: &BoardSpec) -> Vec<Action> {
    let name = match board.loader {
        Loader::None => return vec![],
        _ if inputs.is_apk() => return super::alpine::loader(inputs, disk, board, &cmdline(inputs, disk, board)),
        Loader::Extlinux => return extlinux(inputs, disk, board),
        Loader::RaspiFirmware => {
            let mut actions = mender::start(inputs, disk);
            actions.extend(super::raspi::generated(inputs, &cmdline(inputs, disk, board)));
            return actions;
        }
        Loader::ConfigTxt => return super::raspi::kept(inputs, disk, &cmdline(inputs, disk, board)),
        Loader::SystemdBoot => "systemd-boot",
        Loader::Uki => "uki",
    };
    let mut actions = vec![
        write(CMDLINE, format!("{}\n", cmdline(inputs, disk, board))),
        write(TOKEN, format!("{}\n", token(inputs, disk))),
        write("/etc/kernel/install.conf", format!("layout={}\n", if name == "uki" { "uki" } else { "bls" })),
        entries(inputs, disk, board, name),
    ];
    let slots = slot::views(disk);
    if !slots.is_empty() {
        actions.extend(slots.iter().map(|view| entries(inputs, view, board, name)));
        // Kernels of any slot are newer at times: what starts is the first one until somebody says otherwise.
        let text = format!("timeout 0\ndefault {}-*\n", token(inputs, disk));
        actions.push(write(&format!("{}/loader/loader.conf", esp(disk)), text));
    }
    actions.extend(grub::files(inputs, &esp(disk).to_string(), board));
    actions
}

/// The entries of every kernel, for the root that `disk` mounts.
fn entries(inputs: &Inputs<'_>, disk: &Disk, board: &BoardSpec, loader: &str) -> Action {
    let (token, base) = (token(inputs, disk), &inputs.spec.base);
    let root = disk.root().filter(|_| has_slots(disk)).map(|root| format!(", {}", root.name)).unwrap_or_default();
    let title = format!("{} {} ({}){root}", base.distribution, base.release, base.codename);
    Action::Boot {
        loader: loader.into(),
        cmdline: cmdline(inputs, disk, board),
        title,
        token,
        timeout: 0,
        esp: esp(disk),
    }
}

/// What the names of this root's entries begin with: kernel-install(8) replaces no other slot's.
pub fn token(inputs: &Inputs<'_>, disk: &Disk) -> String {
    let distribution = &inputs.spec.base.distribution;
    let root = disk.root().filter(|_| has_slots(disk));
    root.map_or_else(|| distribution.clone(), |root| format!("{distribution}-{}", root.name))
}

fn has_slots(disk: &Disk) -> bool {
    disk.partitions.iter().filter(|partition| partition.role == "root").count() > 1
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
        files: None,
    };
    vec![write("/etc/default/u-boot", text), update]
}

pub fn cmdline(inputs: &Inputs<'_>, disk: &Disk, board: &BoardSpec) -> String {
    let root = disk.partitions.iter().position(PartitionSpec::is_root);
    let root = root.map(|at| {
        let mode = if is_read_only(&disk.partitions[at]) { "ro" } else { "rw" };
        let subvolumes = &disk.partitions[at].subvolumes;
        let subvolume = subvolumes.iter().find(|one| one.mount == GuestPath::root());
        let flags = subvolume.map(|one| format!(" rootflags=subvol={}", one.name)).unwrap_or_default();
        format!("root={} {mode}{flags}", source(inputs, disk, at))
    });
    // What Alpine's initrd loads before it looks for the root.
    let initrd = disk.root().filter(|_| inputs.is_apk()).map(|root| {
        let kind = if root.filesystem == FilesystemKind::Btrfs { "btrfs" } else { "ext4" };
        format!("modules={kind} rootfstype={kind}")
    });
    let words = root.iter().chain(&initrd).chain(&board.kernel_arguments).chain(&inputs.spec.system.kernel_arguments);
    words.cloned().collect::<Vec<_>>().join(" ")
}

/// Returns where the boot partition is mounted; a disk without one keeps its loader in `/boot`.
pub(super) fn esp(disk: &Disk) -> kiln_model::GuestPath {
    let found = disk.partitions.iter().find(|partition| partition.role == "esp");
    found.and_then(|partition| partition.mount.clone()).unwrap_or_else(|| crate::context::path("/boot"))
}
