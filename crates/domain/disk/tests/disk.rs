//! Disks as sfdisk, sgdisk and the filesystems' own checkers see them.

mod common;

use std::path::Path;

use common::{EPOCH, dir, file, folder, noise, path, tool, tree, write};
use kiln_disk::layout::Premade;
use kiln_disk::table::{self, Row, types};
use kiln_disk::{Disk, Error, disk};
use kiln_model::action::{Blob, DiskLayout, Filesystem, FilesystemKind, Partition, Size, TableKind};
use kiln_model::{Arch, Tree};
use uuid::Uuid;

const MIB: u64 = 1 << 20;

fn partition(name: &str, kind: FilesystemKind, mount: &str, r#type: &str, size: Size) -> Partition {
    let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes());
    let filesystem =
        Filesystem { kind, label: name.to_owned(), uuid: id, seed: id, features: Vec::new(), subvolumes: Vec::new() };
    let mount = (!mount.is_empty()).then(|| path(mount));
    let (name, r#type) = (name.to_owned(), r#type.to_owned());
    Partition { name, r#type, id, mount, filesystem, size, grow: false, twin: None }
}

fn efi(size: Size, esp: Size, root: Size) -> DiskLayout {
    let partitions = vec![
        partition("esp", FilesystemKind::Fat, "/boot/efi", "esp", esp),
        partition("root", FilesystemKind::Ext4, "/", "root-amd64", root),
    ];
    DiskLayout {
        table: TableKind::Gpt,
        id: Uuid::from_u128(0x1234_5678_9abc),
        partitions,
        blobs: vec![],
        bios: None,
        size,
    }
}

fn small() -> Tree {
    tree(vec![
        dir("/"),
        dir("/boot"),
        dir("/boot/efi"),
        dir("/boot/efi/EFI"),
        file("/boot/efi/EFI/kernel.efi", &noise(5_000_000, 1)),
        file("/a", &noise(9_000_000, 2)),
    ])
}

fn check(image: &Path, disk: &Disk) {
    write(&disk.extents, image);
    let text = image.to_str().unwrap();
    let said = tool("fdisk", "sfdisk", &["--verify", text]);
    assert!(said.contains("No errors detected"), "{said}");
    for placed in &disk.partitions {
        let part = image.with_extension(&placed.name);
        let (skip, size) = (placed.offset, placed.size);
        let mut from = std::fs::File::open(image).unwrap();
        std::io::Seek::seek(&mut from, std::io::SeekFrom::Start(skip)).unwrap();
        let mut to = std::fs::File::create(&part).unwrap();
        std::io::copy(&mut std::io::Read::take(from, size), &mut to).unwrap();
        match placed.name.as_str() {
            "root" | "home" => tool("e2fsprogs", "e2fsck", &["-fn", part.to_str().unwrap()]),
            "esp" => tool("dosfstools", "fsck.vfat", &["-n", part.to_str().unwrap()]),
            _ => String::new(),
        };
    }
}

#[test]
fn a_gpt_disk_is_what_its_layout_says() {
    let (folder, _) = folder(0);
    let image = folder.path().join("image");
    let made = disk(&small(), &efi(Size::Auto, Size::Auto, Size::Auto), EPOCH, &Premade::new()).unwrap();
    check(&image, &made);
    let text = image.to_str().unwrap();
    let said = tool("gdisk", "sgdisk", &["-v", text]);
    assert!(said.contains("No problems found"), "{said}");
    let said: serde_json::Value = serde_json::from_str(&tool("fdisk", "sfdisk", &["--json", text])).unwrap();
    let table = &said["partitiontable"];
    assert_eq!(table["id"], "00000000-0000-0000-0000-123456789ABC");
    let parts = table["partitions"].as_array().unwrap();
    for (told, placed) in parts.iter().zip(&made.partitions) {
        assert_eq!(told["start"], placed.offset / 512);
        assert_eq!(told["size"], placed.size / 512);
        assert_eq!(told["name"], placed.name);
        let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, placed.name.as_bytes());
        assert_eq!(told["uuid"], id.to_string().to_uppercase());
    }
    assert_eq!(parts[0]["type"], types::type_guid("esp").unwrap().to_string().to_uppercase());
    assert_eq!(parts[1]["type"], types::root(Arch::Amd64).to_string().to_uppercase());
}

