//! The room: what a program sees as its file system.
//!
//! Everything of the host is picked up as a detached mount first; then the root is changed and the host is gone; only then
//! are the pieces put in place, so that no link in a hostile tree can lead a mount anywhere but into the tree.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, open_tree, unmount,
};
use rustix::net::{AddressFamily, SocketType, socket};

use super::points::Points;
use super::{foreign, proc};
use crate::error::Doing;
use crate::{Bind, Command, Network, Result, sys};

/// Nodes of the host's `/dev` that every program gets.
const NODES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("pts/ptmx", "/dev/ptmx"),
];

const QUIET: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV);

/// A room that was entered.
pub(super) struct Room {
    /// What was made in the tree for binds.
    pub points: Points,
    /// Keeps emulators registered.
    _emulators: Option<OwnedFd>,
}

/// Builds the room and enters it.
pub(super) fn build(command: &Command) -> Result<Room> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .doing(|| "make mounts private".into())?;
    let emulators = foreign::register(&command.emulators)?;
    let proc = make("proc", QUIET | MountAttrFlags::MOUNT_ATTR_NOEXEC, &[])?;
    let nodes = NODES.iter().map(|node| pick(Path::new("/dev").join(node).as_path())).collect::<Result<Vec<_>>>()?;
    let devices = command.devices.iter().map(|device| pick(device)).collect::<Result<Vec<_>>>()?;
    let binds = command.binds.iter().map(lend).collect::<Result<Vec<_>>>()?;
    let directories = command.binds.iter().map(|bind| bind.host.is_dir()).collect::<Vec<_>>();
    let points = change_root(command, &directories)?;
    place(proc, "/proc")?;
    proc::forbid_user_namespaces();
    dev(&nodes, command, &devices)?;
    place(make("tmpfs", QUIET | MountAttrFlags::MOUNT_ATTR_RDONLY, &[("size", "4k"), ("mode", "555")])?, "/sys")?;
    proc::mask()?;
    place(memory(command, "755")?, "/run")?;
    make_directory("/run/lock", 0o1777)?;
    place(memory(command, "1777")?, "/tmp")?;
    Points::make_in_memory(command, &directories)?;
    for (bind, tree) in command.binds.iter().zip(binds) {
        place(tree, bind.guest.under(Path::new("/")))?;
    }
    host_name_and_network(command)?;
    Ok(Room { points, _emulators: emulators })
}

/// Puts the tree in the place of the root and makes every mount point in it, then lets go of the host.
fn change_root(command: &Command, directories: &[bool]) -> Result<Points> {
    let doing = || format!("enter `{}`", command.root.display());
    let root = pick(&command.root)?;
    sys::mount_add(&root, libc::MOUNT_ATTR_NODEV, true).doing(doing)?;
    let (root, behind) = match command.read_only_root && !Points::are_there(&root, command) {
        true => {
            let covered = cover(root)?;
            (pick(&covered)?, pick(&covered)?)
        }
        false => (root, pick(&command.root)?),
    };
    // Any directory of the host serves to attach the tree; this is our own namespace, and `/proc` always exists.
    place(root, "/proc")?;
    std::env::set_current_dir("/proc").doing(doing)?;
    rustix::process::pivot_root(".", ".").doing(doing)?;
    unmount(".", UnmountFlags::DETACH).doing(|| "let go of the host's files".into())?;
    std::env::set_current_dir("/").doing(doing)?;
    let points = Points::make(behind, command, directories)?;
    if command.read_only_root {
        let root = open_tree(CWD, "/", OpenTreeFlags::OPEN_TREE_CLOEXEC).doing(doing)?;
        sys::mount_add(root, libc::MOUNT_ATTR_RDONLY, true).doing(|| "make the tree read-only".into())?;
    }
    Ok(points)
}

