//! The spec: a recipe completed from the catalogue, with nothing left open.
//!
//! It names what is wanted in kiln's own terms whatever language the recipe was written in; package versions are not
//! in it (that is the lock's part), nor is the order of work (the plan's).

use std::collections::BTreeMap;

use kiln_model::action::{Blob, Compression, FilesystemKind, Size, Subvolume, TableKind};
use kiln_model::{Arch, Digest, GuestPath};
use serde::{Deserialize, Serialize};

/// A recipe with every gap filled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Version of this document's form.
    pub edition: u32,
    /// The image's name: the stem of its artifacts and of its lock.
    pub name: String,
    pub base: Base,
    pub packages: Packages,
    pub system: System,
    pub users: Vec<UserSpec>,
    pub network: Network,
    /// None where the image does not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_init: Option<CloudInit>,
    /// None where the image does not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mender: Option<Mender>,
    pub files: Vec<FileSpec>,
    pub scripts: Vec<Script>,
    pub services: Services,
    /// None when no output is a disk.
    pub disk: Option<Disk>,
    pub outputs: Vec<Output>,
    pub verify: Verify,
    /// Every secret the recipe refers to, by name.
    pub secrets: BTreeMap<String, SecretSource>,
}

/// What packages are: their format, and who installs them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Debian's: `.deb`, dpkg and apt.
    #[default]
    Deb,
    /// Alpine's: `.apk` of the second edition, and apk.
    Apk,
}

impl Family {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
    fn is_deb(&self) -> bool {
        *self == Self::Deb
    }
}

/// What the image is made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    #[serde(default, skip_serializing_if = "Family::is_deb")]
    pub family: Family,
    /// `debian`, `ubuntu`, `kali`, `devuan`, `raspios`, `alpine`.
    pub distribution: String,
    /// Version as people say it: `13`, `24.04`, `sid`.
    pub release: String,
    /// Name in the archive: `trixie`.
    pub codename: String,
    pub architecture: Arch,
    /// None: a tree without kernel or boot loader.
    pub board: Option<BoardSpec>,
    /// In order of preference only by their `priority`; the first is the distribution's main archive.
    pub repositories: Vec<Repository>,
    /// Where kiln's own tools for this build come from (Debian's archive for the host's architecture).
    pub tools: Repository,
    /// SOURCE_DATE_EPOCH; none means the newest `Date` of the locked Release files.
    pub epoch: Option<i64>,
    /// A tree that is there already, to build upon; none: one is made from the base set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<LocalFile>,
    /// Links that the merged-/usr layout needs before packages are unpacked, where the release does not ship them.
    pub merged_usr: Vec<(String, String)>,
    /// What OpenRC starts where the image holds it, by runlevel; empty without OpenRC.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub runlevels: BTreeMap<String, Vec<String>>,
}

/// A package repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// Unique in the spec: `main`, `updates`, `security`, or the recipe's word.
    pub name: String,
    /// Mirrors to try in order, without a trailing slash. They are facts of this machine and may hold credentials, so no
    /// document tells them: the same lock gives the same documents elsewhere.
    #[serde(skip)]
    pub uris: Vec<String>,
    /// The day of the past that is read, `20260101T000000Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// The address to write into the image's own sources.
    pub uri_in_image: String,
    pub suite: String,
    pub components: Vec<String>,
    /// Architectures to read: the image's, then foreign ones.
    pub architectures: Vec<Arch>,
    pub trust: Trust,
    /// Pin priority as in apt_preferences(5): 500 by default.
    pub priority: i32,
    /// Where the image's own sources find the key; a path in the image.
    pub signed_by: Option<String>,
    /// Whether `Valid-Until` is checked (not for snapshots).
    pub check_valid_until: bool,
    /// Whether it appears in the image's own sources.
    pub in_image: bool,
}

/// Whom a repository's signatures must come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trust {
    /// A keyring of the catalogue (`data/keyrings/NAME`).
    Keyring(String),
    /// Keys the recipe brings, as one armoured text; `fingerprints` narrows them when not empty.
    Keys { armored: String, fingerprints: Vec<String> },
    /// The recipe said the word: nothing is checked but hashes.
    Unsigned,
}