#[test]
fn an_mbr_disk_is_what_its_layout_says() {
    let (folder, _) = folder(0);
    let image = folder.path().join("image");
    let mut layout = efi(Size::Auto, Size::Auto, Size::Auto);
    layout.table = TableKind::Mbr;
    layout.id = Uuid::from_u128(0xcafe_f00d << 96);
    layout.partitions[0].r#type = "0x0c".to_owned();
    let made = disk(&small(), &layout, EPOCH, &Premade::new()).unwrap();
    check(&image, &made);
    let text = image.to_str().unwrap();
    let said: serde_json::Value = serde_json::from_str(&tool("fdisk", "sfdisk", &["--json", text])).unwrap();
    let table = &said["partitiontable"];
    assert_eq!(table["id"], "0xcafef00d");
    assert_eq!((&table["partitions"][0]["type"], &table["partitions"][1]["type"]), (&"c".into(), &"83".into()));
    assert_eq!(table["partitions"][1]["start"], made.partitions[1].offset / 512);
}

#[test]
fn the_size_of_the_disk_is_the_roots_matter() {
    let (folder, _) = folder(0);
    let image = folder.path().join("image");
    let make = |layout: &DiskLayout| disk(&small(), layout, EPOCH, &Premade::new());
    let auto = make(&efi(Size::Auto, Size::Auto, Size::Auto)).unwrap();
    for size in [auto.extents.size + 300 * MIB, 1_000_000_000, auto.extents.size - MIB] {
        let made = make(&efi(Size::Fixed(size), Size::Auto, Size::Auto)).unwrap();
        assert_eq!(made.extents.size, size / 512 * 512);
        assert_eq!(made.partitions[0], auto.partitions[0]);
        assert!(size - made.partitions[1].offset - made.partitions[1].size < 2 * MIB);
        check(&image, &made);
    }
    let Err(Error::TooSmall { needed, .. }) = make(&efi(Size::Fixed(8 * MIB), Size::Auto, Size::Auto)) else {
        panic!("8 MiB cannot hold 14 MB");
    };
    let least = make(&efi(Size::Fixed(needed), Size::Auto, Size::Auto)).unwrap();
    check(&image, &least);
    let roomy = make(&efi(Size::Roomy { minimum: 0, free: 200 * MIB }, Size::Auto, Size::Auto)).unwrap();
    let gained = roomy.partitions[1].size - auto.partitions[1].size;
    assert!((190 * MIB..220 * MIB).contains(&gained), "{gained}");
    let minimum = make(&efi(Size::Roomy { minimum: 1_000_000_001, free: 0 }, Size::Auto, Size::Auto)).unwrap();
    assert_eq!(minimum.extents.size, 1_000_000_001u64.next_multiple_of(MIB));
    check(&image, &minimum);
}

#[test]
fn a_partition_that_is_too_small_says_what_it_needs() {
    let layout = efi(Size::Auto, Size::Auto, Size::Fixed(8 * MIB));
    let error = disk(&small(), &layout, EPOCH, &Premade::new()).unwrap_err();
    let Error::TooSmall { what, needed, .. } = &error else { panic!("{error}") };
    assert_eq!(what, "the ext4 filesystem of partition `root`");
    let layout = efi(Size::Auto, Size::Auto, Size::Fixed(*needed));
    assert_eq!(disk(&small(), &layout, EPOCH, &Premade::new()).unwrap().partitions[1].size, *needed);
    let layout = efi(Size::Auto, Size::Fixed(3 * MIB), Size::Auto);
    let error = disk(&small(), &layout, EPOCH, &Premade::new()).unwrap_err();
    assert!(error.to_string().starts_with("the FAT filesystem of partition `esp` of 3145728 bytes is too small"));
}

