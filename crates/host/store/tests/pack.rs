//! A layer that goes to another store comes out as it went in, or not at all.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use kiln_model::{Digest, StageId, StageKind};
use kiln_store::{Layer, Mark, Meta, Store};
use rustix::fs::{CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, lsetxattr, makedev, mknodat, utimensat};

fn id() -> StageId {
    StageId(Digest::of("stage"))
}

fn store() -> (tempfile::TempDir, Store) {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path(), None).unwrap();
    (home, store)
}

/// Publishes a tree with a bit of everything that needs no rights.
fn publish(store: &Store, more: impl FnOnce(&Path)) -> Layer {
    let upper = store.scratch("upper").unwrap();
    fs::create_dir_all(upper.join("usr/bin")).unwrap();
    fs::write(upper.join("usr/bin/tool"), "x".repeat(100_000)).unwrap();
    fs::hard_link(upper.join("usr/bin/tool"), upper.join("usr/bin/other")).unwrap();
    fs::write(upper.join("a file \u{e4}\n"), "").unwrap();
    std::os::unix::fs::symlink("/nowhere", upper.join("link")).unwrap();
    mknodat(CWD, upper.join("pipe"), FileType::Fifo, Mode::from_raw_mode(0o620), 0).unwrap();
    more(&upper);
    fs::set_permissions(upper.join("usr/bin/tool"), Permissions::from_mode(0o4750)).unwrap();
    lsetxattr(upper.join("usr"), "user.kiln.test", b"\0value", XattrFlags::empty()).unwrap();
    let time = Timespec { tv_sec: 1_700_000_000, tv_nsec: 123_456_789 };
    let times = Timestamps { last_access: time, last_modification: time };
    for name in ["usr/bin/tool", "link", "usr/bin", "usr"] {
        utimensat(CWD, upper.join(name), &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
    let meta = Meta { kind: StageKind::Packages, size: 0, note: "demo".into(), parent: Some(StageId(Digest::of("p"))) };
    store.publish(&id(), &upper, meta).unwrap()
}

/// Returns a layer packed.
fn packed(store: &Store, layer: &Layer) -> Vec<u8> {
    let mut bytes = vec![];
    store.pack(layer, &mut bytes).unwrap();
    bytes
}

/// What of a layer does not depend on where it lies.
fn shape(layer: &Layer) -> Vec<String> {
    let item = |item: &kiln_store::Item| {
        let size = if item.mode & 0o170_000 == 0o040_000 { 0 } else { item.print.size };
        let target = String::from_utf8_lossy(&item.target).into_owned();
        format!(
            "{} {:?} {:o} {} {} {} {:?} {:?} {target} {:?}",
            item.path, item.mark, item.mode, item.uid, item.gid, size, item.print.mtime, item.device, item.xattrs
        )
    };
    layer.manifest.items.iter().map(item).collect()
}

#[test]
fn it_comes_out_as_it_went_in() {
    let ((_home, from), (_other, to)) = (store(), store());
    let layer = publish(&from, |_| {});
    let bytes = packed(&from, &layer);
    let copy = to.unpack(&id(), bytes.as_slice()).unwrap();
    assert_eq!((shape(&copy), &copy.meta.note, copy.meta.parent), (shape(&layer), &layer.meta.note, layer.meta.parent));
    assert_eq!(fs::read(copy.path.join("usr/bin/other")).unwrap(), "x".repeat(100_000).as_bytes());
    let inode = |name: &str| std::os::unix::fs::MetadataExt::ino(&fs::metadata(copy.path.join(name)).unwrap());
    assert_eq!(inode("usr/bin/tool"), inode("usr/bin/other"));
    assert_eq!(to.tree(&id()).unwrap().map(|layer| shape(&layer)), Some(shape(&layer)));
    let (_third, on) = store();
    let copy = on.unpack(&id(), packed(&to, &copy).as_slice()).unwrap();
    assert_eq!(shape(&copy), shape(&layer), "also when it goes on from there");
}

#[test]
fn a_link_is_no_name_of_a_file() {
    let ((home, from), (_other, to)) = (store(), store());
    let outside = home.path().join("outside");
    fs::write(&outside, "").unwrap();
    fs::set_permissions(&outside, Permissions::from_mode(0o600)).unwrap();
    let mut layer = publish(&from, |upper| std::os::unix::fs::symlink(&outside, upper.join("evil")).unwrap());
    let of =
        |layer: &Layer, name: &str| layer.manifest.items.iter().position(|item| item.path.to_string() == name).unwrap();
    let (evil, tool) = (of(&layer, "/evil"), of(&layer, "/usr/bin/tool"));
    // The list says that both are one: what is done to the file would be done to what the link names.
    layer.manifest.items[evil].links = 2;
    layer.manifest.items[evil].print.inode = layer.manifest.items[tool].print.inode;
    let refused = to.unpack(&id(), packed(&from, &layer).as_slice()).unwrap_err();
    assert!(format!("{refused:?}").contains("are not one"), "{refused:?}");
    assert_eq!(fs::metadata(&outside).unwrap().permissions().mode() & 0o7777, 0o600);
}

#[test]
fn damaged_or_anothers_is_refused_and_leaves_nothing() {
    let ((_home, from), (other, to)) = (store(), store());
    let bytes = packed(&from, &publish(&from, |_| {}));
    let mut plain = zstd::decode_all(bytes.as_slice()).unwrap();
    let at = plain.windows(9).position(|window| window == b"/usr/bin/" || window.ends_with(b"tool")).unwrap();
    plain[at] ^= 1;
    let changed = zstd::encode_all(plain.as_slice(), 1).unwrap();
    plain[at] ^= 1;
    plain.push(0);
    let longer = zstd::encode_all(plain.as_slice(), 1).unwrap();
    for (what, bytes) in [("cut off", &bytes[..bytes.len() / 2]), ("changed", &changed), ("longer", &longer)] {
        assert!(to.unpack(&id(), bytes).is_err(), "{what}");
    }
    assert!(to.unpack(&StageId(Digest::of("another")), bytes.as_slice()).is_err());
    assert!(to.tree(&id()).unwrap().is_none());
    assert!(!other.path().join("layers").exists());
    to.unpack(&id(), bytes.as_slice()).unwrap();
}

#[test]
fn privileged_devices_whiteouts_and_owners() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let ((_home, from), (_other, to)) = (store(), store());
    let layer = publish(&from, |upper| {
        let node = |name: &str, kind, major, minor| {
            mknodat(CWD, upper.join(name), kind, Mode::from_raw_mode(0o660), makedev(major, minor)).unwrap();
        };
        node("null", FileType::CharacterDevice, 1, 3);
        node("disk", FileType::BlockDevice, 8, 1);
        node("gone", FileType::CharacterDevice, 0, 0);
        fs::hard_link(upper.join("gone"), upper.join("gone too")).unwrap();
        lsetxattr(upper.join("usr/bin"), "user.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
        chown(upper.join("usr/bin/tool"), Some(1000), Some(33)).unwrap();
        let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        fs::write(upper.join("ping"), "").unwrap();
        lsetxattr(upper.join("ping"), "security.capability", &capability, XattrFlags::empty()).unwrap();
    });
    let marks = |layer: &Layer| layer.manifest.items.iter().filter(|item| item.mark != Mark::Plain).count();
    let copy = to.unpack(&id(), packed(&from, &layer).as_slice()).unwrap();
    assert_eq!((shape(&copy), marks(&copy)), (shape(&layer), 3));
}
