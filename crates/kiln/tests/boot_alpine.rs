//! Alpine from a mirror like its own: locked, built, started under UEFI and under a BIOS.

mod common;

use std::fs;

use common::alpine::{KEY, Machine, Mirror, publish};
use common::{Bench, Done, json, tool};
use kiln_testkit::Apk;

fn recipe(mirror: &Mirror, more: &str) -> String {
    format!(
        "edition = 1\nname = \"alpine\"\n\n[base]\ndistribution = \"alpine\"\nrelease = \"3.22\"\nmirror = \"{}\"\nkey = \"{KEY}\"\n\
         mirror-in-image = \"http://archive.example/alpine\"\n{more}",
        mirror.server.url("").trim_end_matches('/')
    )
}

const MACHINE: &str = "board = \"generic-x86_64\"\n\n[packages]\ninclude = [\"chrony\"]\n\n[system]\nhostname = \"summit\"\n\n\
     [network]\ndhcp = true\n\n[[user]]\nname = \"maker\"\n\
     groups = [\"wheel\"]\npassword-hash = \"$6$saltsalt$s44kwWY.6sGcEX2hy2yM6wDSZpHmCGWoVwI2TgAxsdx/JJkLLkXtxUBzS2RDtQTQwvvTFzdSgFFnG66m5.Ht8.\"\n\n[services]\nenable = [\"bootmisc\"]\n\n\
     [[output]]\nformat = \"raw\"\n\n[[output]]\nformat = \"dir\"\n\n[verify]\nboot = true\nfirmware = [\"uefi\", \"bios\"]\n";

const ASSERTIONS: &str = "\n[[verify.assert]]\ncommand = \"cat /etc/alpine-release\"\ncontains = \"3.22.0\"\n\n\
     [[verify.assert]]\ncommand = \"rc-status default\"\ncontains = \"bootmisc\"\n\n\
     [[verify.assert]]\nunit = \"networking\"\n\n[[verify.assert]]\nno-failed-units = true\n\n\
     [[verify.assert]]\ncommand = \"grep ^maker: /etc/passwd\"\ncontains = \"/home/maker:/bin/ash\"\n\n\
     [[verify.assert]]\ncommand = \"mount\"\ncontains = \" on /boot type vfat\"\n\n\
     [[verify.assert]]\ncommand = \"df -m / | awk 'NR == 2 { exit $2 < 2000 }'\"\n\n[[verify.assert]]\ncommand = \"touch /written && ip addr show eth0\"\ncontains = \"inet \"\n";

