//! Hybrid tables, and what a BIOS starts from, as sfdisk and gdisk see them.

mod common;

use std::path::Path;

use common::{EPOCH, dir, file, folder, noise, path, tool, tool_says, tree, write};
use kiln_disk::bios::Images;
use kiln_disk::layout::Premade;
use kiln_disk::{Disk, Error, disk};
use kiln_model::Tree;
use kiln_model::action::{Bios, DiskLayout, Filesystem, FilesystemKind, Partition, Size, TableKind};
use uuid::Uuid;

fn partition(name: &str, kind: FilesystemKind, mount: &str, r#type: &str) -> Partition {
    let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes());
    let filesystem =
        Filesystem { kind, label: name.to_owned(), uuid: id, seed: id, features: Vec::new(), subvolumes: Vec::new() };
    Partition {
        name: name.to_owned(),
        r#type: r#type.to_owned(),
        id,
        mount: Some(path(mount)),
        filesystem,
        size: Size::Auto,
        grow: false,
        twin: None,
    }
}

/// The FAT partition in the middle: the table's order is not the MBR's.
fn layout(table: TableKind) -> DiskLayout {
    let types = if table == TableKind::Mbr { ["0x83", "0xef"] } else { ["root-arm64", "esp"] };
    let partitions = vec![
        partition("root", FilesystemKind::Ext4, "/", types[0]),
        partition("firmware", FilesystemKind::Fat, "/boot/firmware", types[1]),
        partition("home", FilesystemKind::Ext4, "/home", if table == TableKind::Mbr { "0x83" } else { "home" }),
    ];
    DiskLayout {
        table,
        id: Uuid::from_u128(0xcafe_f00d << 96),
        partitions,
        blobs: vec![],
        bios: None,
        size: Size::Auto,
    }
}

fn small() -> Tree {
    let folders = ["/", "/boot", "/boot/firmware", "/home"].map(dir);
    let files = [file("/boot/firmware/start.elf", &noise(3_000_000, 1)), file("/home/a", &noise(9_000_000, 2))];
    tree(folders.into_iter().chain(files).collect())
}

fn made(layout: &DiskLayout, premade: &Premade, image: &Path) -> Disk {
    let made = disk(&small(), layout, EPOCH, premade).unwrap();
    write(&made.extents, image);
    made
}

/// GRUB's images as far as kiln looks at them.
fn grub() -> Premade {
    let mut boot = vec![0x11; 512];
    boot[0x66] = 0xeb;
    boot[510..].copy_from_slice(&[0x55, 0xaa]);
    let mut core = noise(100_000, 3);
    let rest = (core.len().div_ceil(512) - 1) as u16;
    core[500..512].copy_from_slice(&[&[0; 8][..], &rest.to_le_bytes(), &[0x20, 8]].concat());
    let mut premade = Premade::new();
    premade.bios = Some(Images { boot, core });
    premade
}

fn bios() -> Option<Bios> {
    Some(Bios { id: Uuid::from_u128(0xb105), modules: vec![], config: String::new() })
}

/// Rows of a table as sfdisk says them: start, sectors, type.
fn rows(image: &Path, words: &[&str]) -> Vec<(u64, u64, String)> {
    let words: Vec<&str> = words.iter().copied().chain(["--json", image.to_str().unwrap()]).collect();
    let said: serde_json::Value = serde_json::from_str(&tool("fdisk", "sfdisk", &words)).unwrap();
    let row = |row: &serde_json::Value| {
        (row["start"].as_u64().unwrap(), row["size"].as_u64().unwrap(), row["type"].as_str().unwrap().to_owned())
    };
    said["partitiontable"]["partitions"].as_array().unwrap().iter().map(row).collect()
}

