//! ext4 as others see it: e2fsck, resize2fs, dumpe2fs, debugfs, and the independent reader `ext4-view`.

mod common;

use std::path::Path;

use common::{EPOCH, any_tree, dir, entry, file, folder, noise, path, rich, tool, tool_says, tree, write};
use ext4_view::{Ext4, FileType};
use kiln_disk::ext4::{Options, layout};
use kiln_model::action::Size;
use kiln_model::tree::{Body, Place};
use kiln_model::{Entry, GuestPath, Kind, Tree};
use proptest::prelude::*;
use uuid::uuid;

fn options(size: Size) -> Options {
    Options {
        uuid: uuid!("0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"),
        hash_seed: uuid!("00112233-4455-6677-8899-aabbccddeeff"),
        label: "root".to_owned(),
        epoch: EPOCH,
        size,
        features: vec!["^orphan_file".to_owned()],
    }
}

fn make(tree: &Tree, options: &Options, image: &Path) -> u64 {
    let extents = layout(tree, &GuestPath::root(), &[], options).unwrap();
    write(&extents, image);
    extents.size
}

fn fsck(image: &Path) {
    tool("e2fsprogs", "e2fsck", &["-fn", image.to_str().unwrap()]);
}

fn resize(image: &Path, to: u64) {
    let length = std::fs::File::options().write(true).open(image).unwrap();
    length.set_len(to).unwrap();
    tool("e2fsprogs", "resize2fs", &[image.to_str().unwrap()]);
    fsck(image);
}

/// Reads the image with `ext4-view` and compares everything it tells with the tree.
fn compare(image: &Path, tree: &Tree) {
    let fs = Ext4::load_from_path(image).unwrap();
    for entry in &tree.entries {
        let mut real = entry;
        while let Kind::Hardlink(target) = &real.kind {
            real = tree.get(target).unwrap();
        }
        let at = ext4_view::Path::try_from(entry.path.as_bytes()).unwrap();
        let meta = fs.symlink_metadata(at).unwrap();
        assert_eq!(u32::from(meta.mode()) & 0o7777, real.mode, "{}", entry.path);
        assert_eq!((meta.uid(), meta.gid()), (real.uid, real.gid), "{}", entry.path);
        assert_eq!(meta.modified().seconds(), real.mtime, "{}", entry.path);
        match &real.kind {
            Kind::File(body) => {
                let bytes = fs.read(at).unwrap();
                assert!(bytes == content(body), "content of {}", entry.path);
            }
            Kind::Symlink(target) => assert_eq!(fs.read_link(at).unwrap().as_ref(), &target[..], "{}", entry.path),
            Kind::Dir => compare_names(&fs, tree, &entry.path),
            kind => assert_eq!(meta.file_type(), file_type(kind), "{}", entry.path),
        }
    }
}

fn content(body: &Body) -> Vec<u8> {
    match &body.place {
        Place::Inline(bytes) => bytes.to_vec(),
        Place::Host(path) => std::fs::read(path).unwrap(),
    }
}

fn file_type(kind: &Kind) -> FileType {
    match kind {
        Kind::Fifo => FileType::Fifo,
        Kind::Socket => FileType::Socket,
        Kind::Char { .. } => FileType::CharacterDevice,
        Kind::Block { .. } => FileType::BlockDevice,
        other => panic!("{other:?} is looked at elsewhere"),
    }
}

fn compare_names(fs: &Ext4, tree: &Tree, dir: &GuestPath) {
    let at = ext4_view::Path::try_from(dir.as_bytes()).unwrap();
    let list = fs.read_dir(at).unwrap().map(|entry| entry.unwrap().file_name().as_ref().to_vec());
    let mut found: Vec<_> = list.filter(|name| name != b"." && name != b"..").collect();
    let below = tree.entries.iter().filter(|entry| entry.path.parent().as_ref() == Some(dir));
    let mut wanted: Vec<_> = below.map(|entry| entry.path.name().to_vec()).collect();
    if *dir == GuestPath::root() && !wanted.contains(&b"lost+found".to_vec()) {
        wanted.push(b"lost+found".to_vec());
    }
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted, "names in {dir}");
}