#[test]
fn boot_alpine_under_both_firmwares() {
    let bench = Bench::shared();
    let mirror = Mirror::new(&bench);
    bench.write("alpine.toml", &recipe(&mirror, &format!("{MACHINE}{ASSERTIONS}")));
    bench.ok(&["build", "--no-verify", "alpine.toml"]);
    let disk = bench.path("out/alpine.raw").display().to_string();
    tool("sfdisk", &["--verify", &disk]);
    let tree = bench.path("out/alpine");
    let text = |path: &str| fs::read_to_string(tree.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!(
        text("etc/apk/world"),
        "alpine-base\nalpine-keys\nchrony\ndosfstools\ne2fsprogs\ne2fsprogs-extra\nlinux-lts\nmkinitfs\nopenrc\npartx\nsfdisk\nsystemd-boot\n"
    );
    assert_eq!(
        text("etc/apk/repositories"),
        "http://archive.example/alpine/v3.22/main\nhttp://archive.example/alpine/v3.22/community\n"
    );
    assert_eq!(text(&format!("etc/apk/keys/{KEY}")), mirror.key.pem());
    let installed = text("lib/apk/db/installed");
    assert_eq!(installed.matches("\nP:").count(), bench.lock_lines("alpine.lock"), "{installed}");
    assert!(text("lib/apk/db/triggers").contains("/usr/share/kernel/*"));
    for link in ["etc/runlevels/sysinit/devfs", "etc/runlevels/boot/networking", "etc/runlevels/default/bootmisc"] {
        assert!(fs::symlink_metadata(tree.join(link)).is_ok(), "{link}");
    }
    assert!(!tree.join("lib/apk/exec").exists());
    // Alpine's root is open, and nobody asked for that.
    assert!(text("etc/shadow").starts_with("root:*:"), "{}", text("etc/shadow"));
    let sbom = json(&bench.path("out/alpine.cdx.json")).to_string();
    assert!(sbom.contains("pkg:apk/alpine/busybox@1.0-r0?arch=x86_64"), "{sbom}");

    bench.ok(&["twice", "alpine.toml"]);

    // On a larger medium the root takes it all.
    fs::OpenOptions::new().write(true).open(&disk).unwrap().set_len(3 << 30).unwrap();
    let verified: serde_json::Value =
        serde_json::from_str(&bench.ok(&["boot", "out/alpine.raw", "--check", "--json"]).stdout).unwrap();
    assert_eq!(verified["held"].as_array().unwrap().len(), 8, "{verified}");
    assert_eq!(verified["also"][0]["held"].as_array().unwrap().len(), 8, "{verified}");
}

/// Its card by parameters, as the board's firmware reads it, and started with kiln in the firmware's place.
#[test]
fn boot_alpine_on_a_raspberry_pi() {
    let bench = Bench::shared();
    let mirror = Mirror::of(&bench, Machine::RaspberryPi);
    bench.write(&format!("keys/alpine/{KEY}"), &mirror.key.pem());
    let url = mirror.server.url("");
    let mut command = bench.kiln(&["pieman", "--plain"]);
    for (name, value) in [
        ("OS", "alpine-3.22-arm64"),
        ("DEVICE", "rpi-3-b"),
        ("PROJECT_NAME", "card"),
        ("HOST_NAME", "summit"),
        ("PASSWORD", "abc"),
        ("ENABLE_USER", "false"),
        ("ENABLE_SUDO", "false"),
        ("INCLUDES", "chrony"),
        ("KILN_MIRROR_ALPINE", url.trim_end_matches('/')),
    ] {
        command.env(name, value);
    }
    Done::of(command.output().unwrap()).well();
    let card = bench.path("build/card.img").display().to_string();
    tool("sfdisk", &["--verify", &card]);
    let fat = format!("{card}@@1M");
    let listed = tool("mdir", &["-i", &fat, "-b", "::"]);
    for wanted in ["bootcode.bin", "start.elf", "vmlinuz-rpi", "initramfs-rpi", "bcm2837-rpi-3-b.dtb", "cmdline.txt"] {
        assert!(listed.contains(&format!("::/{wanted}")), "{wanted}: {listed}");
    }
    let config = tool("mtype", &["-i", &fat, "::config.txt"]);
    for wanted in ["kernel=vmlinuz-rpi", "initramfs initramfs-rpi followkernel", "arm_64bit=1"] {
        assert!(config.lines().any(|line| line == wanted), "{wanted}: {config}");
    }
    let verified = bench.ok(&["boot", "build/card.img", "--check", "--json"]).stdout;
    let verified: serde_json::Value = serde_json::from_str(&verified).unwrap();
    assert_eq!((&verified["firmware"], &verified["login"]), (&"raspberry-pi".into(), &"inittab".into()), "{verified}");
    let console = fs::read(bench.path("build/card.console.log")).unwrap();
    let console = String::from_utf8_lossy(&console);
    for wanted in ["Raspberry Pi 3 Model B", "summit login:"] {
        assert!(console.contains(wanted), "{wanted}\n{console}");
    }
}

#[test]
fn boot_alpine_that_cannot_be() {
    let bench = Bench::shared();
    let mirror = Mirror::new(&bench);
    let tree = "\n[packages]\ninclude = [\"chrony\"]\n\n[[output]]\nformat = \"dir\"\n";
    let failed = |name: &str, text: &str, code: i32, wanted: &[&str]| {
        let file = format!("{name}.toml");
        bench.write(&file, text);
        let done = bench.run(&["build", "--no-verify", &file]).ended(code);
        let said = format!("{}{}", done.stdout, done.stderr);
        wanted.iter().for_each(|wanted| assert!(said.contains(wanted), "{name}: `{wanted}` is not in\n{said}"));
        assert!(!bench.path(&format!("{name}.lock")).exists(), "{name}");
    };
    let good = recipe(&mirror, tree);
    failed("unknown", &good.replace("chrony", "chrnoy"), 1, &["unknown.toml:", "`chrnoy`", "did you mean `chrony`"]);
    failed("suite", &good.replace("\"chrony\"", "\"chrony/edge\""), 1, &["neither suites", "suite.toml:"]);
    bench.write("other.rsa.pub", &kiln_testkit::ApkKey::new("other.rsa.pub", true).pem());
    failed("key", &good.replace(KEY, "other.rsa.pub"), 3, &[KEY, "other.rsa.pub"]);
    let keyless = good.replace(&format!("key = \"{KEY}\"\n"), "");
    failed("keyless", &keyless, 1, &["kiln does not bring the keys of Alpine 3.22", "alpine-keys"]);
    let layout =
        recipe(&mirror, "board = \"generic-x86_64\"\n\n[disk]\nlayout = \"efi\"\n\n[[output]]\nformat = \"raw\"\n");
    failed("layout", &layout, 1, &["layout.toml:", "Alpine's kernels lie in `/boot`", "efi-boot"]);

    // A package that is not the one its list names.
    let other = Apk::new("chrony", "1.0-r0").arch("x86_64").file("etc/evil", 0o644, "x").build(None);
    mirror.server.put("/v3.22/main/x86_64/chrony-1.0-r0.apk", other);
    let fresh = Bench::new();
    fresh.write(KEY, &mirror.key.pem());
    fresh.write("swapped.toml", &good);
    let done = fresh.run(&["build", "--no-verify", "swapped.toml"]).ended(3);
    assert!(done.stderr.contains("lock `chrony-1.0-r0`"), "{}", done.stderr);
}

/// What a script of a package does wrong is the build's failure, with its words.
#[test]
fn boot_alpine_with_a_script_that_fails() {
    let bench = Bench::shared();
    let mirror = Mirror::new(&bench);
    let bad = Apk::new("bad", "1-r0").arch("noarch").script("post-install", "#!/bin/sh\necho no way >&2\nexit 7\n");
    publish(&bench.path("alpine/more/x86_64"), &[bad], &mirror.key);
    let more = format!(
        "\n[[base.repository]]\nname = \"more\"\nuri = \"{}\"\nkey = \"{KEY}\"\n\n[packages]\ninclude = [\"bad\"]\n\n\
         [[output]]\nformat = \"dir\"\n",
        mirror.server.url("/more")
    );
    bench.write("bad.toml", &recipe(&mirror, &more));
    let done = bench.run(&["build", "--no-verify", "bad.toml"]).ended(1);
    assert!(done.stderr.contains("`bad-1-r0.post-install` in stage `packages` failed"), "{}", done.stderr);
    assert!(done.stderr.contains("no way"), "{}", done.stderr);
    assert!(!bench.path("out/bad").exists());
}
