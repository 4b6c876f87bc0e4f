//! What the tests of this crate share: small trees, images written the plain way, and tools that must be there.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_model::tree::{Body, Place};
use kiln_model::{Entry, Extents, GuestPath, Kind, Source, Tree};
use proptest::prelude::*;

pub const EPOCH: i64 = 1_700_000_000;

pub fn path(text: impl AsRef<[u8]>) -> GuestPath {
    GuestPath::new(text).unwrap()
}

pub fn entry(name: &str, mode: u32, kind: Kind) -> Entry {
    Entry { kind, ..Entry::dir(path(name), mode, EPOCH - 1000) }
}

pub fn dir(name: &str) -> Entry {
    entry(name, 0o755, Kind::Dir)
}

pub fn file(name: &str, bytes: &[u8]) -> Entry {
    Entry::inline(path(name), 0o644, EPOCH - 1000, bytes)
}

pub fn link(name: &str, target: &str) -> Entry {
    entry(name, 0o777, Kind::Symlink(target.into()))
}

/// A file whose bytes lie on the host.
pub fn host(name: &str, at: &Path) -> Entry {
    let size = at.metadata().unwrap().len();
    let body = Body { size, digest: None, token: Some("t".into()), place: Place::Host(at.to_owned()) };
    entry(name, 0o644, Kind::File(body))
}

pub fn tree(entries: Vec<Entry>) -> Tree {
    let mut tree = Tree { entries };
    tree.sort();
    tree
}

/// Bytes that do not repeat soon.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(len).collect()
}

/// A Debian-like tree in small, with one of everything.
pub fn rich(host_file: &Path) -> Tree {
    let xattrs = |list: &[(&str, &[u8])]| -> BTreeMap<String, Vec<u8>> {
        list.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect()
    };
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let long = "l".repeat(200);
    let mut entries = vec![
        dir("/"),
        dir("/etc"),
        file("/etc/hostname", b"kiln\n"),
        file("/etc/empty", b""),
        dir("/usr"),
        dir("/usr/bin"),
        host("/usr/bin/large", host_file),
        Entry { xattrs: xattrs(&[("security.capability", capability)]), ..file("/usr/bin/ping", &noise(70_000, 1)) },
        Entry { mode: 0o4755, ..file("/usr/bin/su", &noise(4096, 2)) },
        entry("/usr/bin/zsu", 0o644, Kind::Hardlink(path("/usr/bin/su"))),
        link("/bin", "usr/bin"),
        link("/etc/long-link", &format!("/{long}")),
        link("/etc/59", &"5".repeat(59)),
        link("/etc/60", &"6".repeat(60)),
        dir(&format!("/etc/{long}")),
        Entry { uid: 100_000, gid: 70_000, mode: 0o1777, ..dir("/tmp") },
        dir("/dev"),
        entry("/dev/null", 0o666, Kind::Char { major: 1, minor: 3 }),
        entry("/dev/big", 0o600, Kind::Block { major: 259, minor: 70_000 }),
        entry("/dev/initctl", 0o600, Kind::Fifo),
        entry("/dev/log", 0o666, Kind::Socket),
        dir("/var"),
        Entry { mtime: EPOCH + (1 << 32), ..file("/var/future", b"x") },
        Entry {
            xattrs: xattrs(&[
                ("user.large", &noise(3000, 3)),
                ("user.small", b"v"),
                ("trusted.t", b""),
                ("user.z", &noise(61, 3)),
            ]),
            ..file("/var/attributes", b"x")
        },
        dir("/var/many"),
    ];
    entries.extend((0..700).map(|at| file(&format!("/var/many/a-file-with-a-name-{at}"), at.to_string().as_bytes())));
    tree(entries)
}

