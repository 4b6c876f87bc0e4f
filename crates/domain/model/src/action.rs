//! Actions: what a stage does. Everything that decides bytes is in an action's fields; nothing is left to choose.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Digest, GuestPath};

/// One thing done to the target tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Action {
    /// Copies a folder with all that files have (owners, modes, times, links, extended attributes), but for the device nodes of its
    /// `/dev`: the tree that is built upon.
    Tree {
        from: LocalInput,
    },
    /// Unpacks package archives natively and records them in the family's database as unpacked.
    Unpack {
        packages: Vec<PackageRef>,
        /// Unpack only: no database, no maintainer scripts (tools trees).
        #[serde(default)]
        bare: bool,
        /// Of bare packages, the files that are wanted (neither links nor what links lead to); empty: all.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        only: Vec<GuestPath>,
    },
    /// Lets the family's own tool configure every unpacked package, in the sandbox.
    Configure {
        /// Programs that package scripts call again and again, held back while they run.
        hold: Vec<String>,
        env: BTreeMap<String, String>,
    },
    /// Tells apt that somebody asked for packages which the tree has, as in `vim:amd64`: `apt autoremove` leaves them alone.
    Manual {
        packages: Vec<String>,
    },
    /// Installs Alpine's packages, one after the other in this order: each one's scripts, its files; then apk's database and the
    /// triggers.
    Install {
        /// Everything that the tree has then.
        packages: Vec<PackageRef>,
        /// How many of them, from the first on, it has already.
        installed: usize,
        /// What apk is told that somebody asked for: `/etc/apk/world`.
        world: Vec<String>,
        env: BTreeMap<String, String>,
    },
    /// Brings what the Alpine that is built upon has installed to what is wanted: packages go, come and are renewed one after the
    /// other, each with its scripts; then apk's database and the triggers.
    Upgrade {
        /// What comes: new packages and other versions, in this order.
        packages: Vec<PackageRef>,
        /// Names of everything that the tree has then, in the order of the answer. Whatever else it has goes.
        names: Vec<String>,
        /// What the recipe asks for; what the tree's `/etc/apk/world` asks for besides stays.
        world: Vec<String>,
        env: BTreeMap<String, String>,
    },
    /// Adds services of OpenRC to runlevels, those of them that the tree has.
    Runlevels {
        /// By runlevel, as in `boot`.
        services: BTreeMap<String, Vec<String>>,
    },
    /// Runs a command in the sandbox.
    Run {
        name: String,
        r#in: RunIn,
        argv: Vec<String>,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        env: BTreeMap<String, String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stdin: Option<Content>,
        /// A folder that it sees at [`FILES`] and cannot change.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        files: Option<LocalInput>,
    },
    /// Writes a file, replacing what is there; parents that are missing are made with mode 0755.
    Write {
        path: GuestPath,
        content: Content,
        mode: u32,
        #[serde(default)]
        owner: Owner,
    },
    Mkdir {
        path: GuestPath,
        mode: u32,
        #[serde(default)]
        owner: Owner,
    },
    Symlink {
        path: GuestPath,
        target: String,
    },
    /// Removes what matches a glob, directories with their content; matching nothing is fine.
    Remove {
        glob: String,
    },
    /// Empties every file that matches a glob.
    Truncate {
        glob: String,
    },
    /// Adds groups and users to `passwd`, `group`, `shadow` and `gshadow`, or changes those that exist.
    Users {
        users: Vec<User>,
    },
    /// Enables, disables and masks units.
    Services {
        enable: Vec<String>,
        disable: Vec<String>,
        mask: Vec<String>,
    },
    /// Copies a tree or file of the recipe's folder.
    Copy {
        path: GuestPath,
        from: LocalInput,
        mode: Option<u32>,
        #[serde(default)]
        owner: Owner,
    },
    /// Writes what an address gave.
    Download {
        path: GuestPath,
        from: Download,
        mode: u32,
        #[serde(default)]
        owner: Owner,
    },
    /// Writes modules.dep and its sisters for every kernel in the tree.
    Depmod,
    /// Makes the initrd of every kernel in the tree, once.
    Initrd {
        env: BTreeMap<String, String>,
    },
    /// Fills the boot tree (what goes to the ESP) from kernel, initrd, loader and command line.
    Boot {
        loader: String,
        cmdline: String,
        title: String,
        token: String,
        /// Seconds the menu waits.
        timeout: u32,
        /// Where the boot partition is mounted.
        esp: GuestPath,
    },
    /// Sets the time of every file that is newer to `epoch` when the tree is read out (seconds since 1970).
    Clamp {
        epoch: i64,
    },
    /// Turns the tree into an artifact.
    Image(ImageAction),
    /// Checks and places an artifact with its companions beside it.
    Publish {
        companions: Vec<String>,
    },
}

