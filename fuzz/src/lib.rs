#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod seeds;

use kiln_family::{apk, deb};

/// A parser of foreign bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub name: &'static str,
    /// Takes any bytes and returns; a panic is a bug.
    pub run: fn(&[u8]),
    /// Well-formed inputs to start from.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "apk", run: apk::package::fuzz, seeds: seeds::apks },
    Target { name: "apk_index", run: apk::index::fuzz, seeds: seeds::apk_indexes },
    Target { name: "apk_key", run: apk_key, seeds: seeds::apk_keys },
    Target { name: "apk_relation", run: apk_relation, seeds: seeds::apk_relations },
    Target { name: "apk_version", run: apk_version, seeds: seeds::apk_versions },
    Target { name: "apk_world", run: apk_world, seeds: seeds::apk_worlds },
    Target { name: "deb", run: deb::package::fuzz, seeds: seeds::debs },
    Target { name: "deb822", run: deb::deb822::fuzz, seeds: seeds::deb822 },
    Target { name: "packages", run: deb::packages::fuzz, seeds: seeds::packages },
    Target { name: "recipe", run: recipe, seeds: seeds::recipes },
    Target { name: "relation", run: relation, seeds: seeds::relations },
    Target { name: "release", run: release, seeds: seeds::releases },
    Target { name: "trust", run: deb::trust::fuzz, seeds: seeds::signed },
    Target { name: "version", run: version, seeds: seeds::versions },
];

fn recipe(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Err(rejected) = kiln_recipe::complete_text(text)
    {
        // Showing what is wrong must not fail on odd text either.
        rejected.render(kiln_recipe::Look::PLAIN);
    }
}

fn relation(bytes: &[u8]) {
    let _ = std::str::from_utf8(bytes).map(|text| deb::relation::parse(text, "amd64").map(drop));
}

fn release(bytes: &[u8]) {
    let _ = std::str::from_utf8(bytes).map(|text| deb::Release::parse(text).map(drop));
}

/// Two versions on two lines; their order must not depend on who asks.
fn version(bytes: &[u8]) {
    let Some((one, two)) = std::str::from_utf8(bytes).ok().and_then(|text| text.split_once('\n')) else { return };
    if let (Ok(one), Ok(two)) = (deb::Version::parse(one), deb::Version::parse(two)) {
        assert_eq!(one.cmp(&two), two.cmp(&one).reverse());
    }
}

fn apk_key(bytes: &[u8]) {
    let _ = std::str::from_utf8(bytes).map(|text| apk::Keys::default().add("a.rsa.pub", text).is_ok());
}

/// What can be read must be written as it can be read again.
fn apk_relation(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(atom) = apk::Atom::parse_world(text) {
        let shown = atom.to_string();
        assert_eq!(apk::Atom::parse_world(&shown), Ok(atom));
    }
}

fn apk_version(bytes: &[u8]) {
    let Some((one, two)) = std::str::from_utf8(bytes).ok().and_then(|text| text.split_once('\n')) else { return };
    let (one, two) = (apk::Version::raw(one), apk::Version::raw(two));
    assert_eq!(one.cmp(&two), two.cmp(&one).reverse());
    let _ = (one.begins_with(two), apk::Version::parse(one.as_str()).is_ok());
}

/// The first line is the world, the rest a package list.
fn apk_world(bytes: &[u8]) {
    let Some((world, list)) = std::str::from_utf8(bytes).ok().and_then(|text| text.split_once('\n')) else { return };
    let Ok(index) = apk::Index::parse(list.as_bytes()) else { return };
    let world: Vec<String> = world.split_ascii_whitespace().map(str::to_owned).collect();
    let repositories = [apk::Repository { name: "a".into(), tag: None, index }];
    let _ = apk::solve(&repositories, &apk::Request { world: &world, keep: &[], arch: "x86_64" });
}

/// Runs the target called `name`.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("the target is in the table").run)(bytes);
}