/// What the catalogue says of the board, for this release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardSpec {
    pub name: String,
    /// Kernel package, as in `linux-image-amd64`.
    pub kernel: String,
    pub loader: Loader,
    /// Whether a BIOS starts it too, by GRUB and the loader's entries.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bios: bool,
    /// `console=` and other arguments the board needs.
    pub kernel_arguments: Vec<String>,
    /// What its `config.txt` says further.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub config_txt: Vec<String>,
    /// The device tree's file, where its boot loader would take another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_tree: Option<String>,
    /// What lies outside of all partitions for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blobs: Vec<Blob>,
    /// Its tag among the devices of Raspberry Pi Imager: `pi3-64bit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imager: Option<String>,
    /// How QEMU imitates it, where it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qemu: Option<Qemu>,
}

impl Spec {
    /// Whether Raspberry Pi Imager can tell the system what it shall be: by a seed for cloud-init on the FAT.
    pub fn is_set_up_by_imager(&self) -> bool {
        let seed = self.cloud_init.as_ref().and_then(|cloud| cloud.seed.as_ref());
        let known = self.base.board.as_ref().is_some_and(|board| board.imager.is_some());
        known && seed.is_some_and(Seed::is_on_firmware)
    }
}

impl BoardSpec {
    /// Returns what starts this image; none where the board has a way of its own.
    pub fn firmware(&self) -> Vec<Firmware> {
        let uefi = self.qemu.as_ref().is_some_and(|qemu| qemu.firmware == Firmware::Uefi.name());
        let uefi = uefi.then_some(Firmware::Uefi);
        uefi.into_iter().chain(self.bios.then_some(Firmware::Bios)).collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loader {
    /// systemd-boot with Boot Loader Specification entries.
    SystemdBoot,
    /// One unified kernel image at the removable-media path.
    Uki,
    /// `extlinux.conf`, which U-Boot reads from the root's `/boot`.
    Extlinux,
    /// The firmware of a Raspberry Pi; Debian's hook of that name writes `config.txt` and `cmdline.txt` for every kernel.
    RaspiFirmware,
    /// The same, where both files stay as they were written once.
    ConfigTxt,
    None,
}

/// How QEMU imitates a board.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Qemu {
    /// `x86_64`, `aarch64`, … as in `qemu-system-…`.
    pub system: String,
    pub machine: String,
    pub cpu: String,
    /// `uefi` or `bios`; `raspberry-pi`, whose work kiln does; or `none`, where the machine reads the disk by itself.
    pub firmware: String,
    /// MiB of memory.
    pub memory: u32,
    /// The serial console inside the guest: `ttyS0`.
    pub console: String,
    /// Which of the machine's serial ports that is, from 0.
    #[serde(default, skip_serializing_if = "is_first")]
    pub serial: u32,
    /// How the disk is attached.
    #[serde(default, skip_serializing_if = "Bus::is_virtio")]
    pub bus: Bus,
    /// Names that the board's device tree has in kernels, the first that is there counts.
    #[serde(default, rename = "device-trees", skip_serializing_if = "Vec::is_empty")]
    pub device_trees: Vec<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_first(port: &u32) -> bool {
    *port == 0
}

impl Qemu {
    /// Returns the same machine with another firmware.
    pub fn with(&self, firmware: Firmware) -> Self {
        Self { firmware: firmware.name().into(), ..self.clone() }
    }
}

/// How QEMU attaches a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bus {
    /// To a machine with PCI, which gets a network card and a source of randomness of this kind too.
    #[default]
    Virtio,
    /// As the memory card of a board, which has what it has.
    Sd,
}

impl Bus {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
    fn is_virtio(&self) -> bool {
        *self == Self::Virtio
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packages {
    pub base: BaseSet,
    /// That set by name, where packages do not say themselves what they are to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<String>,
    /// What the recipe, the board and the features it uses ask for, with the reason each was added.
    pub include: Vec<Wanted>,
    pub exclude: Vec<String>,
    pub recommends: bool,
    /// Package files beside the recipe.
    pub files: Vec<LocalFile>,
    /// Foreign architectures whose packages may be installed.
    pub foreign: Vec<Arch>,
}

/// The set of packages a tree starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BaseSet {
    /// `Essential: yes` only.
    Essential,
    /// Essential, `Priority: required` and apt.
    Minbase,
    /// And `Priority: important`.
    Important,
    /// And `Priority: standard`.
    Standard,
}

/// A package request: `name`, `name=version`, `name/suite`, `name:arch`, `task^`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    pub package: String,
    /// `recipe`, or what needs it: `board generic-x86_64`, `users.sudo`.
    pub why: String,
}

/// A file or folder beside the recipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalFile {
    /// Relative to the recipe's folder.
    pub path: String,
    pub digest: Digest,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    pub hostname: String,
    /// `C.UTF-8`, `de_DE.UTF-8`.
    pub locale: String,
    /// Further locales to generate.
    pub locales: Vec<String>,
    /// `Etc/UTC`.
    pub timezone: String,
    /// XKB layout and variant, when asked for.
    pub keyboard: Option<Keyboard>,
    /// The recipe's own kernel arguments, after the board's.
    pub kernel_arguments: Vec<String>,
    pub machine_id: MachineId,
    /// Whether the root filesystem grows to the medium at first boot.
    pub grow: bool,
    /// Whether installed packages are brought to their newest version: always so for a fresh lock; kept for clarity.
    pub upgrade: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyboard {
    pub layout: String,
    pub variant: String,
    pub model: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MachineId {
    /// An empty `/etc/machine-id`: made once at first boot.
    FirstBoot,
    /// 32 hexadecimal digits.
    Fixed(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserSpec {
    pub name: String,
    pub uid: Option<u32>,
    pub gecos: String,
    pub home: String,
    pub shell: String,
    pub groups: Vec<String>,
    pub system: bool,
    pub password: PasswordSpec,
    pub ssh_keys: Vec<String>,
    pub sudo: Sudo,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PasswordSpec {
    Locked,
    Hash(String),
    /// Name in [`Spec::secrets`].
    Secret(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sudo {
    No,
    Password,
    NoPassword,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub backend: NetworkBackend,
    pub interfaces: Vec<Interface>,
    /// Name servers for `/etc/resolv.conf`; empty: as DHCP says.
    pub dns: Vec<String>,
    pub search: Vec<String>,
    pub wifi: Vec<Wifi>,
    pub wifi_country: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkBackend {
    /// Only hostname and hosts are written.
    None,
    /// systemd-networkd.
    Networkd,
    /// ifupdown, for systems without systemd.
    Ifupdown,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Name or glob: `en*`, `eth0`, `wlan0`.
    pub name: String,
    pub dhcp: bool,
    /// With prefix length: `192.0.2.2/24`.
    pub addresses: Vec<String>,
    pub gateway: Option<String>,
    pub dns: Vec<String>,
    /// Whether the boot waits for it to be online.
    pub required: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wifi {
    pub ssid: String,
    /// Name in [`Spec::secrets`]; none for an open network.
    pub psk: Option<String>,
    pub hidden: bool,
}

/// cloud-init: where it looks for what it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudInit {
    /// `NoCloud`, `Ec2`, …, in the order they are asked.
    pub datasources: Vec<String>,
    /// What the image itself tells it.
    pub seed: Option<Seed>,
}

/// A NoCloud seed in the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed {
    /// cloud-init's own folder, or the mount point of a partition that any computer reads.
    pub folder: GuestPath,
    pub user_data: Option<LocalFile>,
    pub meta_data: Option<LocalFile>,
    pub network_config: Option<LocalFile>,
}

impl Seed {
    /// Where boards have the FAT partition that any computer reads.
    pub const FIRMWARE: &str = "/boot/firmware";

    /// Whether any computer can read and change it.
    pub fn is_on_firmware(&self) -> bool {
        self.folder.as_bytes() == Self::FIRMWARE.as_bytes()
    }
}

/// Mender's client, which writes new systems into the root that does not run and starts them once, to stay where they work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mender {
    /// What the server knows this software by.
    pub artifact_name: String,
    /// Devices take artifacts of their own type only.
    pub device_type: String,
    pub server_url: String,
    /// Name in [`Spec::secrets`].
    pub tenant_token: Option<String>,
    /// Seconds between two questions for an update.
    pub update_interval: u32,
    /// Seconds between two reports of what the device is.
    pub inventory_interval: u32,
    /// Seconds until the server is asked again that did not answer.
    pub retry_interval: u32,
    /// The image's file that the board's firmware starts in place of a kernel: U-Boot.
    pub u_boot: GuestPath,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSpec {
    pub path: GuestPath,
    pub content: FileContent,
    /// None: 0644 for files, as on disk for copied trees.
    pub mode: Option<u32>,
    pub user: String,
    pub group: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileContent {
    Text(String),
    Local(LocalFile),
    /// What an address gives. Where the recipe does not say its digest, the lock does.
    Download {
        url: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sha256: Option<Digest>,
    },
    Secret(String),
    Symlink(String),
    Directory,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    pub after: Point,
    /// For logs and errors.
    pub name: String,
    /// Program text; run by its `#!` line or by `/bin/sh -eu`.
    pub text: String,
    /// Secrets handed in as environment variables: variable → secret name.
    pub secrets: BTreeMap<String, String>,
    /// A folder that the program sees while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<LocalFile>,
}

/// Where a script runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Point {
    /// Nothing is in the tree; the script runs outside of it.
    Start,
    /// The base set is unpacked and not configured.
    Unpack,
    Bootstrap,
    Packages,
    Kernel,
    Network,
    Users,
    /// The last thing before the image is made.
    Cleanup,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Services {
    pub enable: Vec<String>,
    pub disable: Vec<String>,
    pub mask: Vec<String>,
}

/// The disk as the recipe and the layout say it; ids are the plan's part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Name in `data/layouts`.
    pub layout: String,
    pub table: TableKind,
    pub size: Size,
    pub partitions: Vec<PartitionSpec>,
    /// What the recipe puts outside of all partitions, before what its board puts there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blobs: Vec<Blob>,
}

impl Disk {
    /// Returns the partition that is mounted at `/`.
    pub fn root(&self) -> Option<&PartitionSpec> {
        self.partitions.iter().find(|partition| partition.is_root())
    }

    /// Returns the partition that can grow to a larger medium: the last one, where it is written to while the system runs.
    pub fn last_to_grow(&self) -> Option<&PartitionSpec> {
        let grows = |partition: &&PartitionSpec| {
            partition.mount.is_some() && matches!(partition.filesystem, FilesystemKind::Ext4 | FilesystemKind::Btrfs)
        };
        self.partitions.last().filter(grows)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionSpec {
    pub name: String,
    /// Role: `esp`, `root`, `boot`, `home`, `srv`, `var`, `data`, `swap`; decides the discoverable type.
    pub role: String,
    /// None: it is mounted nowhere.
    pub mount: Option<GuestPath>,
    pub filesystem: FilesystemKind,
    pub label: String,
    pub size: Size,
    pub features: Vec<String>,
    pub mount_options: String,
    /// Those of a btrfs; one of them is mounted where the partition is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subvolumes: Vec<Subvolume>,
    /// Whether it takes what the others leave of the disk; where none does, the root.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub grow: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<Slot>,
}

impl PartitionSpec {
    pub fn is_root(&self) -> bool {
        self.mount == Some(GuestPath::root())
    }

    /// Whether it is a further slot of the partition called `name`.
    pub fn is_slot_of(&self, name: &str) -> bool {
        self.slot.as_ref().is_some_and(|slot| slot.of == name)
    }
}

/// What makes a partition a further slot of another one, as large and of its kind: systems that are updated as a whole
/// run from one while the other is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Slot {
    /// Name of the first.
    pub of: String,
    /// Whether it holds the same, with an entry of its own in the boot menu; else nothing is written into it.
    pub filled: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    pub format: Format,
    pub compression: Option<Compression>,
    /// For squashfs and erofs: the compressor inside the filesystem.
    pub inner: Option<String>,
    /// For a file: which one of the tree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<GuestPath>,
    /// File name in the output folder.
    pub file: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Raw,
    Qcow2,
    Tar,
    Squashfs,
    Erofs,
    Dir,
    File,
    Mender,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verify {
    /// Whether the build boots the image and fails when it does not come up.
    pub boot: bool,
    /// Seconds until the login prompt must be there, under emulation.
    pub timeout: u32,
    /// What starts the machine, each in turn; empty: the board's usual firmware.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub firmware: Vec<Firmware>,
    pub asserts: Vec<Assert>,
}

/// What starts a machine before anything of the image runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    Uefi,
    Bios,
}

impl Firmware {
    /// Returns the word it has in recipes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uefi => "uefi",
            Self::Bios => "bios",
        }
    }
}

/// Something that must hold in the booted image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Assert {
    /// `systemctl is-active` says so.
    UnitActive(String),
    /// The command exits with `status`; when given, its output holds `contains`. It has so many seconds, or the usual ones.
    Command {
        run: String,
        status: i32,
        contains: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout: Option<u32>,
    },
    /// Something listens on this TCP port.
    PortOpen(u16),
    /// `systemctl --failed` lists nothing.
    NoFailedUnits,
    /// The machine restarts and comes up again, with what was changed in it so far.
    Restart,
}

/// Where a secret comes from when the build runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecretSource {
    Environment(String),
    /// Relative to the recipe's folder, or absolute.
    File(String),
}
