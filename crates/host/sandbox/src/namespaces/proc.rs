//! `/proc` without the parts that speak of the host or change it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::room::place;
use crate::error::Doing;
use crate::{Result, sys};

/// Files that read as `/dev/null` and directories that are empty: the host's memory, keys, messages and hardware.
const HIDDEN: [&str; 20] = [
    "acpi",
    "asound",
    "driver",
    "iomem",
    "ioports",
    "kallsyms",
    "kcore",
    "key-users",
    "keys",
    "kmsg",
    "kpagecgroup",
    "kpagecount",
    "kpageflags",
    "latency_stats",
    "sched_debug",
    "scsi",
    "sysrq-trigger",
    "timer_list",
    "timer_stats",
    "vmallocinfo",
];

/// Directories of single processes, which stay as they are.
const OWN: [&str; 2] = ["self", "thread-self"];

/// Hides [`HIDDEN`] and makes everything else that can be written, or holds what can, read-only.
///
/// As real root the program's user 0 is the host's: ownership alone would let it write to `/proc/sys`.
pub(super) fn mask() -> Result<()> {
    let doing = || "mask `/proc`".to_owned();
    for entry in fs::read_dir("/proc").doing(doing)? {
        let entry = entry.doing(doing)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(|first: char| first.is_ascii_digit()) || OWN.contains(&&*name) {
            continue;
        }
        let data = entry.metadata().doing(doing)?;
        let path = entry.path();
        if HIDDEN.contains(&&*name) {
            cover(if data.is_dir() { "/sys" } else { "/dev/null" }, &path)?;
        } else if data.is_dir() || (data.is_file() && data.permissions().mode() & 0o222 != 0 && data.uid() == 0) {
            freeze(&path)?;
        }
    }
    Ok(())
}

fn cover(with: &str, path: &Path) -> Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    place(open_tree(CWD, with, flags).doing(|| format!("hide `{}`", path.display()))?, path)
}

fn freeze(path: &Path) -> Result<()> {
    let doing = || format!("make `{}` read-only", path.display());
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, path, flags).doing(doing)?;
    sys::mount_add(&tree, libc::MOUNT_ATTR_RDONLY, false).doing(doing)?;
    place(tree, path)
}

/// Forbids further user namespaces: belt and braces, so a kernel without the switch is fine.
///
/// This switch belongs to the user namespace of whoever writes to it. Others look alike but are the host's:
/// `kernel.pid_max`, say, before Linux 6.14.
pub(super) fn forbid_user_namespaces() {
    let _ = fs::write("/proc/sys/user/max_user_namespaces", "0");
}
