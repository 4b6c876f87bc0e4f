//! What an overlay left and the store took is a layer for good: nothing that happens to the build's scratch folder changes it.
//!
//! Not the usual harness: mounting needs a sandbox to be entered while the process has one thread.

use std::fs;
use std::path::Path;

use kiln_model::{Digest, StageId, StageKind};
use kiln_sandbox::{Enter, Overlay, Scratch, enter};
use kiln_store::{Layer, Meta, Store};

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let has = |asked: &str| words.iter().any(|word| word == asked);
    if has("--list") {
        // For cargo-nextest, which asks for the ignored ones apart.
        if !has("--ignored") {
            println!("removals_stay: test");
        }
        return;
    }
    enter(&Enter::default()).unwrap_or_else(|error| panic!("{error}: {error:?}"));
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path(), None).unwrap();
    removals_stay(&store);
}

fn publish(store: &Store, name: &str, upper: &Path) -> Layer {
    let meta = Meta { kind: StageKind::Cleanup, size: 0, note: "test".into(), parent: None };
    store.publish(&StageId(Digest::of(name)), upper, meta).unwrap()
}

/// Two whiteouts are one inode, which the work folder shares until the overlay is unmounted.
fn removals_stay(store: &Store) {
    let lower = store.scratch("lower").unwrap();
    let names = ["one", "two", "three"];
    names.iter().for_each(|name| fs::write(lower.join(name), name).unwrap());
    let lower = publish(store, "lower", &lower);
    let upper = {
        let scratch = Scratch::new(&store.root().join("scratch"), "stage").unwrap();
        let [upper, work, root] = ["upper", "work", "root"].map(|name| scratch.path().join(name));
        let overlay = Overlay::mount(&[&lower.path], &upper, &work, &root).unwrap();
        names[..2].iter().for_each(|name| fs::remove_file(root.join(name)).unwrap());
        overlay.unmount().unwrap();
        publish(store, "upper", &upper)
    };
    let again = store.tree(&upper.id).unwrap();
    assert_eq!(store.take_warnings(), Vec::<String>::new());
    assert_eq!(again.map(|layer| layer.manifest), Some(upper.manifest.clone()));
    let shown = kiln_store::merge(&[&lower.manifest, &upper.manifest]);
    let shown: Vec<String> = shown.entries.iter().map(|entry| entry.path.to_string()).collect();
    assert_eq!(shown, ["/", "/three"]);
}
