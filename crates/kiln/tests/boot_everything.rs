//! One image with all that a recipe can say, looked at from outside, from its tree, and from the guest itself.
//!
//! The recipe and its folder are `tests/everything`; what must hold in the guest stands in it.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use common::{Bench, Done, tool};
use kiln_testkit::{Archive, Deb, Key, Server};
use serde_json::Value;

const RECIPE: &str = "everything/everything.toml";
const SECRETS: [(&str, &str); 2] = [("ALL_PW", "env secret pw"), ("WIFI", "wifi secret pw")];

/// When the archives were made, in seconds since 1970.
const DATE: i64 = 1_790_000_000;

/// The bench with the recipe's folder, and what serves its repositories.
struct Everything {
    bench: Bench,
    server: Server,
}

impl Everything {
    fn new() -> Self {
        let bench = Bench::shared();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/everything");
        tool("cp", &["-a", folder.to_str().unwrap(), bench.path("").to_str().unwrap()]);
        let key = Key::new();
        bench.write("everything/vendor.asc", &key.armored());
        bench.write("everything/secrets/ops", "file secret pw\n");
        let agent = Deb::new("agent", "1.2").depends("vendor-lib");
        let agent = agent.script("postinst", "#!/bin/sh\nset -e\necho configured > /var/lib/agent.configured\n");
        fs::write(bench.path("everything").join(agent.file_name()), agent.build()).unwrap();
        repositories(&bench.path("web"), &key);
        let server = Server::start(&bench.path("web"));
        Self { bench, server }
    }

    fn kiln(&self, words: &[&str]) -> Command {
        let mut command = self.bench.kiln(words);
        command.envs(SECRETS);
        command.env("KILN_MIRROR_VENDOR", self.server.url("/vendor"));
        command.env("KILN_MIRROR_SPARE", self.server.url("/spare"));
        command
    }

    #[track_caller]
    fn ok(&self, words: &[&str]) -> Done {
        Done::of(self.kiln(words).output().expect("kiln starts")).well()
    }
}

/// The vendor's older `hello` wins by its priority; the spare's newer `tree` loses by its own.
fn repositories(web: &Path, key: &Key) {
    let archive = || Archive::new("stable", DATE).architectures(&["amd64", "i386"]);
    let hello = Deb::new("hello", "0.1").arch("amd64").file("/usr/share/hello/version", 0o644, "of the vendor\n");
    archive().deb(hello).deb(Deb::new("vendor-lib", "3").arch("amd64")).write(&web.join("vendor"), key);
    archive().deb(Deb::new("tree", "99").arch("amd64")).write(&web.join("spare"), key);
}

/// `key value` lines.
fn pairs(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.split_once(' ')).collect()
}

#[test]
fn boot_everything_a_recipe_can_say_is_in_the_image() {
    let all = Everything::new();
    all.ok(&["check", RECIPE]);
    let done = all.ok(&["build", RECIPE, "--no-verify"]);
    assert_eq!(done.stdout, "out/everything.qcow2\n");
    the_tree_is_as_asked(&all);
    no_secret_is_told(&all.bench);
    the_guest_is_as_asked(&all);
}

fn the_tree_is_as_asked(all: &Everything) {
    let script = "dpkg-query -W -f '${Package}:${Architecture} ${Version}\\n' agent vendor-lib hello tree libc6:i386; \
                  echo \"agent $(cat /var/lib/agent.configured)\"; echo \"nano $(dpkg-query -W nano 2>&1)\"; \
                  echo \"audit [$(dpkg --audit)]\"; echo \"verify [$(dpkg --verify | grep -v ' c /etc')]\"; \
                  echo \"sources $(grep -rho '[a-z]*\\.example' /etc/apt/sources.list.d | tr '\\n' ' ')\"; \
                  echo \"pin $(grep -h Pin-Priority /etc/apt/preferences.d/kiln.pref)\"; \
                  echo \"psk $(grep -c psk= /etc/wpa_supplicant/wpa_supplicant-wlan0.conf)\"; \
                  grep -rlF 'wifi secret pw' /etc /var || echo 'passphrase nowhere'";
    let said = all.ok(&["shell", RECIPE, "--", "sh", "-c", script]).stdout;
    let found = pairs(&said);
    let wanted = [
        ("agent:all", "1.2"),
        ("vendor-lib:amd64", "3"),
        ("hello:amd64", "0.1"),
        ("agent", "configured"),
        ("nano", "dpkg-query: no packages found matching nano"),
        ("audit", "[]"),
        ("verify", "[]"),
        ("sources", "vendor.example "),
        ("pin", "Pin-Priority: 1001"),
        ("psk", "1"),
        ("passphrase", "nowhere"),
    ];
    let differs: Vec<_> = wanted.iter().filter(|(key, value)| found.get(key) != Some(value)).collect();
    assert!(differs.is_empty(), "{differs:?} in\n{said}");
    assert!(found.contains_key("libc6:i386") && found["tree:amd64"] != "99", "{said}");
}

/// The one secret that no assertion of the recipe says.
fn no_secret_is_told(bench: &Bench) {
    let told = fs::read_dir(bench.path("out")).unwrap().map(|entry| entry.unwrap().path());
    let told: Vec<_> = told.filter(|path| path.extension().is_none_or(|ending| ending != "qcow2")).collect();
    assert!(told.len() >= 4, "{told:?}");
    for path in told.iter().chain([&bench.path("everything/everything.lock")]) {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(!text.contains("wifi secret pw"), "{} tells a secret", path.display());
    }
}

/// Boots the disk as it is on a larger medium.
fn the_guest_is_as_asked(all: &Everything) {
    let image = all.bench.path("out/everything.qcow2").display().to_string();
    tool("qemu-img", &["check", &image]);
    tool("qemu-img", &["resize", &image, "4G"]);
    let checked = all.ok(&["boot", &image, "--check", "--json"]).stdout;
    let verified: Value = serde_json::from_str(&checked).unwrap();
    assert_eq!(verified["state"], "running", "{verified}");
    let recipe = fs::read_to_string(all.bench.path(RECIPE)).unwrap();
    let asserted = recipe.lines().filter(|line| *line == "[[verify.assert]]").count();
    assert_eq!(verified["held"].as_array().unwrap().len(), asserted, "{verified}");
}
