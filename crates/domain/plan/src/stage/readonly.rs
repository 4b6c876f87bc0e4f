//! A root that cannot be written: its initrd lays memory over it, for all that a running system writes.

use kiln_model::Action;
use kiln_model::action::FilesystemKind;
use kiln_recipe::spec::PartitionSpec;

use crate::Inputs;
use crate::context::{write, write_mode};

/// Returns whether a partition's filesystem is made once and only read.
pub fn is_read_only(partition: &PartitionSpec) -> bool {
    module(partition.filesystem).is_some()
}

/// Returns the kernel's module for a filesystem that is only read.
fn module(filesystem: FilesystemKind) -> Option<&'static str> {
    match filesystem {
        FilesystemKind::Erofs => Some("erofs"),
        FilesystemKind::Squashfs => Some("squashfs"),
        FilesystemKind::Ext4
        | FilesystemKind::Btrfs
        | FilesystemKind::Fat
        | FilesystemKind::Swap
        | FilesystemKind::Blank => None,
    }
}

/// Returns what the initrd is made with, or nothing where the root can be written.
pub fn initrd(inputs: &Inputs<'_>) -> Vec<Action> {
    let root = inputs.spec.disk.as_ref().and_then(|disk| disk.root());
    let Some(module) = root.and_then(|root| module(root.filesystem)) else { return vec![] };
    vec![
        write(&format!("{FOLDER}/modules.d/kiln-root"), format!("{module}\noverlay\n")),
        write_mode(&format!("{FOLDER}/scripts/local-bottom/kiln-root"), OVERLAY, 0o755),
    ]
}

const FOLDER: &str = "/usr/share/initramfs-tools";

/// Runs when the root is mounted and before anything is moved into it. `/run` goes along to the system, so the image
/// stays in sight there. `-o move` is how small programs spell it, `--move` how util-linux does.
const OVERLAY: &str = r#"#!/bin/sh
# The root cannot be written: what the running system writes is kept in memory, and goes with it.
if [ "$1" = prereqs ]; then
    exit 0
fi
. /scripts/functions

image=/run/kiln/image memory=/run/kiln/memory
mkdir -p "$image" "$memory"
mount -n -o move "$rootmnt" "$image" || mount -n --move "$rootmnt" "$image" || panic "the root cannot be moved"
mount -t tmpfs -o mode=0755 tmpfs "$memory" || panic "there is no memory to write to"
mkdir "$memory/upper" "$memory/work"
mount -t overlay -o "lowerdir=$image,upperdir=$memory/upper,workdir=$memory/work" overlay "$rootmnt" ||
    panic "nothing can be laid over the root"
"#;
