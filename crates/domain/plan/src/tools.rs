//! The tools tree: what this image's formats need that kiln does not do itself.

use kiln_family::lock::Locked;
use kiln_model::action::FilesystemKind;
use kiln_model::{Action, Stage, StageKind};
use kiln_recipe::spec::{Format, Point, Spec};

use crate::Inputs;
use crate::context::symlink;

/// Returns the packages whose programs decide the image's bytes; kiln writes ext4, btrfs, FAT, swap, tar, qcow2 and the compressed
/// forms itself.
pub fn wanted(spec: &Spec) -> Vec<&'static str> {
    let of_outputs = spec.outputs.iter().filter_map(|output| of_format(output.format));
    let partitions = spec.disk.iter().flat_map(|disk| &disk.partitions);
    let bios = spec.disk.is_some() && spec.base.board.as_ref().is_some_and(|board| board.bios);
    let grub = if bios { &GRUB[..] } else { &[] };
    let of_disk = partitions.filter_map(|part| of_filesystem(part.filesystem)).chain(grub.iter().copied());
    let of_scripts = if has_early_scripts(spec) { &SCRIPTS[..] } else { &[] };
    let mut names: Vec<_> = of_outputs.chain(of_disk).chain(of_scripts.iter().copied()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// What makes GRUB's core image. Its parts are a PC's, whatever machine puts them together.
const GRUB: [&str; 2] = ["grub-common", "grub-pc-bin:amd64"];

/// What scripts find that run before there is an image.
const SCRIPTS: [&str; 9] = ["bash", "coreutils", "dash", "findutils", "grep", "gzip", "mawk", "sed", "tar"];

fn has_early_scripts(spec: &Spec) -> bool {
    spec.scripts.iter().any(|script| script.after == Point::Start)
}

/// Returns the package that writes a format.
pub fn of_format(format: Format) -> Option<&'static str> {
    match format {
        Format::Squashfs => Some("squashfs-tools"),
        Format::Erofs => Some("erofs-utils"),
        Format::Raw | Format::Qcow2 | Format::Tar | Format::Dir | Format::File | Format::Mender => None,
    }
}

/// Returns the package that writes a partition's filesystem.
fn of_filesystem(filesystem: FilesystemKind) -> Option<&'static str> {
    match filesystem {
        FilesystemKind::Squashfs => of_format(Format::Squashfs),
        FilesystemKind::Erofs => of_format(Format::Erofs),
        FilesystemKind::Ext4
        | FilesystemKind::Btrfs
        | FilesystemKind::Fat
        | FilesystemKind::Swap
        | FilesystemKind::Blank => None,
    }
}

/// Unpacks the locked tools; they run unconfigured.
pub fn stage(inputs: &Inputs<'_>) -> Option<Stage> {
    let packages: Vec<_> = inputs.lock.tools.iter().map(Locked::package_ref).collect();
    let unpack = Action::Unpack { packages, bare: true, only: vec![] };
    // Of several that could be awk one is chosen when packages are configured.
    let awk = has_early_scripts(inputs.spec).then(|| symlink("/usr/bin/awk", "mawk"));
    let stage = Stage { kind: StageKind::Tools, actions: std::iter::once(unpack).chain(awk).collect() };
    (!inputs.lock.tools.is_empty()).then_some(stage)
}
