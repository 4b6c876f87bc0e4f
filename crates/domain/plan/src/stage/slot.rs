//! Slots: partitions that take turns. Each holds the same tree, but for the few files that say which of them it is.

use std::collections::BTreeMap;

use kiln_model::GuestPath;
use kiln_recipe::spec::{Disk, Loader, PartitionSpec};

use super::boot;
use crate::Inputs;
use crate::context::path;

/// Returns the disk as it looks from each filled slot of the root, the first one's own view not among them.
pub fn views(disk: &Disk) -> Vec<Disk> {
    let Some(root) = disk.root() else { return vec![] };
    let filled = |part: &&PartitionSpec| part.slot.as_ref().is_some_and(|slot| slot.of == root.name && slot.filled);
    disk.partitions.iter().filter(filled).map(|slot| view(disk, slot)).collect()
}

/// Returns the disk with a slot mounted where the first one is.
fn view(disk: &Disk, slot: &PartitionSpec) -> Disk {
    let mut disk = disk.clone();
    let of = slot.slot.as_ref().map(|slot| slot.of.clone()).unwrap_or_default();
    let first = disk.partitions.iter_mut().find(|part| part.name == of);
    let Some((mount, subvolumes)) = first.map(|first| (first.mount.take(), std::mem::take(&mut first.subvolumes)))
    else {
        return disk;
    };
    if let Some(own) = disk.partitions.iter_mut().find(|part| part.name == slot.name) {
        (own.mount, own.subvolumes, own.slot) = (mount, subvolumes, None);
    }
    disk
}

/// Returns the texts that differ in a slot from those of the first one.
pub fn files(inputs: &Inputs<'_>, disk: &Disk, slot: &PartitionSpec) -> BTreeMap<GuestPath, String> {
    if !disk.root().is_some_and(|root| slot.is_slot_of(&root.name)) {
        return BTreeMap::new();
    }
    let view = view(disk, slot);
    let mut files = BTreeMap::from([(path(boot::FSTAB), boot::fstab(inputs, &view))]);
    let board = inputs.spec.base.board.as_ref().filter(|board| board.loader == Loader::SystemdBoot);
    if let Some(board) = board {
        files.insert(path(boot::CMDLINE), boot::cmdline(inputs, &view, board) + "\n");
        files.insert(path(boot::TOKEN), boot::token(inputs, &view) + "\n");
    }
    files
}
