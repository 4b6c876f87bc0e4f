//! What `kiln pieman` builds starts.

mod common;

use std::fs;

use common::alpine::{KEY, Mirror};
use common::{Bench, Done, json};

/// Runs `kiln pieman` with these parameters; it must end well.
fn pieman(bench: &Bench, parameters: &[(&str, &str)]) -> Done {
    let mut command = bench.kiln(&["pieman", "--plain"]);
    for (name, value) in [("PROJECT_NAME", "demo"), ("PASSWORD", "abc"), ("USER_PASSWORD", "abc"), ("LC_ALL", "C")] {
        command.env(name, value);
    }
    Done::of(command.envs(parameters.iter().copied()).output().expect("kiln starts")).well()
}

#[test]
fn boot_what_parameters_say() {
    let bench = Bench::shared();
    let done = pieman(
        &bench,
        &[
            ("OS", "debian-trixie-amd64"),
            ("DEVICE", "generic-x86_64"),
            ("INCLUDES", "htop"),
            ("HOST_NAME", "workbench"),
        ],
    );
    assert!(done.stderr.contains("Success: "), "{}", done.stderr);
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
    let done = pieman(&bench, &parameters);
    assert!(done.stderr.contains("Success: "), "{}", done.stderr);
    assert!(bench.path("build/demo.img").is_file());
    assert!(fs::read_to_string(bench.path("build/demo.lock")).unwrap().contains("\"linux-lts\""));
}