#[test]
fn a_hybrid_table_shows_old_firmware_the_fat_partition() {
    let (folder, _) = folder(0);
    let image = folder.path().join("image");
    let disk = made(&layout(TableKind::Hybrid), &Premade::new(), &image);
    let text = image.to_str().unwrap();
    assert!(tool("fdisk", "sfdisk", &["--verify", text]).contains("No errors detected"));
    let said = tool("gdisk", "sgdisk", &["--verify", "--print", text]);
    assert!(said.contains("No problems found"), "{said}");
    let (_, said) = tool_says("gdisk", "gdisk", &["-l", text]);
    assert!(said.contains("MBR: hybrid") && said.contains("GPT: present"), "{said}");
    let gpt = rows(&image, &[]);
    let places: Vec<_> = disk.partitions.iter().map(|placed| (placed.offset / 512, placed.size / 512)).collect();
    assert_eq!(gpt.iter().map(|(start, size, _)| (*start, *size)).collect::<Vec<_>>(), places);
    let (start, size) = places[1];
    let mbr = rows(&image, &["--label-nested", "dos"]);
    assert_eq!(mbr, [(start, size, "c".to_owned()), (1, start - 1, "ee".to_owned())]);
    // A GPT's MBR has no id of its own; a hybrid one is a table.
    let first = std::fs::read(&image).unwrap();
    assert_eq!((&first[..440], &first[440..444]), (&[0; 440][..], &0xcafe_f00d_u32.to_le_bytes()[..]));
}

#[test]
fn a_hybrid_mbr_has_room_for_three() {
    let mut layout = layout(TableKind::Hybrid);
    for name in ["b", "c", "d"] {
        layout.partitions.push(partition(name, FilesystemKind::Fat, &format!("/{name}"), "linux-generic"));
    }
    let error = disk(
        &tree(["/", "/boot", "/boot/firmware", "/home", "/b", "/c", "/d"].map(dir).into()),
        &layout,
        EPOCH,
        &Premade::new(),
    );
    assert_eq!(error.unwrap_err(), Error::TooMany { kind: "hybrid MBR", limit: 3, count: 4 });
    layout.partitions.pop();
    let (folder, _) = folder(0);
    let image = folder.path().join("image");
    let made = disk(
        &tree(["/", "/boot", "/boot/firmware", "/home", "/b", "/c"].map(dir).into()),
        &layout,
        EPOCH,
        &Premade::new(),
    )
    .unwrap();
    write(&made.extents, &image);
    assert_eq!(rows(&image, &["--label-nested", "dos"]).len(), 4);
    assert!(tool("gdisk", "sgdisk", &["--verify", image.to_str().unwrap()]).contains("No problems found"));
}

#[test]
fn what_a_bios_starts_lies_before_the_first_partition() {
    for table in [TableKind::Gpt, TableKind::Hybrid, TableKind::Mbr] {
        let (folder, _) = folder(0);
        let image = folder.path().join("image");
        let layout = DiskLayout { bios: bios(), ..layout(table) };
        assert_eq!(disk(&small(), &layout, EPOCH, &Premade::new()).unwrap_err(), Error::NotMade("bios".to_owned()));
        let disk = made(&layout, &grub(), &image);
        let text = image.to_str().unwrap();
        assert!(tool("fdisk", "sfdisk", &["--verify", text]).contains("No errors detected"), "{table:?}");
        let (bytes, grub) = (std::fs::read(&image).unwrap(), grub().bios.unwrap());
        let rows = rows(&image, &[]);
        assert_eq!(rows[0].0, disk.partitions[0].offset / 512, "partitions keep their numbers");
        let at = if table == TableKind::Mbr { 1 } else { 40 };
        if table.has_gpt() {
            assert_eq!(rows[3], (40, 2008, "21686148-6449-6E6F-744E-656564454649".to_owned()));
            let said = tool("gdisk", "sgdisk", &["--verify", text]);
            assert!(said.contains("No problems found"), "{said}");
        }
        assert_eq!((&bytes[..0x5c], &bytes[0x5c..0x64]), (&grub.boot[..0x5c], &(at as u64).to_le_bytes()[..]));
        assert!(bytes[at * 512 + 512..].starts_with(&grub.core[512..]), "{table:?}");
        assert_eq!(bytes[at * 512 + 500..at * 512 + 508], (at as u64 + 1).to_le_bytes());
    }
}