/// Where a command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunIn {
    /// With the target tree as root.
    Target,
    /// With the tools tree as root and the target tree at `/target`.
    Tools,
}

/// A package archive, pinned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PackageRef {
    pub name: String,
    pub version: String,
    pub architecture: String,
    pub sha256: Digest,
    /// Length of the archive in bytes.
    pub size: u64,
    /// Nobody asked for it by name: the target's own package manager may remove it once nothing depends on it.
    #[serde(default)]
    pub automatic: bool,
}

/// A file of the network, pinned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Download {
    pub url: String,
    /// Length in bytes.
    pub size: u64,
    pub sha256: Digest,
}

impl Download {
    /// Returns the last part of the address's path.
    pub fn name(&self) -> &str {
        file_name(&self.url)
    }
}

/// Returns the last part of an address's path; the address itself where that is empty.
pub fn file_name(url: &str) -> &str {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    path.rsplit('/').find(|part| !part.is_empty()).unwrap_or(url)
}

/// Where a command sees the folder that is lent to it.
pub const FILES: &str = "/run/kiln/files";

/// What a file shall hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    Text(String),
    /// Bytes that are no text, in base64 (RFC 4648).
    Base64(String),
    /// A secret, by reference; the fingerprint changes when the secret does and tells nothing else.
    Secret {
        name: String,
        fingerprint: String,
    },
}

/// A file or folder beside the recipe, pinned by the digest of its content (for a folder: of its listing; for a tree to build upon:
/// of that with owners, modes, times and extended attributes).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalInput {
    /// Relative to the recipe's folder.
    pub path: String,
    pub digest: Digest,
}

/// Who owns a file: names are looked up in the target's own `passwd` and `group` when the action runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub user: String,
    pub group: String,
}

impl Default for Owner {
    fn default() -> Self {
        Self { user: "root".into(), group: "root".into() }
    }
}

/// A user as it shall be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub name: String,
    pub uid: Option<u32>,
    pub gecos: String,
    pub home: String,
    pub shell: String,
    /// Supplementary groups; made as system groups when missing.
    pub groups: Vec<String>,
    pub system: bool,
    pub password: Password,
    pub ssh_keys: Vec<String>,
    /// Day of the last password change, in days since 1970.
    pub changed: i64,
}

/// What goes into the password field of `shadow`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Password {
    /// No password opens the account (`!` for locked new users, unchanged for existing ones).
    Locked,
    /// A crypt(5) hash.
    Hash(String),
    /// A secret: a crypt(5) hash as it is, else a password that is hashed with sha512-crypt and `salt`, twelve bytes.
    Secret { name: String, fingerprint: String, salt: String },
}

/// How the tree becomes an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "format", rename_all = "lowercase")]
pub enum ImageAction {
    Dir,
    /// One file of the tree.
    File {
        path: GuestPath,
        compression: Option<Compression>,
    },
    Tar {
        compression: Option<Compression>,
    },
    Squashfs {
        /// The compressor of its blocks.
        inner: String,
        /// What the file is packed with.
        compression: Option<Compression>,
    },
    Erofs {
        /// The compressor of its blocks, if any.
        inner: Option<String>,
        /// What the file is packed with.
        compression: Option<Compression>,
    },
    /// A partitioned disk, raw or qcow2.
    Disk {
        container: DiskContainer,
        disk: DiskLayout,
        compression: Option<Compression>,
    },
    /// One partition of a disk as an update by Mender.
    Mender {
        disk: DiskLayout,
        /// Name of the partition.
        partition: String,
        /// What devices say they run once they have it.
        artifact_name: String,
        device_type: String,
        compression: Option<Compression>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskContainer {
    Raw,
    Qcow2,
}

/// A compressor and its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compression {
    pub algorithm: Algorithm,
    pub level: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    Zst,
    Xz,
    Gz,
    Bz2,
}

impl Algorithm {
    /// Returns the file name ending, without a dot.
    pub const fn ending(self) -> &'static str {
        match self {
            Self::Zst => "zst",
            Self::Xz => "xz",
            Self::Gz => "gz",
            Self::Bz2 => "bz2",
        }
    }
}

