//! btrfs as its own checker and `btrfs restore` see it.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use common::{EPOCH, any_tree, dir, entry, file, folder, host, noise, path, rich, tool, tree, write};
use kiln_disk::Error;
use kiln_disk::btrfs::{Options, Sums, layout, sums};
use kiln_model::action::{Size, Subvolume};
use kiln_model::tree::Place;
use kiln_model::{Entry, Extents, GuestPath, Kind, Tree};
use proptest::prelude::*;
use uuid::Uuid;

const MIB: u64 = 1 << 20;

fn options(size: Size, subvolumes: &[(&str, &str)]) -> Options {
    let subvolume = |(name, mount): &(&str, &str)| Subvolume { name: (*name).to_owned(), mount: path(mount) };
    let subvolumes = subvolumes.iter().map(subvolume).collect();
    Options { uuid: Uuid::from_u128(0x1234_5678), label: "root".into(), epoch: EPOCH, size, subvolumes }
}

/// What the engine hands in.
fn known(tree: &Tree) -> Sums {
    let bodies =
        tree.entries.iter().filter_map(|entry| if let Kind::File(body) = &entry.kind { Some(body) } else { None });
    let paths = bodies.filter_map(|body| if let Place::Host(path) = &body.place { Some(path) } else { None });
    paths.map(|path| (path.clone(), sums(&fs::read(path).unwrap()).collect::<Vec<_>>().into())).collect()
}

fn make(tree: &Tree, options: &Options) -> Extents {
    layout(tree, &GuestPath::root(), &[], options, &known(tree)).unwrap()
}

fn check(extents: &Extents, image: &Path) {
    write(extents, image);
    let said = tool("btrfs-progs", "btrfs", &["check", "--readonly", "--check-data-csum", image.to_str().unwrap()]);
    assert!(said.contains("no error found"), "{said}");
    assert!(!said.to_lowercase().contains("warning"), "{said}");
}

/// Unpacks everything, subvolumes as folders.
fn restore(image: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let (image, to) = (image.to_str().unwrap(), to.to_str().unwrap());
    tool("btrfs-progs", "btrfs", &["restore", "--snapshots", "--metadata", "--symlinks", "--xattr", image, to]);
}

/// Compares what restore brings back: folders, files, links.
fn same(tree: &Tree, root: &Path, known: &dyn Fn(&GuestPath) -> std::path::PathBuf) {
    for entry in tree.entries.iter().filter(|entry| entry.path != GuestPath::root()) {
        let at = root.join(known(&entry.path));
        let meta = || fs::symlink_metadata(&at).unwrap_or_else(|error| panic!("{}: {error}", at.display()));
        match &entry.kind {
            Kind::Dir => assert!(meta().is_dir(), "{}", entry.path),
            Kind::File(body) => {
                let wanted = match &body.place {
                    Place::Inline(bytes) => bytes.to_vec(),
                    Place::Host(path) => fs::read(path).unwrap(),
                };
                assert!(fs::read(&at).unwrap() == wanted, "{}", entry.path);
                assert_eq!(meta().permissions().mode() & 0o7777, entry.mode, "{}", entry.path);
                assert_eq!((meta().mtime(), meta().uid()), (entry.mtime, entry.uid), "{}", entry.path);
            }
            Kind::Symlink(target) => {
                assert_eq!(
                    fs::read_link(&at).unwrap().as_os_str().as_encoded_bytes(),
                    target.as_slice(),
                    "{}",
                    entry.path
                );
            }
            // `btrfs restore` writes neither devices nor further names.
            _ => {}
        }
    }
}

fn relative(path: &GuestPath) -> std::path::PathBuf {
    String::from_utf8_lossy(path.relative()).into_owned().into()
}

#[test]
fn a_rich_tree_is_read_back() {
    let (folder, file) = folder(3_000_000);
    let image = folder.path().join("image");
    let tree = rich(&file);
    check(&make(&tree, &options(Size::Auto, &[])), &image);
    restore(&image, &folder.path().join("out"));
    same(&tree, &folder.path().join("out"), &relative);
    let said = tool("btrfs-progs", "btrfs", &["inspect-internal", "dump-tree", "-t", "5", image.to_str().unwrap()]);
    // Numbers of devices as the kernel has them: 259 << 20 | 70000.
    for wanted in ["rdev 271651184", "name: security.capability", "name: zsu", "links 2"] {
        assert!(said.contains(wanted), "{wanted}");
    }
}

