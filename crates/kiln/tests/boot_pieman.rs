//! What `kiln pieman` builds starts.

mod common;

use std::fs;

use common::alpine::{KEY, Mirror};
use common::{Bench, Done, json, tool};

/// Runs `kiln pieman` with these parameters; it must end well.
fn pieman(bench: &Bench, parameters: &[(&str, &str)]) -> Done {
    pieman_with(bench, &[], parameters)
}

fn pieman_with(bench: &Bench, words: &[&str], parameters: &[(&str, &str)]) -> Done {
    let mut command = bench.kiln(&[&["pieman", "--plain"], words].concat());
    for (name, value) in [("PROJECT_NAME", "demo"), ("PASSWORD", "abc"), ("USER_PASSWORD", "abc"), ("LC_ALL", "C")] {
        command.env(name, value);
    }
    Done::of(command.envs(parameters.iter().copied()).output().expect("kiln starts")).well()
}

/// From a tree of an earlier day, made by the same program: what is in it stays, older versions are renewed by dpkg.
#[test]
fn boot_what_parameters_say() {
    let bench = Bench::shared();
    let of_old = ["--set", "base.security=false", "--set", "base.updates=false"];
    let chroot =
        [("OS", "debian-trixie-amd64"), ("INCLUDES", "tree"), ("CREATE_ONLY_CHROOT", "true"), ("PROJECT_NAME", "old")];
    pieman_with(&bench, &of_old, &chroot);
    let old = bench.path("build/old/chroot");
    fs::write(old.join("etc/by-hand"), "mine\n").unwrap();
    fs::write(old.join("etc/issue"), "my own\n").unwrap();
    fs::create_dir(old.join("srv/private")).unwrap();
    std::os::unix::fs::chown(old.join("srv/private"), Some(1234), Some(5678)).unwrap();
    let done = pieman(
        &bench,
        &[
            ("OS", "debian-trixie-amd64"),
            ("DEVICE", "generic-x86_64"),
            ("INCLUDES", "htop"),
            ("HOST_NAME", "workbench"),
            ("BASE_DIR", "build/old/chroot"),
        ],
    );
    assert!(done.stderr.contains("Success: "), "{}", done.stderr);
    let lock = fs::read_to_string(bench.path("build/demo.lock")).unwrap();
    let line = |name: &str| lock.lines().find(|line| line.contains(&format!("{{ name = \"{name}\", version"))).unwrap();
    assert!(line("tree").contains("in_tree = true") && line("bash").contains("in_tree = true"), "{lock}");
    assert!(!line("htop").contains("in_tree") && !line("apt").contains("in_tree"), "{lock}");
    let inside = |command: &str| {
        let image = bench.path("build/demo.img").display().to_string();
        let table: serde_json::Value = serde_json::from_str(&tool("sfdisk", &["--json", &image])).unwrap();
        let start = table["partitiontable"]["partitions"][1]["start"].as_u64().unwrap() * 512;
        tool("debugfs", &["-R", command, &format!("{image}?offset={start}")])
    };
    assert!(inside("cat /etc/by-hand").starts_with("mine\n") && inside("cat /etc/issue").starts_with("my own\n"));
    let owner = inside("stat /srv/private");
    assert!(owner.contains("User:  1234") && owner.contains("Group:  5678"), "{owner}");
    let status = inside("cat /var/lib/dpkg/status");
    let version = |status: &str| {
        let apt = status.split("\n\n").find(|stanza| stanza.contains("Package: apt\n")).unwrap().to_owned();
        apt.lines().find_map(|line| line.strip_prefix("Version: ")).unwrap().to_owned()
    };
    let before = version(&fs::read_to_string(old.join("var/lib/dpkg/status")).unwrap());
    assert!(version(&status) != before && line("apt").contains(&version(&status)), "{before}");
    let automatic = inside("cat /var/lib/apt/extended_states");
    assert!(!automatic.contains("Package: tree\n") && automatic.contains("Auto-Installed: 1"), "{automatic}");
    let verified: serde_json::Value =
        serde_json::from_str(&bench.ok(&["boot", "build/demo.img", "--check", "--json"]).stdout).unwrap();
    assert_eq!(verified["state"], "running", "{verified}");
    let packages = json(&bench.path("build/demo.cdx.json")).to_string();
    assert!(packages.contains("/htop@") && packages.contains("/inetutils-ping@"), "{packages}");
}

/// Alpine by the same parameters, from a mirror and with a key that are found where Pieman has them.
#[test]
fn boot_alpine_by_parameters() {
    let bench = Bench::shared();
    let mirror = Mirror::new(&bench);
    bench.write(&format!("keys/alpine/{KEY}"), &mirror.key.pem());
    let url = mirror.server.url("");
    let parameters = [
        ("OS", "alpine-3.22-amd64"),
        ("DEVICE", "generic-x86_64"),
        ("INCLUDES", "chrony"),
        ("ENABLE_SUDO", "false"),
        ("ENABLE_GOOGLE_DNS", "true"),
        ("KILN_MIRROR_ALPINE", url.trim_end_matches('/')),
    ];
    pieman(&bench, &[&parameters[..], &[("CREATE_ONLY_CHROOT", "true")]].concat());
    let tree = bench.path("build/demo/chroot");
    let world = fs::read_to_string(tree.join("etc/apk/world")).unwrap();
    assert_eq!(world, "alpine-base\nalpine-keys\nchrony\ntzdata\n");
    assert!(tree.join("etc/apk/keys").join(KEY).is_file());

    fs::remove_dir_all(bench.path("build")).unwrap();
    fs::create_dir(bench.path("result")).unwrap();
    let done = pieman_with(&bench, &["--move-to", "result"], &parameters);
    assert!(done.stderr.contains("demo.img was built"), "{}", done.stderr);
    assert!(bench.path("result/demo.img").is_file() && !bench.path("build/demo.img").exists());
    assert!(fs::read_to_string(bench.path("build/demo.lock")).unwrap().contains("\"linux-lts\""));
    for folder in ["build", "result"] {
        tool("sh", &["-c", &format!("cd {} && sha256sum --check --strict SHA256SUMS", bench.path(folder).display())]);
    }
    assert!(fs::read_to_string(bench.path("result/SHA256SUMS")).unwrap().ends_with("  demo.img\n"));
}