#[test]
fn everything_a_tree_holds_is_there_and_the_filesystem_grows() {
    let (folder, large) = folder(9_000_000);
    let (image, tree) = (folder.path().join("image"), rich(&large));
    let size = make(&tree, &options(Size::Auto), &image);
    fsck(&image);
    compare(&image, &tree);
    resize(&image, 2 * size);
    resize(&image, 10 * size);
    compare(&image, &tree);
}

#[test]
fn features_can_be_turned_off() {
    let (folder, large) = folder(9_000_000);
    let (image, tree) = (folder.path().join("image"), rich(&large));
    for word in ["^has_journal", "^resize_inode", "^dir_index", "^metadata_csum", "^64bit"] {
        let mut options = options(Size::Auto);
        options.features.push(word.to_owned());
        let size = make(&tree, &options, &image);
        fsck(&image);
        compare(&image, &tree);
        let said = tool("e2fsprogs", "dumpe2fs", &["-h", image.to_str().unwrap()]);
        let features = said.lines().find(|line| line.starts_with("Filesystem features")).unwrap();
        assert!(!features.split(' ').any(|feature| feature == &word[1..]), "{word}: {features}");
        resize(&image, 2 * size);
    }
    let mut options = options(Size::Auto);
    options.features.push("casefold".to_owned());
    assert!(layout(&tree, &GuestPath::root(), &[], &options).is_err());
}

/// Attributes, times and devices, which `ext4-view` does not tell.
#[test]
fn debugfs_sees_attributes_times_and_devices() {
    let (folder, large) = folder(100_000);
    let (image, mut tree) = (folder.path().join("image"), rich(&large));
    let at = |time: i64, name: &str| Entry { mtime: time, ..file(name, b"x") };
    // `ext4-view` takes the low word of these times for a mistake, so only debugfs sees them.
    tree.entries.extend([at(-5, "/var/past"), at(EPOCH + 5_000_000_000, "/var/far")]);
    tree.sort();
    make(&tree, &options(Size::Auto), &image);
    fsck(&image);
    let ask = |question: &str| tool("e2fsprogs", "debugfs", &["-R", question, image.to_str().unwrap()]);
    assert!(ask("ea_list /usr/bin/ping").contains("security.capability (20) = 01 00 00 02 00 20"));
    let list = ask("ea_list /var/attributes");
    for name in ["user.large (3000)", "user.small (1) = \"v\"", "trusted.t (0)", "user.z (61)"] {
        assert!(list.contains(name), "{name} in {list}");
    }
    assert!(ask("stat /dev/null").contains("Device major/minor number: 01:03"));
    assert!(ask("stat /dev/big").contains("Device major/minor number: 259:70000"));
    assert!(ask("stat /usr/bin/su").contains("Links: 2"));
    assert!(
        ask("stat /var/future").contains("mtime: 0x8f5d8d00:00000004") || ask("stat /var/future").contains(":00000001")
    );
    assert!(ask("stat /var/past").contains("mtime: 0xfffffffb:00000000"));
}

#[test]
fn access_lists_are_kept_in_the_form_of_the_disk() {
    let (folder, _) = folder(0);
    let image = folder.path().join("image");
    let raw = [
        2u32.to_le_bytes().to_vec(),
        entry_of(1, 6, 0),
        entry_of(2, 7, 1000),
        entry_of(4, 4, 0),
        entry_of(16, 7, 0),
        entry_of(32, 4, 0),
    ];
    let mut listed = file("/listed", b"x");
    listed.xattrs.insert("system.posix_acl_access".to_owned(), raw.concat());
    make(&tree(vec![dir("/"), listed]), &options(Size::Auto), &image);
    fsck(&image);
    let back = folder.path().join("back");
    let (image, out) = (image.to_str().unwrap(), back.to_str().unwrap());
    tool("e2fsprogs", "debugfs", &["-R", &format!("ea_get -f {out} /listed system.posix_acl_access"), image]);
    assert_eq!(std::fs::read(&back).unwrap(), raw.concat());
}

