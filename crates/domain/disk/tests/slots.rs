//! Swap, slots and the partition that takes what is left, as blkid, sfdisk, e2fsck and debugfs see them.

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{EPOCH, dir, file, folder, noise, path, tool, tree, write};
use kiln_disk::layout::Premade;
use kiln_disk::{Disk, Error, disk, swap};
use kiln_model::Tree;
use kiln_model::action::{DiskLayout, Filesystem, FilesystemKind, Partition, Size, TableKind, Twin};
use uuid::Uuid;

const MIB: u64 = 1 << 20;

fn partition(name: &str, kind: FilesystemKind, mount: Option<&str>, size: Size) -> Partition {
    let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes());
    let filesystem =
        Filesystem { kind, label: name.to_owned(), uuid: id, seed: id, features: Vec::new(), subvolumes: Vec::new() };
    let r#type = if kind == FilesystemKind::Swap { "swap" } else { "linux-generic" };
    let (name, mount) = (name.to_owned(), mount.map(path));
    Partition { name, r#type: r#type.to_owned(), id, mount, filesystem, size, grow: false, twin: None }
}

fn slot(name: &str, replace: &[(&str, &str)]) -> Partition {
    let replace: BTreeMap<_, _> = replace.iter().map(|(at, text)| (path(at), (*text).to_owned())).collect();
    let filled = !replace.is_empty();
    let kind = if filled { FilesystemKind::Ext4 } else { FilesystemKind::Blank };
    let twin = Some(Twin { of: "a".into(), replace });
    Partition { twin, ..partition(name, kind, filled.then_some("/"), Size::Auto) }
}

fn slots(size: Size) -> DiskLayout {
    let partitions = vec![
        partition("swap", FilesystemKind::Swap, None, Size::Roomy { minimum: 10 * MIB, free: 0 }),
        partition("a", FilesystemKind::Ext4, Some("/"), Size::Roomy { minimum: 0, free: 20 * MIB }),
        slot("b", &[("/etc/fstab", "second\n"), ("/etc/new", "only here\n")]),
        slot("c", &[]),
        Partition { grow: true, ..partition("data", FilesystemKind::Ext4, Some("/data"), Size::Auto) },
    ];
    DiskLayout { table: TableKind::Gpt, id: Uuid::from_u128(7), partitions, blobs: vec![], bios: None, size }
}

fn small() -> Tree {
    let (fstab, content) = (file("/etc/fstab", b"first\n"), file("/content", &noise(9_000_000, 2)));
    tree(vec![dir("/"), dir("/etc"), fstab, content, dir("/data"), file("/data/a", &noise(70_000, 3))])
}

fn make(size: Size) -> Disk {
    disk(&small(), &slots(size), EPOCH, &Premade::new()).unwrap()
}

/// Where a partition begins in the image, as e2fsprogs take it.
fn at(image: &Path, disk: &Disk, name: &str) -> String {
    let placed = disk.partitions.iter().find(|placed| placed.name == name).unwrap();
    format!("{}?offset={}", image.display(), placed.offset)
}

fn size(disk: &Disk, name: &str) -> u64 {
    disk.partitions.iter().find(|placed| placed.name == name).unwrap().size
}

#[test]
fn slots_are_alike_but_for_their_own_files() {
    let (folder, _) = folder(0);
    let image = folder.path().join("image");
    let made = make(Size::Auto);
    write(&made.extents, &image);
    assert!(tool("fdisk", "sfdisk", &["--verify", image.to_str().unwrap()]).contains("No errors detected"));
    assert_eq!((size(&made, "a"), size(&made, "a")), (size(&made, "b"), size(&made, "c")));
    assert_eq!(size(&made, "swap"), 10 * MIB);
    let cat = |name: &str, file: &str| {
        tool("e2fsprogs", "debugfs", &["-R", &format!("cat {file}"), &at(&image, &made, name)])
    };
    for (name, fstab) in [("a", "first\n"), ("b", "second\n")] {
        tool("e2fsprogs", "e2fsck", &["-fn", &at(&image, &made, name)]);
        assert!(cat(name, "/etc/fstab").starts_with(fstab), "{name}");
    }
    assert!(cat("b", "/etc/new").starts_with("only here\n"));
    assert!(cat("a", "/etc/new").contains("File not found"));
    let blank = made.partitions.iter().find(|placed| placed.name == "c").unwrap();
    let written = made.extents.list.iter().any(|one| (blank.offset..blank.offset + blank.size).contains(&one.offset));
    assert!(!written);
}

#[test]
fn what_is_left_goes_to_the_partition_that_says_so() {
    let (auto, fixed) = (make(Size::Auto), make(Size::Fixed(400 * MIB)));
    assert_eq!(fixed.extents.size, 400 * MIB);
    for name in ["swap", "a", "b", "c"] {
        assert_eq!(size(&fixed, name), size(&auto, name), "{name}");
    }
    assert!(size(&fixed, "data") > 250 * MIB, "{:?}", fixed.partitions);
    let roomy = make(Size::Roomy { minimum: 0, free: 100 * MIB });
    assert!(size(&roomy, "data") > 90 * MIB && size(&roomy, "a") == size(&auto, "a"), "{:?}", roomy.partitions);
    let told = disk(&small(), &slots(Size::Fixed(50 * MIB)), EPOCH, &Premade::new()).unwrap_err();
    assert!(matches!(told, Error::TooSmall { .. }), "{told}");
}

#[test]
fn swap_is_what_others_think_it_is() {
    let (folder, _) = folder(0);
    let image = folder.path().join("image");
    write(&swap::layout(Uuid::from_u128(0x5a5a), "swap", 64 * MIB).unwrap(), &image);
    let text = image.to_str().unwrap();
    let said = tool("util-linux", "blkid", &["-p", "-o", "export", text]);
    for wanted in ["TYPE=swap", "VERSION=1", "LABEL=swap", "UUID=00000000-0000-0000-0000-000000005a5a"] {
        assert!(said.contains(wanted), "{said}");
    }
    // The same header as mkswap's, byte by byte.
    let other = folder.path().join("other");
    std::fs::File::create(&other).unwrap().set_len(64 * MIB).unwrap();
    let uuid = "00000000-0000-0000-0000-000000005a5a";
    tool("util-linux", "mkswap", &["-p", "4096", "-L", "swap", "-U", uuid, other.to_str().unwrap()]);
    assert!(std::fs::read(&image).unwrap() == std::fs::read(&other).unwrap());
    assert!(swap::layout(Uuid::nil(), "swap", 4096).is_err());
    assert!(swap::layout(Uuid::nil(), &"s".repeat(17), MIB).is_err());
    let mut layout = slots(Size::Auto);
    layout.partitions[0].size = Size::Auto;
    let told = disk(&small(), &layout, EPOCH, &Premade::new()).unwrap_err();
    assert_eq!(told.to_string(), "partition `swap` wants a size: it has no content to say one");
}
