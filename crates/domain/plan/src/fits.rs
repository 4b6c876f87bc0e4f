//! Whether the locked packages fit into what the recipe fixes, told before any of them is fetched.
//!
//! Lower bounds only: what archives say their packages take unpacked, less a tenth for what they overstate, and a third of a
//! kernel's package for the kernel and its initrd. What is really needed is known when the image is made.

use kiln_family::lock::Lock;
use kiln_model::GuestPath;
use kiln_model::action::{FilesystemKind, Size};
use kiln_recipe::Spec;
use kiln_recipe::spec::{Disk, Loader, PartitionSpec};

/// Something that is too small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// As [`kiln_recipe::Completed::locate`] knows the place where its size is said.
    pub place: String,
    /// A sentence.
    pub text: String,
    pub hint: String,
}

const MIB: u64 = 1 << 20;
/// Folders that packages fill: with one of them elsewhere, nobody knows what the root holds.
const FILLED: [&str; 5] = ["/etc", "/lib", "/opt", "/usr", "/var"];

/// Returns what is too small for the packages of `lock`. Scripts of a recipe may remove anything, so with them nothing is told.
pub fn misfits(spec: &Spec, lock: &Lock) -> Vec<Misfit> {
    let Some(disk) = spec.disk.as_ref().filter(|_| spec.scripts.is_empty()) else { return vec![] };
    root(disk, lock).into_iter().chain(boot(spec, disk, lock)).collect()
}

fn root(disk: &Disk, lock: &Lock) -> Option<Misfit> {
    let root = disk.root().filter(|root| holds_as_is(root.filesystem))?;
    let filled = |mount: &GuestPath| FILLED.iter().any(|folder| mount.to_string() == *folder);
    if disk.partitions.iter().filter_map(|part| part.mount.as_ref()).any(filled) {
        return None;
    }
    // Of a tree nobody knows what was left out of it.
    let fresh = lock.packages.iter().filter(|package| !package.in_tree);
    let installed: u64 = fresh.filter_map(|package| package.installed).sum();
    let needed = installed / 10 * 9;
    let (place, size) = room(disk, root)?;
    let text = format!(
        "the packages take about {} MiB unpacked, and `{}` has {} MiB at most",
        installed / MIB,
        root.name,
        size / MIB
    );
    let hint = "say \"auto\" or a larger size, or leave packages out".to_owned();
    (size < needed).then_some(Misfit { place, text, hint })
}

fn holds_as_is(kind: FilesystemKind) -> bool {
    matches!(kind, FilesystemKind::Ext4 | FilesystemKind::Btrfs)
}

/// Returns how many bytes the root has at most, where that is fixed, and where it is said.
fn room(disk: &Disk, root: &PartitionSpec) -> Option<(String, u64)> {
    let slots = |part: &PartitionSpec| part.name == root.name || part.is_slot_of(&root.name);
    match (root.size, disk.size) {
        (Size::Fixed(size), _) => Some((place_of(&root.name), size)),
        (_, Size::Fixed(size)) => {
            let others = disk.partitions.iter().filter(|part| !slots(part)).map(|part| least(part.size)).sum::<u64>();
            let count = disk.partitions.iter().filter(|part| slots(part)).count() as u64;
            Some((kiln_recipe::SIZE_OF_DISK.to_owned(), size.saturating_sub(others) / count.max(1)))
        }
        _ => None,
    }
}

fn least(size: Size) -> u64 {
    match size {
        Size::Fixed(size) => size,
        Size::Roomy { minimum, free } => minimum.max(free),
        Size::Auto => MIB,
    }
}

/// A boot partition of a fixed size holds a kernel and its initrd for every root.
fn boot(spec: &Spec, disk: &Disk, lock: &Lock) -> Option<Misfit> {
    let board = spec.base.board.as_ref()?;
    let esp = disk.partitions.iter().find(|part| part.role == "esp")?;
    let Size::Fixed(size) = esp.size else { return None };
    if !matches!(board.loader, Loader::SystemdBoot | Loader::Uki) {
        return None;
    }
    let kernels = lock.packages.iter().filter(|package| package.name.starts_with("linux-image-"));
    let kernel = kernels.map(|package| package.size / 3).sum::<u64>();
    let filled = |part: &&PartitionSpec| part.slot.as_ref().is_some_and(|slot| slot.filled);
    let needed = kernel * (1 + disk.partitions.iter().filter(filled).count() as u64);
    let text =
        format!("kernel and initrd take about {} MiB, and `{}` has {} MiB", needed.div_ceil(MIB), esp.name, size / MIB);
    let hint = format!("say \"{}MiB\" or more, or \"auto\"", (4 * needed).div_ceil(64 * MIB) * 64);
    (size < needed).then(|| Misfit { place: place_of(&esp.name), text, hint })
}

fn place_of(partition: &str) -> String {
    kiln_recipe::size_of(partition)
}
