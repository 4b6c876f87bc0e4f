//! Archives as GNU tar, libarchive and the `tar` crate read them.

mod common;

use std::io::Read as _;
use std::path::Path;

use common::{any_tree, dir, entry, file, folder, link, noise, path, rich, tool, tree};
use kiln_disk::tar::layout;
use kiln_model::tree::{Body, Place};
use kiln_model::{Entry, Kind, Tree};
use proptest::prelude::*;

fn make(tree: &Tree, to: &Path) {
    std::fs::write(to, common::bytes(&layout(tree).unwrap())).unwrap();
}

fn content(body: &Body) -> Vec<u8> {
    match &body.place {
        Place::Inline(bytes) => bytes.to_vec(),
        Place::Host(path) => std::fs::read(path).unwrap(),
    }
}

/// Reads everything back with the `tar` crate.
fn compare(archive: &Path, tree: &Tree) {
    let mut archive = tar::Archive::new(std::fs::File::open(archive).unwrap());
    let mut members = archive.entries().unwrap();
    for entry in tree.entries.iter().filter(|entry| entry.kind != Kind::Socket) {
        let mut member = members.next().unwrap().unwrap();
        let name = member.path_bytes().into_owned();
        let name = name.strip_prefix(b"./").unwrap();
        assert_eq!(name.strip_suffix(b"/").unwrap_or(name), entry.path.relative());
        let extensions: Vec<(String, Vec<u8>)> = match member.pax_extensions().unwrap() {
            Some(list) => list
                .map(|pair| pair.unwrap())
                .map(|pair| (pair.key().unwrap().to_owned(), pair.value_bytes().to_vec()))
                .collect(),
            None => Vec::new(),
        };
        let xattrs = extensions
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix("SCHILY.xattr.")?.to_owned(), value.clone())));
        if let Kind::Hardlink(target) = &entry.kind {
            assert_eq!(member.link_name_bytes().unwrap().strip_prefix(b"./").unwrap(), target.relative());
            continue;
        }
        assert_eq!(xattrs.collect::<std::collections::BTreeMap<_, _>>(), entry.xattrs);
        let header = member.header();
        assert_eq!(header.mode().unwrap(), entry.mode);
        let number = |key: &str, header: u64| {
            extensions
                .iter()
                .find(|(known, _)| known == key)
                .map_or(header as i64, |(_, value)| String::from_utf8_lossy(value).parse().unwrap())
        };
        assert_eq!(number("uid", header.uid().unwrap()), i64::from(entry.uid));
        assert_eq!(number("gid", header.gid().unwrap()), i64::from(entry.gid));
        assert_eq!(number("mtime", header.mtime().unwrap()), entry.mtime);
        match &entry.kind {
            Kind::File(body) => {
                let mut bytes = Vec::new();
                member.read_to_end(&mut bytes).unwrap();
                assert!(bytes == content(body), "content of {}", entry.path);
            }
            Kind::Symlink(target) => assert_eq!(member.link_name_bytes().unwrap().as_ref(), &target[..]),
            Kind::Char { major, minor } | Kind::Block { major, minor } => {
                assert_eq!(
                    (header.device_major().unwrap(), header.device_minor().unwrap()),
                    (Some(*major), Some(*minor))
                );
            }
            _ => {}
        }
    }
    assert!(members.next().is_none());
}

fn awkward(large: &Path) -> Tree {
    let mut tree = rich(large);
    let deep = format!("/{}/{}", "d".repeat(120), "e".repeat(120));
    let odd = kiln_model::GuestPath::new([&b"/caf\xe9-"[..], &[b'n'; 120]].concat()).unwrap();
    tree.entries.extend([
        dir(&format!("/{}", "d".repeat(120))),
        dir(&deep),
        file(&format!("{deep}/file"), b"deep"),
        Entry { mtime: -7, uid: 3_000_000, ..file("/odd-numbers", b"x") },
        Entry { path: odd, ..file("/x", b"odd") },
        link("/far", &"t/".repeat(150)),
    ]);
    tree.sort();
    tree
}

#[test]
fn everything_reads_back() {
    let (folder, large) = folder(2_000_000);
    let (archive, mut tree) = (folder.path().join("a.tar"), awkward(&large));
    // The `tar` crate takes a line feed in a value for the end of a record; GNU tar is asked about those.
    let values = tree.entries.iter_mut().flat_map(|entry| entry.xattrs.values_mut()).flatten();
    values.filter(|byte| **byte == b'\n').for_each(|byte| *byte = b'N');
    make(&tree, &archive);
    compare(&archive, &tree);
    assert_eq!(archive.metadata().unwrap().len() % 10240, 0);
}

