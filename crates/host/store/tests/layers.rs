//! Layers: what is published comes back, what changed since does not, and merged they are what overlayfs shows.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_model::{Digest, Entry, Kind, StageId, StageKind, Tree};
use kiln_store::{Layer, Meta, Store, merge};

fn id(name: &str) -> StageId {
    StageId(Digest::of(name))
}

fn meta() -> Meta {
    Meta { kind: StageKind::Bootstrap, size: 0, note: "demo".into(), parent: None }
}

/// Publishes a small tree.
fn publish(store: &Store, name: &str) -> Layer {
    let upper = store.scratch("upper").unwrap();
    fs::create_dir_all(upper.join("etc/deep/er")).unwrap();
    fs::write(upper.join("etc/hostname"), "kiln\n").unwrap();
    fs::hard_link(upper.join("etc/hostname"), upper.join("etc/a-link")).unwrap();
    fs::write(upper.join("etc/deep/er/file"), "x".repeat(5000)).unwrap();
    fs::write(upper.join("etc.conf"), "").unwrap();
    std::os::unix::fs::symlink("hostname", upper.join("etc/name")).unwrap();
    store.publish(&id(name), &upper, meta()).unwrap()
}

/// Tells a tree in lines.
fn lines(tree: &Tree) -> Vec<String> {
    let line = |entry: &Entry| match &entry.kind {
        Kind::Dir => format!("{} {:o} dir", entry.path, entry.mode),
        Kind::File(body) => format!("{} {:o} file {}", entry.path, entry.mode, body.size),
        Kind::Symlink(target) => format!("{} -> {}", entry.path, String::from_utf8_lossy(target)),
        Kind::Hardlink(first) => format!("{} = {first}", entry.path),
        other => format!("{} {other:?}", entry.path),
    };
    tree.entries.iter().map(line).collect()
}

#[test]
fn a_layer_comes_back_as_it_was_published() {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path(), None).unwrap();
    let layer = publish(&store, "a");
    assert!(layer.meta.size >= 5000);
    let wanted = [
        "/ 700 dir",
        "/etc 700 dir",
        "/etc/a-link 644 file 5",
        "/etc/deep 700 dir",
        "/etc/deep/er 700 dir",
        "/etc/deep/er/file 644 file 5000",
        "/etc/hostname = /etc/a-link",
        "/etc/name -> hostname",
        "/etc.conf 644 file 0",
    ];
    let mut tree = merge(&[&layer.manifest]);
    tree.entries.iter_mut().for_each(|entry| entry.mode &= if entry.kind == Kind::Dir { 0o700 } else { 0o7777 });
    assert_eq!(lines(&tree), wanted);
    let again = Store::open(home.path(), None).unwrap().tree(&id("a")).unwrap().unwrap();
    assert_eq!((again.manifest, again.meta, again.path), (layer.manifest, layer.meta, layer.path));
    assert!(store.tree(&id("b")).unwrap().is_none());
}

#[test]
fn the_slower_of_two_publishers_gets_the_layer_of_the_faster() {
    let home = tempfile::tempdir().unwrap();
    let (one, two) = (Store::open(home.path(), None).unwrap(), Store::open(home.path(), None).unwrap());
    let first = publish(&one, "a");
    assert_eq!(publish(&two, "a").manifest, first.manifest);
    assert_eq!(two.take_warnings(), Vec::<String>::new());
}

/// Publishes a layer with one file in place of what is there.
fn replace(store: &Store, name: &str, text: &str) -> Layer {
    let upper = store.scratch("upper").unwrap();
    fs::write(upper.join("file"), text).unwrap();
    store.replace(&id(name), &upper, meta()).unwrap()
}

#[test]
fn a_layer_made_again_on_purpose_takes_the_place_of_the_old_one() {
    let home = tempfile::tempdir().unwrap();
    drop(Store::open(home.path(), None).map(|store| publish(&store, "a")).unwrap());
    let store = Store::open(home.path(), None).unwrap();
    for text in ["one", "two"] {
        let fresh = replace(&store, "a", text);
        assert_eq!(fs::read_to_string(fresh.path.join("file")).unwrap(), text);
        assert_eq!(store.tree(&id("a")).unwrap().unwrap().manifest, fresh.manifest);
    }
    assert_eq!(store.take_warnings(), Vec::<String>::new());
    let folder = store.session_folder().to_owned();
    let left: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 0, "{left:?}");
}

