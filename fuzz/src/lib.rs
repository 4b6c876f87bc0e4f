#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod apk;
mod seeds;

use kiln_family::deb;

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
    Target { name: "apk", run: kiln_family::apk::package::fuzz, seeds: apk::seeds::packages },
    Target { name: "apk_checksum", run: apk::checksum, seeds: apk::seeds::checksums },
    Target { name: "apk_data", run: apk::data, seeds: apk::seeds::datas },
    Target { name: "apk_index", run: kiln_family::apk::index::fuzz, seeds: apk::seeds::indexes },
    Target { name: "apk_installed", run: apk::tree, seeds: apk::seeds::trees },
    Target { name: "apk_key", run: apk::key, seeds: apk::seeds::keys },
    Target { name: "apk_pkginfo", run: apk::pkginfo, seeds: apk::seeds::pkginfos },
    Target { name: "apk_relation", run: apk::relation, seeds: apk::seeds::relations },
    Target { name: "apk_scripts", run: apk::scripts, seeds: apk::seeds::script_archives },
    Target { name: "apk_section", run: apk::section, seeds: apk::seeds::first_sections },
    Target { name: "apk_version", run: apk::version, seeds: apk::seeds::versions },
    Target { name: "apk_world", run: apk::world, seeds: apk::seeds::worlds },
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

/// Runs the target called `name`.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("the target is in the table").run)(bytes);
}