#[test]
fn filesystems_made_beforehand_are_put_in_place() {
    let (folder, squash) = folder(3_000_000);
    let mut layout = efi(Size::Auto, Size::Auto, Size::Auto);
    layout.partitions.push(partition("usr", FilesystemKind::Erofs, "/usr", "usr-arm64", Size::Auto));
    assert_eq!(disk(&small(), &layout, EPOCH, &Premade::new()).unwrap_err(), Error::NotMade("usr".to_owned()));
    let premade = Premade::from([("usr".to_owned(), (squash.clone(), 3_000_000))]);
    let made = disk(&small(), &layout, EPOCH, &premade).unwrap();
    let image = folder.path().join("image");
    check(&image, &made);
    assert_eq!(made.partitions[2].size, 3 * MIB);
    let usr = std::fs::read(image.with_extension("usr")).unwrap();
    assert!(usr[..3_000_000] == std::fs::read(squash).unwrap());
}

#[test]
fn type_guids_are_those_that_sfdisk_knows() {
    let known = tool("fdisk", "sfdisk", &["-T", "-X", "gpt"]);
    for (name, guid) in types::TYPES {
        // sfdisk of Debian 12 does not list per-user homes.
        let wanted = guid.to_string().to_uppercase();
        assert!(*name == "user-home" || known.contains(&wanted), "{name} {wanted}");
    }
}

#[test]
fn every_row_of_a_full_table_is_read_back() {
    let (folder, _) = folder(0);
    let image = folder.path().join("image");
    let row = |at: u64| Row {
        name: format!("part ä {at}"),
        r#type: "linux-generic".to_owned(),
        id: Uuid::from_u128(u128::from(at + 1)),
        offset: (at + 1) * MIB,
        size: MIB,
        attributes: 1 << 59,
    };
    let rows: Vec<Row> = (0..128).map(row).collect();
    write(&table::gpt(Uuid::from_u128(7), 130 * MIB, &rows).unwrap(), &image);
    let text = image.to_str().unwrap();
    assert!(tool("gdisk", "sgdisk", &["-v", text]).contains("No problems found"));
    let said = tool("fdisk", "sfdisk", &["--dump", text]);
    assert_eq!(said.matches("GUID:59").count(), 128, "{said}");
    assert!(said.contains("name=\"part \\xc3\\xa4 127\""), "{said}");
    let rows: Vec<Row> = (0..129).map(row).collect();
    assert!(table::gpt(Uuid::from_u128(7), 130 * MIB, &rows).is_err());
}

/// What a ROM starts lies where it looks, and on nothing else.
#[test]
fn blobs_lie_between_table_and_partitions() {
    let first = noise(20_000, 3);
    let tree = tree(vec![dir("/"), file("/spl", &first), file("/more", &noise(5_000, 4))]);
    let made = |blobs: &[(&str, u64)]| {
        let blobs = blobs.iter().map(|(name, offset)| Blob { path: path(name), offset: *offset }).collect();
        let partitions = vec![partition("root", FilesystemKind::Ext4, "/", "0x83", Size::Auto)];
        let layout = DiskLayout { table: TableKind::Mbr, partitions, blobs, ..efi(Size::Auto, Size::Auto, Size::Auto) };
        disk(&tree, &layout, EPOCH, &Premade::new())
    };
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    check(&image, &made(&[("/spl", 8192), ("/more", 40_960)]).unwrap());
    let bytes = std::fs::read(&image).unwrap();
    assert!(bytes[8192..28_192] == first && bytes[40_960..45_960] == noise(5_000, 4));
    for (blobs, wanted) in [
        (&[("/spl", 8192), ("/more", 24_576)][..], "it would lie on another one"),
        (&[("/more", 24_576), ("/spl", 8192)], "it would lie on another one"),
        (&[("/spl", 100)], "it would lie on the partition table"),
        (&[("/spl", MIB - 10_000)], "it would lie on the first partition"),
        (&[("/nothing", 8192)], "is not in the tree"),
    ] {
        let error = made(blobs).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}