/// Lays memory over a tree that nobody may change, so that it gets its mount points all the same; returns where both are seen as one.
fn cover(root: OwnedFd) -> Result<PathBuf> {
    let base = Path::new("/proc");
    place(make("tmpfs", QUIET, &[("mode", "755")])?, base)?;
    let [tree, upper, work, both] = ["tree", "upper", "work", "both"].map(|name| base.join(name));
    for directory in [&tree, &upper, &work, &both] {
        fs::DirBuilder::new().mode(0o755).create(directory).doing(|| format!("make `{}`", directory.display()))?;
    }
    place(root, &tree)?;
    let path = |path: &Path| path.display().to_string();
    let options = [("lowerdir", path(&tree)), ("upperdir", path(&upper)), ("workdir", path(&work))];
    let options = options.iter().map(|(name, path)| (*name, path.as_str())).collect::<Vec<_>>();
    place(make("overlay", MountAttrFlags::MOUNT_ATTR_NODEV, &options)?, &both)?;
    Ok(both)
}

fn dev(nodes: &[OwnedFd], command: &Command, devices: &[OwnedFd]) -> Result<()> {
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    place(make("tmpfs", attributes, &[("mode", "755"), ("size", "1m"), ("nr_inodes", "1024")])?, "/dev")?;
    for (name, node) in NODES.iter().zip(nodes) {
        put_node(node, &Path::new("/dev").join(name))?;
    }
    for (path, node) in command.devices.iter().zip(devices) {
        put_node(node, path)?;
    }
    for (target, link) in LINKS {
        symlink(target, link).doing(|| format!("make `{link}`"))?;
    }
    make_directory("/dev/pts", 0o755)?;
    make_directory("/dev/shm", 0o1777)?;
    let options = [("ptmxmode", "666"), ("mode", "620"), ("gid", "5")];
    let terminals = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    place(make("devpts", terminals, &options)?, "/dev/pts")?;
    place(memory(command, "1777")?, "/dev/shm")
}

fn put_node(node: &OwnedFd, path: &Path) -> Result<()> {
    let doing = || format!("make `{}`", path.display());
    fs::create_dir_all(path.parent().unwrap_or(Path::new("/dev"))).doing(doing)?;
    fs::write(path, "").doing(doing)?;
    // The device works all the same; but real root inside is the owner of the host's node and must not change that.
    sys::mount_add(node, libc::MOUNT_ATTR_RDONLY, false).doing(doing)?;
    place(node, path)
}

/// Returns a file system in memory, no larger than all memory the command may use.
fn memory(command: &Command, mode: &str) -> Result<OwnedFd> {
    let size = command.limits.memory.map(|bytes| bytes.to_string());
    let size = size.as_deref().unwrap_or("50%");
    make("tmpfs", QUIET, &[("mode", mode), ("size", size)])
}

/// Makes a file system that is not in any place yet.
pub(crate) fn make(kind: &str, attributes: MountAttrFlags, options: &[(&str, &str)]) -> Result<OwnedFd> {
    let doing = || format!("make a `{kind}` file system");
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).doing(doing)?;
    for (name, value) in options {
        fsconfig_set_string(&context, *name, *value)
            .doing(|| format!("make a `{kind}` file system: {name}={value}"))?;
    }
    fsconfig_create(&context).doing(doing)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).doing(doing)
}

/// Picks up a file or tree of the host.
fn pick(path: &Path) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    open_tree(CWD, path, flags).doing(|| format!("lend `{}`", path.display()))
}

fn lend(bind: &Bind) -> Result<OwnedFd> {
    let tree = pick(&bind.host)?;
    let read_only = if bind.read_only { libc::MOUNT_ATTR_RDONLY } else { 0 };
    sys::mount_add(&tree, libc::MOUNT_ATTR_NODEV | read_only, true)
        .doing(|| format!("lend `{}`", bind.host.display()))?;
    Ok(tree)
}

pub(super) fn place(tree: impl AsFd, path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    move_mount(tree, "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .doing(|| format!("mount `{}`", path.display()))
}

fn make_directory(path: &str, mode: u32) -> Result<()> {
    let doing = || format!("make `{path}`");
    fs::DirBuilder::new().mode(mode).create(path).doing(doing)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).doing(doing)
}

fn host_name_and_network(command: &Command) -> Result<()> {
    rustix::system::sethostname(command.hostname.as_bytes())
        .doing(|| format!("set the host name `{}`", command.hostname))?;
    if command.network == Network::None {
        let doing = || "bring the loopback device up".to_owned();
        let socket = socket(AddressFamily::INET, SocketType::DGRAM, None).doing(doing)?;
        sys::loopback_up(socket.as_fd()).doing(doing)?;
    }
    Ok(())
}