#[test]
fn gnu_tar_unpacks_it_with_everything() {
    let (folder, large) = folder(2_000_000);
    let archive = folder.path().join("a.tar");
    let mut tree = awkward(&large);
    // What the archive of a user without privileges may hold: owners and devices are only listed below.
    tree.entries.retain(|entry| !matches!(entry.kind, Kind::Char { .. } | Kind::Block { .. } | Kind::Socket));
    tree.entries.iter_mut().for_each(|entry| entry.xattrs.retain(|name, _| name.starts_with("user.")));
    make(&tree, &archive);
    let (root, text) = (folder.path().join("root"), archive.to_str().unwrap());
    std::fs::create_dir(&root).unwrap();
    let said = tool("tar", "tar", &["-xpf", text, "--xattrs", "--no-same-owner", "-C", root.to_str().unwrap()]);
    assert!(
        said.lines().all(|line| line.contains("implausibly old")
            || line.contains("in the future")
            || line.contains("hdrcharset")),
        "{said}"
    );
    for entry in &tree.entries {
        let at = entry.path.under(&root);
        let meta = at.symlink_metadata().unwrap();
        use std::os::unix::fs::MetadataExt as _;
        match &entry.kind {
            Kind::File(body) => {
                assert!(std::fs::read(&at).unwrap() == content(body), "{}", entry.path);
                assert_eq!((meta.mode() & 0o7777, meta.mtime()), (entry.mode, entry.mtime), "{}", entry.path);
            }
            Kind::Hardlink(target) => assert_eq!(meta.ino(), target.under(&root).symlink_metadata().unwrap().ino()),
            Kind::Symlink(target) => {
                use std::os::unix::ffi::OsStrExt as _;
                assert_eq!(std::fs::read_link(&at).unwrap().as_os_str().as_bytes(), &target[..]);
            }
            _ => {}
        }
    }
    let attributes = root.join("var/attributes");
    let said = tool("attr", "getfattr", &["-d", "-e", "hex", "--absolute-names", attributes.to_str().unwrap()]);
    let hex: String = noise(3000, 3).iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(said.contains("user.small=0x76") && said.contains(&format!("user.large=0x{hex}\n")), "{said}");
}

#[test]
fn gnu_tar_and_libarchive_list_the_same() {
    let (folder, large) = folder(1000);
    let (archive, tree) = (folder.path().join("a.tar"), awkward(&large));
    make(&tree, &archive);
    let text = archive.to_str().unwrap();
    let listed = tool("tar", "tar", &["-tvf", text, "--numeric-owner", "--utc", "--warning=no-unknown-keyword"]);
    let devices: Vec<_> = listed.lines().filter(|line| line.contains("./dev/") && !line.ends_with('/')).collect();
    assert_eq!(devices.len(), 3, "{devices:?}");
    assert!(
        listed.contains("259,70000") && listed.contains("3000000/0") && listed.contains("100000/70000"),
        "{listed}"
    );
    let theirs = tool("libarchive-tools", "bsdtar", &["-tf", text]);
    let count = tree.entries.iter().filter(|entry| entry.kind != Kind::Socket).count();
    assert_eq!((listed.lines().count(), theirs.lines().count()), (count, count));
}

#[test]
fn a_file_beyond_eight_gigabytes_has_its_length_in_a_record() {
    let size = 9 << 30;
    let body = Body { size, digest: None, token: None, place: Place::Host("/nowhere".into()) };
    let tree = tree(vec![dir("/"), entry("/huge", 0o644, Kind::File(body)), file("/next", b"n")]);
    let mut extents = layout(&tree).unwrap();
    extents.list.retain(|extent| matches!(extent.source, kiln_model::Source::Bytes(_)));
    let (folder, _) = folder(0);
    let archive = folder.path().join("a.tar");
    common::write(&extents, &archive);
    let listed = tool("tar", "tar", &["-tvf", archive.to_str().unwrap()]);
    assert!(listed.contains(&size.to_string()) && listed.contains("./next"), "{listed}");
}

#[test]
fn a_link_to_nothing_is_an_error() {
    let tree = tree(vec![dir("/"), file("/a", &noise(3, 1)), entry("/b", 0o644, Kind::Hardlink(path("/c")))]);
    let error = layout(&tree).unwrap_err().to_string();
    assert_eq!(error, "`/c`, which the hard link `/b` points at, is not in the tree");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_tree_reads_back(tree in any_tree()) {
        let (folder, _) = folder(0);
        let archive = folder.path().join("a.tar");
        make(&tree, &archive);
        compare(&archive, &tree);
        let listed = tool("tar", "tar", &["-tf", archive.to_str().unwrap()]);
        prop_assert_eq!(listed.lines().count(), tree.entries.len());
    }
}