/// Random trees: names, kinds, depths and lengths of all sorts.
pub fn any_tree() -> impl Strategy<Value = Tree> {
    let name = prop_oneof![8 => "[a-z]{1,3}", 2 => "[A-Za-z0-9._ -]{1,40}x", 1 => "[a-z]{255}", 1 => "[äöü€]{1,20}"];
    let names = prop::collection::vec(name, 1..5);
    let kind = prop_oneof![
        6 => (0usize..20_000, any::<u64>()).prop_map(|(len, seed)| Some(Ok(noise(len, seed)))),
        1 => (20_000usize..400_000, any::<u64>()).prop_map(|(len, seed)| Some(Ok(noise(len, seed)))),
        2 => "[a-z/.]{1,100}".prop_map(|target| Some(Err(target))),
        3 => Just(None),
    ];
    let meta = (0u32..0o10000, prop_oneof![Just(0u32), any::<u32>()], 0i64..EPOCH + 10);
    prop::collection::vec((names, kind, meta), 0..80).prop_map(|list| {
        let mut all = BTreeMap::new();
        all.insert(GuestPath::root(), dir("/"));
        for (names, kind, (mode, uid, mtime)) in list {
            let mut at = GuestPath::root();
            for name in &names[..names.len() - 1] {
                at = at.join(name).unwrap();
                let taken = all.entry(at.clone()).or_insert_with(|| Entry::dir(at.clone(), 0o755, 7));
                if taken.kind != Kind::Dir {
                    at = at.parent().unwrap();
                }
            }
            at = at.join(&names[names.len() - 1]).unwrap();
            let entry = match kind {
                Some(Ok(bytes)) => Entry::inline(at.clone(), mode, mtime, bytes),
                Some(Err(target)) => {
                    Entry { kind: Kind::Symlink(target.into()), ..Entry::dir(at.clone(), 0o777, mtime) }
                }
                None => Entry::dir(at.clone(), mode, mtime),
            };
            all.entry(at).or_insert(Entry { uid, gid: uid / 2, ..entry });
        }
        tree(all.into_values().collect())
    })
}

/// Reads what an extent stands for.
pub fn read(source: &Source, len: u64) -> Vec<u8> {
    match source {
        Source::Bytes(bytes) => bytes.to_vec(),
        Source::File { path, from, .. } => {
            let mut bytes = vec![0; len as usize];
            File::open(path.as_path()).unwrap().read_exact_at(&mut bytes, *from).unwrap();
            bytes
        }
    }
}

/// Writes an image, sparse.
pub fn write(extents: &Extents, to: &Path) {
    let file = File::create(to).unwrap();
    file.set_len(extents.size).unwrap();
    for extent in &extents.list {
        let bytes = read(&extent.source, extent.len);
        assert_eq!(bytes.len() as u64, extent.len);
        file.write_all_at(&bytes, extent.offset).unwrap();
    }
}

/// The whole image in memory.
pub fn bytes(extents: &Extents) -> Vec<u8> {
    let mut bytes = vec![0; extents.size as usize];
    for extent in &extents.list {
        bytes[extent.offset as usize..][..extent.len as usize].copy_from_slice(&read(&extent.source, extent.len));
    }
    bytes
}

/// Runs a tool of a Debian package; panics with what it said unless it ends well.
pub fn tool(package: &str, program: &str, args: &[&str]) -> String {
    let (code, said) = tool_says(package, program, args);
    assert_eq!(code, Some(0), "{program} {args:?} says:\n{said}");
    said
}

/// Runs a tool and returns its exit code and all it said.
pub fn tool_says(package: &str, program: &str, args: &[&str]) -> (Option<i32>, String) {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program).args(args).env("PATH", path).env("LC_ALL", "C.UTF-8").output();
    let output =
        output.unwrap_or_else(|error| panic!("this test needs `{program}` of the package `{package}`: {error}"));
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

/// A folder for one test, and a file of `len` bytes in it.
pub fn folder(len: usize) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("host-file");
    std::fs::write(&file, noise(len, 99)).unwrap();
    (folder, file)
}