fn entry_of(tag: u16, permissions: u16, id: u32) -> Vec<u8> {
    [&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
}

#[test]
fn names_hash_as_debugfs_hashes_them() {
    let (folder, _) = folder(0);
    let image = folder.path().join("image");
    let names = (0..40_000).map(|at| file(&format!("/d/{:x}-{at}", at * 7919), b""));
    let tree = tree([dir("/"), dir("/d")].into_iter().chain(names).collect());
    make(&tree, &options(Size::Auto), &image);
    fsck(&image);
    compare(&image, &tree);
    assert!(
        tool("e2fsprogs", "debugfs", &["-R", "htree_dump /d", image.to_str().unwrap()]).contains("Hash Version: 1")
    );
}

#[test]
fn a_directory_with_an_index_of_two_levels() {
    let (folder, _) = folder(0);
    let image = folder.path().join("image");
    let names = (0..9_000).map(|at| file(&format!("/d/{at:0>250}"), b""));
    let tree = tree([dir("/"), dir("/d")].into_iter().chain(names).collect());
    make(&tree, &options(Size::Auto), &image);
    fsck(&image);
    let said = tool("e2fsprogs", "debugfs", &["-R", "htree_dump /d", image.to_str().unwrap()]);
    assert!(said.contains("Indirect levels: 1"), "{}", &said[..400]);
    compare(&image, &tree);
}

#[test]
fn files_longer_than_groups_have_their_extents_in_blocks() {
    let (folder, _) = folder(0);
    let (image, sparse) = (folder.path().join("image"), folder.path().join("sparse"));
    std::fs::File::create(&sparse).unwrap().set_len(3 << 30).unwrap();
    let body = Body { size: 3 << 30, digest: None, token: None, place: Place::Host(sparse) };
    let tree = tree(vec![dir("/"), entry("/huge", 0o644, Kind::File(body)), file("/small", &noise(10_000, 4))]);
    let extents = layout(&tree, &GuestPath::root(), &[], &options(Size::Auto)).unwrap();
    // The file is all zeros, so its extents may stay out of the image.
    let mut thin = extents.clone();
    thin.list.retain(|extent| matches!(extent.source, kiln_model::Source::Bytes(_)));
    write(&thin, &image);
    fsck(&image);
    let said = tool("e2fsprogs", "debugfs", &["-R", "extents /huge", image.to_str().unwrap()]);
    assert!(said.contains(" 0/ 1   1/  1"), "{said}");
    assert!(extents.size < (3 << 30) / 100 * 107, "{} bytes for 3 GiB", extents.size);
}

#[test]
fn many_directories_in_one_and_many_names_of_one() {
    let (folder, _) = folder(0);
    let image = folder.path().join("image");
    let dirs = (0..65_100).map(|at| dir(&format!("/d/{at}")));
    let tree = tree([dir("/"), dir("/d")].into_iter().chain(dirs).collect());
    make(&tree, &options(Size::Auto), &image);
    fsck(&image);
}

#[test]
fn sizes_are_as_asked() {
    let (folder, large) = folder(9_000_000);
    let (image, tree) = (folder.path().join("image"), rich(&large));
    let auto = make(&tree, &options(Size::Auto), &image);
    let Err(kiln_disk::Error::TooSmall { needed, .. }) =
        layout(&tree, &GuestPath::root(), &[], &options(Size::Fixed(4 << 20)))
    else {
        panic!("4 MiB cannot hold 9 MB");
    };
    assert!(needed < auto, "{needed} < {auto}");
    for size in [needed, 64 << 20, (64 << 20) + 123 * 512, 129 << 20, 1 << 30, 33 << 30] {
        make(&tree, &options(Size::Fixed(size)), &image);
        std::fs::File::options().write(true).open(&image).unwrap().set_len(size).unwrap();
        fsck(&image);
    }
    compare(&image, &tree);
    let free = 100 << 20;
    let roomy = make(&tree, &options(Size::Roomy { minimum: 0, free }), &image);
    fsck(&image);
    assert!(available(&image) >= free, "{}", available(&image));
    assert!(available(&image) < free + (8 << 20), "{}", available(&image));
    let minimum = make(&tree, &options(Size::Roomy { minimum: 2 * roomy, free }), &image);
    assert_eq!(minimum, 2 * roomy);
}

/// Bytes that a user could write: what is free without root's and the kernel's own.
fn available(image: &Path) -> u64 {
    let said = tool("e2fsprogs", "dumpe2fs", &["-h", image.to_str().unwrap()]);
    let field = |name: &str| -> u64 {
        let line = said.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {said}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let total = field("Block count:");
    (field("Free blocks:") - field("Reserved block count:") - (total / 50).min(4096)) * 4096
}

/// `mke2fs -d` given the same size as yardstick: what we lose to tables is what it loses, to half a hundredth.
#[test]
fn waste_is_no_more_than_that_of_mke2fs() {
    let (folder, large) = folder(200_000_000);
    let (image, theirs) = (folder.path().join("image"), folder.path().join("theirs"));
    let tree = tree(vec![dir("/"), common::host("/large", &large)]);
    let size = make(&tree, &options(Size::Auto), &image);
    let blocks = (size / 4096).to_string();
    tool(
        "e2fsprogs",
        "mke2fs",
        &["-q", "-t", "ext4", "-T", "default", "-b", "4096", theirs.to_str().unwrap(), &blocks],
    );
    let free = |image: &Path| -> u64 {
        let said = tool("e2fsprogs", "dumpe2fs", &["-h", image.to_str().unwrap()]);
        said.lines().find(|line| line.starts_with("Free blocks:")).unwrap().rsplit(' ').next().unwrap().parse().unwrap()
    };
    let (ours, theirs) = (free(&image) + 200_000_000u64.div_ceil(4096), free(&theirs));
    assert!(ours * 200 >= theirs * 199, "{ours} blocks for use against {theirs}");
    let journal = 16 << 20;
    assert!(size - journal < 200_000_000 / 100 * 109, "{size}");
}

#[test]
fn what_does_not_fit_is_named() {
    let cases: [(Entry, &str); 3] = [
        (
            Entry { xattrs: [("user.x".to_owned(), noise(5000, 1))].into(), ..file("/x", b"") },
            "`/x` cannot be kept in ext4: its extended attributes are longer than a block",
        ),
        (
            Entry { xattrs: [("odd.x".to_owned(), vec![])].into(), ..file("/x", b"") },
            "`/x` cannot be kept in ext4: the attribute `odd.x` has no known prefix",
        ),
        (common::link("/x", &"t".repeat(4096)), "`/x` cannot be kept in ext4: the link's target is too long"),
    ];
    for (entry, wanted) in cases {
        let tree = tree(vec![dir("/"), entry]);
        let error = layout(&tree, &GuestPath::root(), &[], &options(Size::Auto)).unwrap_err();
        assert_eq!(error.to_string(), wanted);
    }
}

#[test]
fn mount_points_are_left_out() {
    let (folder, _) = folder(0);
    let image = folder.path().join("image");
    let whole = tree(vec![dir("/"), dir("/boot"), file("/boot/k", b"k"), file("/a", b"a")]);
    let extents = layout(&whole, &GuestPath::root(), &[path("/boot")], &options(Size::Auto)).unwrap();
    write(&extents, &image);
    fsck(&image);
    compare(&image, &tree(vec![dir("/"), dir("/boot"), file("/a", b"a")]));
    let (code, said) = tool_says("e2fsprogs", "debugfs", &["-R", "stat /boot/k", image.to_str().unwrap()]);
    assert!(said.contains("File not found"), "{code:?} {said}");
}

/// A small change leaves the front of the image as it was.
#[test]
fn a_young_file_moves_only_the_end() {
    let old = (0..3000).map(|at| file(&format!("/old/{at}"), &noise(3000 + at * 10, at as u64)));
    let old: Vec<_> = [dir("/"), dir("/old")].into_iter().chain(old).collect();
    let with = |name: &str| {
        let mut entries = old.clone();
        entries.push(Entry { mtime: EPOCH, ..file("/hostname", name.as_bytes()) });
        layout(&tree(entries), &GuestPath::root(), &[], &options(Size::Fixed(400 << 20))).unwrap()
    };
    let (one, two) = (with("one"), with("another"));
    let differ: Vec<_> = one.list.iter().zip(&two.list).filter(|(a, b)| a != b).map(|(a, _)| a.offset).collect();
    assert_eq!(differ.len(), 2, "the content and the part of the table with its inode: {differ:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_tree_fits_with_little_waste(tree in any_tree(), features in prop::sample::subsequence(vec!["^metadata_csum", "^dir_index", "^has_journal"], 0..2)) {
        let (folder, _) = folder(0);
        let image = folder.path().join("image");
        let mut options = options(Size::Auto);
        options.features = features.into_iter().map(str::to_owned).collect();
        let size = make(&tree, &options, &image);
        fsck(&image);
        compare(&image, &tree);
        let blocks: u64 = tree.content_size() + tree.entries.len() as u64 * 8192;
        prop_assert!(size <= blocks / 100 * 108 + (16 << 20), "{size} for {blocks}");
    }
}