#[test]
fn a_layer_that_another_kiln_uses_stays_and_the_new_one_is_used_here() {
    let home = tempfile::tempdir().unwrap();
    let (other, store) = (Store::open(home.path(), None).unwrap(), Store::open(home.path(), None).unwrap());
    let old = publish(&other, "a");
    let fresh = replace(&store, "a", "fresh");
    assert_eq!(fs::read_to_string(fresh.path.join("file")).unwrap(), "fresh");
    assert_eq!(fresh.manifest.root, fresh.path);
    assert_eq!(other.tree(&id("a")).unwrap().unwrap().manifest, old.manifest);
    assert_eq!(store.take_warnings().len(), 1);
}

#[test]
fn a_changed_layer_stays_while_another_kiln_works_with_it() {
    let home = tempfile::tempdir().unwrap();
    let (other, store) = (Store::open(home.path(), None).unwrap(), Store::open(home.path(), None).unwrap());
    let old = publish(&other, "a");
    fs::create_dir(old.path.join("proc")).unwrap();
    assert!(store.tree(&id("a")).unwrap().is_none());
    assert!(old.path.join("proc").exists());
    let fresh = publish(&store, "a");
    assert!(!fresh.path.join("proc").exists() && fresh.path.join("etc.conf").exists());
    assert_eq!(store.take_warnings().len(), 2, "once when it was looked for, once when it was in the way");
    // Nobody works with it any more: who only looked at it does not.
    drop(other);
    let third = Store::open(home.path(), None).unwrap();
    assert!(third.tree(&id("a")).unwrap().is_none());
    assert!(!old.path.exists() && fresh.path.exists());
    assert!(third.take_warnings()[0].contains("is dropped"));
}

#[test]
fn a_layer_that_comes_back_after_it_was_given_up_is_leased_again() {
    let home = tempfile::tempdir().unwrap();
    let (other, store) = (Store::open(home.path(), None).unwrap(), Store::open(home.path(), None).unwrap());
    let old = publish(&other, "a");
    fs::create_dir(old.path.join("proc")).unwrap();
    assert!(store.tree(&id("a")).unwrap().is_none());
    drop(other);
    let fresh = publish(&store, "a");
    Store::open(home.path(), None).unwrap().gc(Some(0), false).unwrap();
    assert!(fresh.path.exists());
}

type Change = fn(&Path);

/// Every way a layer can change behind the store's back.
const CHANGES: &[(&str, Change)] = &[
    ("content, size kept", |root| fs::write(root.join("etc/hostname"), "KILN\n").unwrap()),
    ("content, size and time kept", |root| {
        let file = root.join("etc/hostname");
        let time = fs::metadata(&file).unwrap().modified().unwrap();
        fs::write(&file, "KILN\n").unwrap();
        fs::File::open(&file).unwrap().set_modified(time).unwrap();
    }),
    ("one more file", |root| fs::write(root.join("etc/deep/er/more"), "").unwrap()),
    ("one file less", |root| fs::remove_file(root.join("etc/deep/er/file")).unwrap()),
    ("mode", |root| fs::set_permissions(root.join("etc.conf"), fs::Permissions::from_mode(0o600)).unwrap()),
    ("one more name", |root| fs::hard_link(root.join("etc.conf"), root.join("../../../link")).unwrap()),
    ("root gone", |root| fs::remove_dir_all(root).unwrap()),
    ("manifest cut", |root| {
        let manifest = root.join("../manifest");
        let bytes = fs::read(&manifest).unwrap();
        fs::write(&manifest, &bytes[..bytes.len() - 1]).unwrap();
    }),
    ("manifest flipped", |root| {
        let manifest = root.join("../manifest");
        let mut bytes = fs::read(&manifest).unwrap();
        bytes[100] ^= 1;
        fs::write(&manifest, bytes).unwrap();
    }),
];

