//! FAT as others see it: fsck.vfat, mtools, and the `fatfs` crate.

mod common;

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;

use common::{EPOCH, any_tree, dir, entry, file, folder, host, link, noise, path, tool, tree, write};
use kiln_disk::fat::{Options, layout};
use kiln_model::action::Size;
use kiln_model::tree::Place;
use kiln_model::{GuestPath, Kind, Tree};
use proptest::prelude::*;

const MIB: u64 = 1 << 20;

fn options(size: Size) -> Options {
    Options { label: "ESP".to_owned(), volume_id: 0xcafe_f00d, epoch: EPOCH, size }
}

fn make(tree: &Tree, size: Size, image: &Path) -> u64 {
    let extents = layout(tree, &GuestPath::root(), &[], &options(size)).unwrap();
    write(&extents, image);
    let said = tool("dosfstools", "fsck.vfat", &["-nv", image.to_str().unwrap()]);
    for odd in ["differ", "wrong", "bad ", "dirty"] {
        assert!(!said.to_lowercase().contains(odd), "{said}");
    }
    extents.size
}

/// Reads everything back with the `fatfs` crate.
fn compare(image: &Path, tree: &Tree) {
    let fs = fatfs::FileSystem::new(
        std::fs::File::options().read(true).write(true).open(image).unwrap(),
        fatfs::FsOptions::new(),
    )
    .unwrap();
    assert_eq!(fs.volume_id(), 0xcafe_f00d);
    for entry in &tree.entries {
        let name = std::str::from_utf8(entry.path.relative()).unwrap();
        let mut real = entry;
        while let Kind::Hardlink(target) = &real.kind {
            real = tree.get(target).unwrap();
        }
        match &real.kind {
            Kind::File(body) => {
                let mut bytes = Vec::new();
                fs.root_dir().open_file(name).unwrap().read_to_end(&mut bytes).unwrap();
                let wanted = match &body.place {
                    Place::Inline(bytes) => bytes.to_vec(),
                    Place::Host(path) => std::fs::read(path).unwrap(),
                };
                assert!(bytes == wanted, "content of {}", entry.path);
            }
            Kind::Dir => {
                let dir = if name.is_empty() { fs.root_dir() } else { fs.root_dir().open_dir(name).unwrap() };
                let found =
                    dir.iter().map(|found| found.unwrap().file_name()).filter(|name| name != "." && name != "..");
                let below = tree.entries.iter().filter(|below| below.path.parent().as_ref() == Some(&entry.path));
                assert_eq!(found.count(), below.count(), "names in {}", entry.path);
            }
            other => panic!("{other:?}"),
        }
    }
}

fn esp(large: &Path) -> Tree {
    let mut entries = vec![
        dir("/"),
        dir("/EFI"),
        dir("/EFI/BOOT"),
        host("/EFI/BOOT/BOOTX64.EFI", large),
        dir("/EFI/Linux"),
        file("/EFI/Linux/debian-6.1.0-amd64.efi", &noise(100_000, 1)),
        dir("/loader"),
        file("/loader/loader.conf", b"timeout 3\n"),
        file("/empty", b""),
        entry("/EFI/zz", 0o644, Kind::Hardlink(path("/EFI/BOOT/BOOTX64.EFI"))),
        dir("/many"),
        file("/ünïcode €", b"u"),
    ];
    entries.extend((0..300).map(|at| file(&format!("/many/a long name {at}"), at.to_string().as_bytes())));
    tree(entries)
}

#[test]
fn every_size_and_kind_reads_back() {
    let (folder, large) = folder(3_000_000);
    let (image, tree) = (folder.path().join("image"), esp(&large));
    let auto = make(&tree, Size::Auto, &image);
    compare(&image, &tree);
    assert!(auto <= 10 * MIB, "{auto}");
    for size in [8 * MIB, 33 * MIB, 100 * MIB + 512, 259 * MIB, 260 * MIB, 512 * MIB, 9000 * MIB] {
        assert_eq!(make(&tree, Size::Fixed(size), &image), size);
        compare(&image, &tree);
    }
    let roomy = make(&tree, Size::Roomy { minimum: 0, free: 50 * MIB }, &image);
    assert!((56 * MIB..60 * MIB).contains(&roomy), "{roomy}");
}

#[test]
fn mtools_read_it_too() {
    let (folder, large) = folder(3_000_000);
    let (image, tree) = (folder.path().join("image"), esp(&large));
    for size in [Size::Auto, Size::Fixed(300 * MIB)] {
        make(&tree, size, &image);
        let text = image.to_str().unwrap();
        let said = tool("mtools", "mdir", &["-i", text, "::/loader"]);
        assert!(said.contains("Volume in drive : is ESP") && said.contains("CAFE-F00D"), "{said}");
        assert!(said.contains("2023-11-14  21:56"), "{said}");
        assert_eq!(tool("mtools", "mtype", &["-i", text, "::/loader/loader.conf"]), "timeout 3\n");
        assert!(tool("mtools", "mdir", &["-i", text, "-b", "::/EFI/Linux"]).contains("debian-6.1.0-amd64.efi"));
        let said = tool("mtools", "minfo", &["-i", text]);
        assert!(said.contains(if size == Size::Auto { "FAT16" } else { "FAT32" }), "{said}");
    }
}

#[test]
fn what_fat_cannot_hold_is_named() {
    let cases = [
        (link("/l", "x"), "`/l` cannot be kept in FAT: it is a symbolic link"),
        (entry("/d", 0o600, Kind::Char { major: 1, minor: 3 }), "`/d` cannot be kept in FAT: it is a device"),
        (file("/a:b", b""), "`/a:b` cannot be kept in FAT: its name holds ':'"),
        (file("/x.", b""), "`/x.` cannot be kept in FAT: its name ends with a dot or a space"),
        (file("/EFI2", b""), "`/efi2` cannot be kept in FAT: another name differs only in case"),
    ];
    for (entry, wanted) in cases {
        let tree = tree(vec![dir("/"), dir("/efi2"), entry]);
        let error = layout(&tree, &GuestPath::root(), &[], &options(Size::Auto)).unwrap_err();
        assert_eq!(error.to_string(), wanted);
    }
    let tree = tree(vec![dir("/"), file("/a", &noise(9_000_000, 1))]);
    let Err(kiln_disk::Error::TooSmall { needed, .. }) =
        layout(&tree, &GuestPath::root(), &[], &options(Size::Fixed(8 * MIB)))
    else {
        panic!("8 MiB cannot hold 9 MB");
    };
    layout(&tree, &GuestPath::root(), &[], &options(Size::Fixed(needed))).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_tree_fits(mut tree in any_tree()) {
        let (mut seen, mut dirs) = (BTreeSet::new(), BTreeSet::new());
        // An entry stays if FAT can hold it and its directory stayed, too.
        tree.entries.retain(|entry| {
            let stays = matches!(entry.kind, Kind::Dir | Kind::File(_))
                && entry.path.parent().is_none_or(|parent| dirs.contains(&parent))
                && seen.insert(entry.path.to_string().to_uppercase());
            if stays && entry.kind == Kind::Dir {
                dirs.insert(entry.path.clone());
            }
            stays
        });
        let (folder, _) = folder(0);
        let image = folder.path().join("image");
        let size = make(&tree, Size::Auto, &image);
        compare(&image, &tree);
        prop_assert!(size <= tree.content_size() + tree.entries.len() as u64 * 2048 + 4 * MIB, "{size}");
    }
}
