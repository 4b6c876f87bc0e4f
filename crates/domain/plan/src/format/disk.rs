//! A partitioned disk: ids from the plan's seed, discoverable types, sizes by rule when it is written.

use kiln_disk::table::types;
use kiln_model::action::{
    Blob, DiskContainer, DiskLayout, Filesystem, FilesystemKind, ImageAction, Partition, TableKind, Twin,
};
use kiln_recipe::spec::{Disk, Format, Output, PartitionSpec};

use crate::Inputs;
use crate::stage::{grub_core, slot_files};

pub fn image(inputs: &Inputs<'_>, output: &Output) -> ImageAction {
    let container = if output.format == Format::Qcow2 { DiskContainer::Qcow2 } else { DiskContainer::Raw };
    let disk = inputs.spec.disk.as_ref().expect("a spec with a disk output has a disk");
    ImageAction::Disk { container, disk: layout(inputs, disk), compression: output.compression }
}

pub(super) fn layout(inputs: &Inputs<'_>, disk: &Disk) -> DiskLayout {
    let partitions = disk.partitions.iter().map(|spec| partition(inputs, disk, spec)).collect();
    let mut blobs = disk.blobs.clone();
    let of_board = inputs.spec.base.board.iter().flat_map(|board| &board.blobs);
    let own = |blob: &&Blob| disk.blobs.iter().any(|own| own.offset == blob.offset);
    blobs.extend(of_board.filter(|blob| !own(blob)).cloned());
    let (table, id, bios) = (disk.table, inputs.lasting("disk"), grub_core(inputs, disk));
    DiskLayout { table, id, partitions, blobs, bios, size: disk.size }
}

fn partition(inputs: &Inputs<'_>, disk: &Disk, spec: &PartitionSpec) -> Partition {
    let id = |what: &str| inputs.uuid(&format!("{what} {}", spec.name));
    let blank = spec.slot.as_ref().is_some_and(|slot| !slot.filled);
    let first = spec.slot.as_ref().and_then(|slot| disk.partitions.iter().find(|first| first.name == slot.of));
    // A slot holds what the first one does.
    let like = first.filter(|_| !blank).unwrap_or(spec);
    let filesystem = Filesystem {
        kind: if blank { FilesystemKind::Blank } else { spec.filesystem },
        label: spec.label.clone(),
        uuid: id("filesystem"),
        seed: id("seed"),
        features: spec.features.clone(),
        subvolumes: like.subvolumes.clone(),
    };
    let twin = first.map(|first| Twin {
        of: first.name.clone(),
        replace: if blank { Default::default() } else { slot_files(inputs, disk, spec) },
    });
    let r#type = match disk.table {
        TableKind::Gpt | TableKind::Hybrid => role_type(inputs, &spec.role),
        TableKind::Mbr => short_type(spec).to_owned(),
    };
    Partition {
        name: spec.name.clone(),
        r#type,
        id: inputs.lasting(&format!("partition {}", spec.name)),
        mount: like.mount.clone(),
        filesystem,
        size: spec.size,
        grow: spec.grow,
        twin,
    }
}

/// Returns the type in an MBR, which tells filesystems rather than roles.
fn short_type(spec: &PartitionSpec) -> &'static str {
    match (spec.role.as_str(), spec.filesystem) {
        ("esp", _) => "0xef",
        (_, FilesystemKind::Swap) => "0x82",
        (_, FilesystemKind::Fat) => "0x0c",
        _ => "0x83",
    }
}

/// Returns the discoverable type of a role: `esp`, `root`, `home`, …
fn role_type(inputs: &Inputs<'_>, role: &str) -> String {
    let arch = inputs.spec.base.architecture;
    let guid = match role {
        "root" => Some(types::root(arch)),
        "usr" => Some(types::usr(arch)),
        "boot" => types::type_guid("xbootldr"),
        "firmware" => types::type_guid("microsoft-basic"),
        other => types::type_guid(other),
    };
    guid.or_else(|| types::type_guid("linux-generic")).expect("the table has it").to_string()
}