#[test]
fn a_changed_layer_is_never_handed_out() {
    for settled in [false, true] {
        for (what, change) in CHANGES {
            let home = tempfile::tempdir().unwrap();
            let store = Store::open(home.path(), None).unwrap();
            let layer = publish(&store, "a");
            if settled {
                store.settle(std::time::Duration::ZERO).unwrap();
            }
            assert!(store.tree(&id("a")).unwrap().is_some());
            change(&layer.path);
            assert!(store.tree(&id("a")).unwrap().is_none(), "{what}, settled: {settled}");
            assert!(!layer.path.exists(), "{what}: it is removed");
            assert_eq!(store.take_warnings().len(), 1, "{what}");
            publish(&store, "a");
        }
    }
}

#[test]
fn a_restored_backup_proves_itself_by_content() {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path(), None).unwrap();
    let layer = publish(&store, "a");
    store.settle(std::time::Duration::ZERO).unwrap();
    let (folder, copy) = (layer.path.parent().unwrap(), home.path().join("copy"));
    let copied = Command::new("cp").arg("-a").args([folder, &copy]).status().unwrap();
    assert!(copied.success());
    fs::remove_dir_all(folder).unwrap();
    fs::rename(&copy, folder).unwrap();
    let again = store.tree(&id("a")).unwrap().expect("same content");
    assert_ne!(again.manifest, layer.manifest, "other inodes");
    assert_eq!(lines(&merge(&[&again.manifest])), lines(&merge(&[&layer.manifest])));
    assert_eq!(store.tree(&id("a")).unwrap().unwrap().manifest, again.manifest, "and needs no second proof");
}

#[test]
fn after_a_crash_a_layer_is_read_once_or_dropped() {
    for settled in [false, true] {
        let home = tempfile::tempdir().unwrap();
        let layer = {
            let store = Store::open(home.path(), None).unwrap();
            let layer = publish(&store, "a");
            if settled {
                store.settle(std::time::Duration::ZERO).unwrap();
            }
            layer
        };
        // As if it had been stored in another boot that nobody saw end.
        let about = layer.path.join("../about");
        let mut text: serde_json::Value = serde_json::from_slice(&fs::read(&about).unwrap()).unwrap();
        text["stored"]["boot"] = 7.into();
        fs::write(&about, text.to_string()).unwrap();
        let store = Store::open(home.path(), None).unwrap();
        assert_eq!(store.tree(&id("a")).unwrap().is_some(), settled);
        assert_eq!(store.take_warnings().len(), usize::from(!settled));
    }
}

#[test]
fn verify_reads_layers_and_then_knows_them() {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path(), None).unwrap();
    let layer = publish(&store, "a");
    assert_eq!(store.verify(&|_| {}).unwrap(), []);
    let digests = layer.path.join("../digests");
    let mut bytes = fs::read(&digests).unwrap();
    assert_eq!(bytes.len(), 5 * 32, "four files and the sum");
    assert_eq!(store.verify(&|_| {}).unwrap(), []);
    // Bytes that rot on the disk cannot be had without a broken disk; digests that tell of other bytes can.
    bytes[0] ^= 1;
    let (body, sum) = bytes.split_at_mut(4 * 32);
    sum.copy_from_slice(Digest::of(&*body).as_bytes());
    fs::write(&digests, bytes).unwrap();
    let findings = store.verify(&|_| {}).unwrap();
    assert_eq!(findings.iter().map(|finding| finding.id.clone()).collect::<Vec<_>>(), [id("a").to_string()]);
    assert!(store.tree(&id("a")).unwrap().is_none());
}