/// A disk with nothing left open: sizes are decided from the tree by rule when it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskLayout {
    pub table: TableKind,
    /// Disk id: a UUID for GPT, its first four bytes for MBR.
    pub id: uuid::Uuid,
    pub partitions: Vec<Partition>,
    /// What a machine's first program is read from, outside of all partitions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blobs: Vec<Blob>,
    /// What a PC with a BIOS starts from; none: only other firmware starts this disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bios: Option<Bios>,
    pub size: Size,
}

/// GRUB for PCs with a BIOS, made by its own tool and put between table and partitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bios {
    /// Id of the partition that a GPT has for it.
    pub id: uuid::Uuid,
    /// The modules that it consists of.
    pub modules: Vec<String>,
    /// What it does first, one simple command a line.
    pub config: String,
}

/// A file of the tree that also lies at a fixed place of the disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Blob {
    pub path: GuestPath,
    /// First byte on the disk.
    pub offset: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableKind {
    Gpt,
    Mbr,
    /// A GPT whose MBR shows the FAT partitions too.
    Hybrid,
}

impl TableKind {
    /// Whether partitions are found by a GPT.
    pub const fn has_gpt(self) -> bool {
        matches!(self, Self::Gpt | Self::Hybrid)
    }
}

impl TableKind {
    /// Returns how many bytes at the beginning of a disk a table takes: of a GPT, the protective MBR, the header and 128
    /// rows of 128 bytes.
    pub const fn length(self) -> u64 {
        match self {
            Self::Gpt | Self::Hybrid => 34 * 512,
            Self::Mbr => 512,
        }
    }
}

/// Partitions begin and end at multiples of this many bytes.
pub const ALIGN: u64 = 1 << 20;

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    pub name: String,
    /// GPT type, or for MBR the one-byte type in hexadecimal (`0x0c`).
    pub r#type: String,
    pub id: uuid::Uuid,
    /// Which part of the tree it holds, if any; the deepest mount point wins.
    pub mount: Option<GuestPath>,
    pub filesystem: Filesystem,
    pub size: Size,
    /// Takes what the others leave of the disk.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub grow: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twin: Option<Twin>,
}

/// What makes a partition the second slot of another one: both have the same size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Twin {
    /// Name of the first one.
    pub of: String,
    /// Files whose text is another one in this slot.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub replace: BTreeMap<GuestPath, String>,
}

/// A filesystem with its identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filesystem {
    pub kind: FilesystemKind,
    pub label: String,
    /// For FAT its first four bytes are the volume id.
    pub uuid: uuid::Uuid,
    /// Seed of directory hashes and the like.
    pub seed: uuid::Uuid,
    /// Feature words of the filesystem's own tool, as in `^orphan_file`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// Those of btrfs; without any, its top level holds everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subvolumes: Vec<Subvolume>,
}

/// A subvolume at the top level of a btrfs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Subvolume {
    pub name: String,
    /// Which part of the tree it holds; the deepest mount point wins.
    pub mount: GuestPath,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FilesystemKind {
    Ext4,
    Btrfs,
    Fat,
    Erofs,
    Squashfs,
    Swap,
    /// None: nothing is written.
    Blank,
}

impl FilesystemKind {
    /// Whether it is made once and only read.
    pub const fn is_read_only(self) -> bool {
        matches!(self, Self::Erofs | Self::Squashfs)
    }
}

/// How large something shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Size {
    /// What the content needs.
    Auto,
    /// Exactly so many bytes; too few is an error that names how many would do.
    Fixed(u64),
    /// What the content needs plus `free` bytes for use, and no less than `minimum` bytes in all.
    Roomy { minimum: u64, free: u64 },
}
