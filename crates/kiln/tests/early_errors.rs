//! What does not fit is told before anything is downloaded: against archives of our own.

mod common;

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use common::Bench;
use kiln_testkit::{Archive, Deb, Key, Server};
use serde_json::Value;

const BASE: &str = "edition = 1\n\n[base]\nrelease = \"13\"\nmirror = \"MIRROR\"\nkey = \"archive.asc\"\nupdates = false\n\
                    security = false\nARCH\n\n[packages]\nbase = \"essential\"\ninclude = [WORDS]\n\n";
const TREE: &str = "[[output]]\nformat = \"tar\"\n";
/// What a board's settings need.
const OF_A_BOARD: [&str; 15] = [
    "dbus",
    "dosfstools",
    "e2fsprogs",
    "fdisk",
    "initramfs-tools",
    "linux-image-amd64",
    "systemd",
    "systemd-boot",
    "systemd-repart",
    "systemd-resolved",
    "systemd-sysv",
    "tzdata",
    "udev",
    "zstd",
    "u-boot-menu",
];

struct House {
    bench: Bench,
    server: Server,
}

impl House {
    fn new(archive: impl Fn(Archive) -> Archive) -> Self {
        let (bench, key) = (Bench::new(), Key::new());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() as i64;
        let base = Archive::new("trixie", now - 60).deb(Deb::new("base", "1").essential());
        let root = bench.path("archive");
        fs::create_dir_all(&root).unwrap();
        archive(base).write(&root, &key);
        bench.write("archive.asc", &key.armored());
        Self { bench, server: Server::start(&root) }
    }

    fn recipe(&self, of: &str, words: &str, rest: &str) {
        let text = BASE.replace("MIRROR", &self.server.url("")).replace("ARCH", of).replace("WORDS", words);
        self.bench.write("small.toml", &(text + rest));
    }

    /// Returns what `kiln check` tells: line, message and hint.
    fn told(&self) -> Vec<(u64, String, String)> {
        let said = self.bench.run(&["check", "small.toml", "--json"]).ended(1).stdout;
        let found: Value = serde_json::from_str(&said).unwrap();
        let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
        let one = |one: &Value| (one["line"].as_u64().unwrap(), text(one, "message"), text(one, "hint"));
        found.as_array().unwrap().iter().map(one).collect()
    }

    /// A build fails, and has asked for no package.
    fn build_fails(&self) -> String {
        let said = self.bench.run(&["build", "small.toml", "--plain"]).ended(1).stderr;
        assert!(self.server.seen().iter().all(|seen| !seen.target.contains("/pool/")), "{:?}", self.server.seen());
        said
    }
}

#[test]
fn a_package_of_a_component_that_is_not_enabled_names_the_component_and_the_line_to_write() {
    let house = House::new(|archive| {
        archive
            .deb(Deb::new("tool", "1"))
            .deb_in("non-free-firmware", Deb::new("firmware-b", "1"))
            .deb_in("contrib", Deb::new("other", "1"))
    });
    let asked = |house: &House| house.server.seen().iter().any(|seen| seen.target.contains("/non-free-firmware/"));
    house.recipe("architecture = \"amd64\"", "\"tool\"", TREE);
    house.bench.ok(&["check", "small.toml"]);
    assert!(!asked(&house), "nobody looks there without need");
    house.recipe("architecture = \"amd64\"", "\"tool\", \"firmware-b\", \"no-such\"", TREE);
    let wanted = [
        (
            13,
            "package `firmware-b` is in component `non-free-firmware`, which is not enabled",
            "say under `[base]`: components = [\"main\", \"non-free-firmware\"]",
        ),
        (13, "there is no package `no-such`", ""),
    ];
    assert_eq!(house.told(), wanted.map(|(line, text, hint)| (line, text.to_owned(), hint.to_owned())));
    assert!(asked(&house));
    let said = house.build_fails();
    assert!(said.contains("look for `firmware-b`, `no-such` in components that are not enabled: contrib, "), "{said}");
    assert!(said.contains("components = [\"main\", \"non-free-firmware\"]"), "{said}");
    let enabled = "architecture = \"amd64\"\ncomponents = [\"main\", \"non-free-firmware\"]";
    house.recipe(enabled, "\"tool\", \"firmware-b\"", TREE);
    house.bench.ok(&["check", "small.toml"]);
}

#[test]
fn a_kernel_that_is_not_there_is_told_with_those_that_are() {
    let kernels = ["amd64", "rt-amd64", "cloud-amd64", "6.12.1+deb13-amd64", "amd64-dbg"];
    let house = House::new(|archive| {
        kernels.iter().fold(archive, |archive, kind| archive.deb(Deb::new(&format!("linux-image-{kind}"), "1")))
    });
    house.recipe("architecture = \"amd64\"", "\"linux-image-armmp\"", TREE);
    let told = house.told();
    assert_eq!((told[0].0, told[0].1.as_str()), (13, "there is no package `linux-image-armmp`"));
    let wanted = "kernels here: `linux-image-amd64`, `linux-image-cloud-amd64`, `linux-image-rt-amd64`";
    assert!(told[0].2.ends_with(wanted), "{told:?}");
    // The same for the kernel of a board, which the recipe does not name.
    let house = House::new(|archive| archive.deb(Deb::new("linux-image-rt-amd64", "1")));
    house.recipe("board = \"generic-x86_64\"", "", "[[output]]\nformat = \"raw\"\n");
    let said = house.build_fails();
    let wanted = "there is no package `linux-image-amd64`, which board `generic-x86_64` needs";
    assert!(said.contains(wanted) && said.contains("kernels here: `linux-image-rt-amd64`"), "{said}");
}

#[test]
fn a_root_too_small_for_its_packages_is_told_where_its_size_is_said() {
    let house = House::new(|archive| {
        let archive = OF_A_BOARD.iter().fold(archive, |archive, name| {
            archive.deb(Deb::new(name, "1").arch("amd64").field("Installed-Size", "1024"))
        });
        archive.deb(Deb::new("large", "1").field("Installed-Size", &(3 << 20).to_string()))
    });
    let disk = |text: &str| {
        house.recipe("board = \"generic-x86_64\"", "\"large\"", &format!("{text}\n[[output]]\nformat = \"raw\"\n"));
    };
    disk("[disk]\nsize = \"2GiB\"\n");
    let told = house.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].0, 16);
    assert!(told[0].1.ends_with("MiB unpacked, and `root` has 1792 MiB at most"), "{told:?}");
    let said = house.build_fails();
    assert!(said.contains("`root` has 1792 MiB at most") && said.contains("small.toml:16:8"), "{said}");
    // With the lock at hand, the check needs no archive.
    let before = house.server.seen().len();
    assert_eq!(house.told(), told);
    assert_eq!(house.server.seen().len(), before);
    disk("[disk]\nsize = \"2GiB\"\nlayout = \"efi-ab\"\n");
    assert!(house.told()[0].1.ends_with("`root-a` has 767 MiB at most"), "{:?}", house.told());
    let parts = "[[disk.partition]]\nname = \"esp\"\nrole = \"esp\"\nmount = \"/efi\"\n\n\
                 [[disk.partition]]\nname = \"system\"\nmount = \"/\"\nsize = \"1GiB\"\n";
    disk(parts);
    assert!(house.told()[0].1.ends_with("`system` has 1024 MiB at most"), "{:?}", house.told());
    disk("[disk]\nsize = \"8GiB\"\n");
    house.bench.ok(&["check", "small.toml"]);
}