/// What the kernel's overlayfs shows, as `find` sees it: the independent reader of [`merge`].
fn mounted(lowers: &[&Layer], script: &str, upper: &Path, work: &Path) -> BTreeMap<String, String> {
    let stack: Vec<String> = lowers.iter().rev().map(|layer| layer.path.display().to_string()).collect();
    let options =
        format!("userxattr,lowerdir={},upperdir={},workdir={}", stack.join(":"), upper.display(), work.display());
    let target = work.with_extension("target");
    fs::create_dir_all(&target).unwrap();
    let list = "find . -printf '%P|%y|%m|%s|%l\\n'";
    let shell =
        format!("set -e; mount -t overlay overlay -o '{options}' '{0}'; cd '{0}'; {script}\n{list}", target.display());
    let output = Command::new("unshare").args(["--map-root-user", "--mount", "sh", "-c", &shell]).output();
    let output = output.expect("unshare is installed (package util-linux)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| line.split_once('|').unwrap())
        .map(|(path, rest)| (format!("/{path}"), rest.into()))
        .collect()
}

/// The same of a merged tree.
fn merged(tree: &Tree) -> BTreeMap<String, String> {
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for entry in &tree.entries {
        let line = match &entry.kind {
            Kind::Dir => format!("d|{:o}|", entry.mode),
            Kind::File(body) => format!("f|{:o}|{}|", entry.mode, body.size),
            Kind::Symlink(target) => format!("l|777|{}|{}", target.len(), String::from_utf8_lossy(target)),
            Kind::Hardlink(first) => files[&first.to_string()].clone(),
            Kind::Fifo => format!("p|{:o}|0|", entry.mode),
            other => panic!("{other:?}"),
        };
        files.insert(entry.path.to_string(), line);
    }
    files
}

/// `find` counts blocks for folders; nobody else cares.
fn without_folder_sizes(mut found: BTreeMap<String, String>) -> BTreeMap<String, String> {
    for line in found.values_mut().filter(|line| line.starts_with("d|")) {
        let mode = line.split('|').nth(1).unwrap();
        *line = format!("d|{mode}|");
    }
    found
}

#[test]
fn merged_layers_are_what_overlayfs_shows() {
    let scripts = [
        "mkdir -p a/b/c d e.f e/x; echo 1 >a/one; ln a/one a/two; ln a/one d/three; ln -s a/one link; mkfifo e/pipe; \
         echo 5 >e/x/file; echo 6 >e.f/file; setfattr -n user.demo -v kept a/b 2>/dev/null || true",
        "rm -r a/b; mkdir a/b; echo new >a/b/inside; rm link; mkdir link; echo 2 >link/file; chmod 600 a/two",
        "rm -r e/x; ln -s elsewhere e/x; rm d/three; rmdir d; echo file >d; rm -r link; cp -a e.f g; rm -r e.f",
        "rm d; mkdir -p d/again; rm -r a; mkdir a; echo last >a/one; ln a/one a/zero; rm e/x; mkdir e/x",
        "rm -r *; echo alone >only",
    ];
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path(), None).unwrap();
    let empty = store.scratch("upper").unwrap();
    let mut layers = vec![store.publish(&id("empty"), &empty, meta()).unwrap()];
    for (number, script) in scripts.iter().enumerate() {
        let (upper, work) = (store.scratch("upper").unwrap(), store.scratch("work").unwrap());
        let shown = mounted(&layers.iter().collect::<Vec<_>>(), script, &upper, &work);
        layers.push(store.publish(&id(script), &upper, meta()).unwrap());
        let tree = merge(&layers.iter().map(|layer| &layer.manifest).collect::<Vec<_>>());
        assert_eq!(merged(&tree), without_folder_sizes(shown), "after script {number}");
        let mut sorted = tree.clone();
        sorted.sort();
        assert_eq!(tree, sorted, "the order is the tree's own");
        let overlay_words = |entry: &Entry| entry.xattrs.keys().any(|name| name.contains("overlay"));
        assert!(!tree.entries.iter().any(overlay_words), "overlay's attributes are its own");
        assert!(tree.entries.iter().all(places_exist), "every place is real");
    }
}

fn places_exist(entry: &Entry) -> bool {
    match &entry.kind {
        Kind::File(body) => match &body.place {
            kiln_model::tree::Place::Host(path) => fs::metadata(path).is_ok_and(|meta| meta.len() == body.size),
            kiln_model::tree::Place::Inline(_) => false,
        },
        _ => true,
    }
}

#[test]
fn names_that_are_no_text_and_attributes_survive() {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path(), None).unwrap();
    let upper = store.scratch("upper").unwrap();
    let odd: PathBuf = upper.join(std::ffi::OsStr::from_bytes(b"caf\xe9\n"));
    fs::write(&odd, "x").unwrap();
    rustix::fs::lsetxattr(&odd, "user.demo", b"\0value", rustix::fs::XattrFlags::empty()).unwrap();
    store.publish(&id("a"), &upper, meta()).unwrap();
    let layer = store.tree(&id("a")).unwrap().unwrap();
    let tree = merge(&[&layer.manifest]);
    assert_eq!(tree.entries[1].path.as_bytes(), b"/caf\xe9\n");
    assert_eq!(tree.entries[1].xattrs, BTreeMap::from([("user.demo".to_owned(), b"\0value".to_vec())]));
}