#[test]
fn subvolumes_hold_what_is_mounted_there() {
    let (folder, large) = folder(150 << 20);
    let image = folder.path().join("image");
    let tree = tree(vec![
        dir("/"),
        dir("/etc"),
        file("/etc/hostname", b"box\n"),
        dir("/home"),
        Entry { mode: 0o700, uid: 1000, ..dir("/home/pi") },
        file("/home/pi/a", &noise(5000, 1)),
        dir("/var"),
        dir("/var/log"),
        file("/var/log/journal", b"x"),
        host("/large", &large),
        entry("/second", 0o644, Kind::Hardlink(path("/large"))),
    ]);
    let subvolumes = [("@", "/"), ("@home", "/home"), ("@log", "/var/log"), ("@snapshots", "/.snapshots")];
    let extents = make(&tree, &options(Size::Roomy { minimum: 1 << 30, free: 0 }, &subvolumes));
    assert_eq!(extents.size, 1 << 30);
    check(&extents, &image);
    restore(&image, &folder.path().join("out"));
    let place = |path: &GuestPath| -> std::path::PathBuf {
        let text = path.to_string();
        let found =
            [("/home", "@home"), ("/var/log", "@log")].iter().find(|(mount, _)| text.starts_with(&format!("{mount}/")));
        let inner = found.map_or_else(|| format!("@{text}"), |(mount, name)| text.replacen(mount, name, 1));
        inner.into()
    };
    same(&tree, &folder.path().join("out"), &place);
    assert!(folder.path().join("out/@snapshots").is_dir());
    assert!(fs::read_dir(folder.path().join("out/@/home")).unwrap().next().is_none(), "mount points are empty");
    let text = image.to_str().unwrap();
    let said = tool("util-linux", "blkid", &["-p", "-o", "export", text]);
    for wanted in ["TYPE=btrfs", "LABEL=root", "UUID=00000000-0000-0000-0000-000012345678"] {
        assert!(said.contains(wanted), "{said}");
    }
    assert_eq!(
        make(&tree, &options(Size::Roomy { minimum: 1 << 30, free: 0 }, &subvolumes)),
        extents,
        "every time the same"
    );
}

#[test]
fn sizes_are_kept_or_refused() {
    let (folder, _) = folder(0);
    let image = folder.path().join("image");
    let tree = tree(vec![dir("/"), file("/a", &noise(20_000_000, 1))]);
    let auto = make(&tree, &options(Size::Auto, &[]));
    check(&auto, &image);
    for size in [auto.size, auto.size + 4096, 700 * MIB] {
        let made = make(&tree, &options(Size::Fixed(size), &[]));
        assert_eq!(made.size, size);
        check(&made, &image);
    }
    let told = layout(&tree, &GuestPath::root(), &[], &options(Size::Fixed(50 * MIB), &[]), &Sums::new());
    let Err(Error::TooSmall { needed, .. }) = told else { panic!("50 MiB cannot be enough") };
    check(&make(&tree, &options(Size::Fixed(needed), &[])), &image);
    let roomy = make(&tree, &options(Size::Roomy { minimum: 0, free: 300 * MIB }, &[]));
    assert!(roomy.size >= auto.size + 260 * MIB);
}

/// Leaves, nodes and items of every tree are many, names of one file too many for one item.
#[test]
fn large_trees_have_levels() {
    let (folder, _) = folder(0);
    let image = folder.path().join("image");
    let mut entries = vec![dir("/"), dir("/many"), dir("/links"), file("/links/0000", b"linked")];
    entries.extend((0..30_000).map(|at| file(&format!("/many/file-{at}"), at.to_string().as_bytes())));
    let name = |at: usize| format!("/links/{at:04}-{}", "l".repeat(90));
    entries.extend((1..300).map(|at| entry(&name(at), 0o644, Kind::Hardlink(path("/links/0000")))));
    let tree = tree(entries);
    check(&make(&tree, &options(Size::Auto, &[])), &image);
    restore(&image, &folder.path().join("out"));
    assert_eq!(fs::read(folder.path().join("out/many/file-29999")).unwrap(), b"29999");
}

#[test]
fn files_that_nobody_read_are_told() {
    let (_folder, large) = folder(10_000);
    let tree = tree(vec![dir("/"), host("/a", &large)]);
    let wrong = |sums: &Sums| layout(&tree, &GuestPath::root(), &[], &options(Size::Auto, &[]), sums).unwrap_err();
    assert!(wrong(&Sums::new()).to_string().starts_with("nobody read `"));
    assert!(matches!(wrong(&Sums::from([(large.clone(), vec![1].into())])), Error::NoSums(_)));
    let long = Options { label: "l".repeat(256), ..options(Size::Auto, &[]) };
    assert!(layout(&tree, &GuestPath::root(), &[], &long, &Sums::new()).is_err());
    let attribute = BTreeMap::from([("user.long".to_owned(), vec![0; 20_000])]);
    let tree = Tree { entries: vec![dir("/"), Entry { xattrs: attribute, ..file("/a", b"") }] };
    let error = layout(&tree, &GuestPath::root(), &[], &options(Size::Auto, &[]), &Sums::new()).unwrap_err();
    assert_eq!(error.to_string(), "`/a` cannot be kept in btrfs: its attribute `user.long` is too long");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn any_tree_is_a_sound_filesystem(tree in any_tree()) {
        let (folder, _) = folder(0);
        check(&make(&tree, &options(Size::Auto, &[])), &folder.path().join("image"));
    }
}
