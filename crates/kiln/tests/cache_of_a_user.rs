//! `kiln cache` on layers that hold other owners' files: as root, and as an ordinary user with subordinate ids.
//!
//! Not the usual harness: publishing such a layer needs a sandbox to be entered while the process has one thread.

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::Done;
use kiln_model::{Digest, StageId, StageKind};
use kiln_sandbox::{Enter, enter};
use kiln_store::{Meta, Store};

#[path = "../../host/sandbox/tests/common/mod.rs"]
mod users;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["publish", cache] => publish(Path::new(cache)),
        listed if listed.contains(&"--list") => {
            if !listed.contains(&"--ignored") {
                println!("cache_of_a_user: test");
            }
        }
        _ => {
            for ordinary in [false, true].into_iter().filter(|&ordinary| !ordinary || users::is_root()) {
                a_sound_cache_is_verified_and_collected(ordinary);
            }
        }
    }
}

/// Makes a layer as a build does: with files of root and of another user, in a folder that nobody may enter.
fn publish(cache: &Path) {
    enter(&Enter::default()).unwrap_or_else(|error| panic!("{error}: {error:?}"));
    let store = Store::open(cache, None).unwrap();
    let upper = store.scratch("upper").unwrap();
    fs::create_dir(upper.join("home")).unwrap();
    fs::write(upper.join("home/file"), "x").unwrap();
    chown(upper.join("home/file"), Some(1000), Some(1000)).unwrap();
    chown(upper.join("home"), Some(1000), Some(1000)).unwrap();
    fs::set_permissions(upper.join("home"), fs::Permissions::from_mode(0o500)).unwrap();
    let meta = Meta { kind: StageKind::Users, size: 0, note: "test".into(), parent: None };
    store.publish(&StageId(Digest::of("layer")), &upper, meta).unwrap();
}

fn a_sound_cache_is_verified_and_collected(ordinary: bool) {
    let folder = users::Folder::new("cache-of-a-user");
    let kiln = folder.install(Path::new(env!("CARGO_BIN_EXE_kiln")));
    let this = folder.install(&std::env::current_exe().unwrap());
    let cache = folder.0.join("cache");
    let run = |program: &PathBuf, words: &[&str]| {
        let mut command: Command = users::as_user(ordinary, program);
        Done::of(command.args(words).env("KILN_CACHE", &cache).current_dir(&folder.0).output().unwrap()).well()
    };
    run(&this, &["publish", cache.to_str().unwrap()]);
    // The first time notes digests, the second compares.
    for round in 1..=2 {
        let verified = run(&kiln, &["cache", "verify", "--json"]);
        assert_eq!(verified.stdout.trim(), "[]", "ordinary user: {ordinary}, round {round}");
    }
    let collected = run(&kiln, &["cache", "gc", "--limit", "0"]);
    assert!(collected.stdout.starts_with("layer "), "{collected:?}");
    for left in ["layers", "scratch", "sessions"] {
        assert_eq!(fs::read_dir(cache.join(left)).unwrap().count(), 0, "ordinary user: {ordinary}, `{left}`");
    }
}
