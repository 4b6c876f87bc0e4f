//! What `kiln pieman` builds starts.

mod common;

use std::fs;
use std::process::Command;

use common::alpine::{KEY, Mirror, publish};
use common::{Bench, Done, json, tool};
use kiln_testkit::{Apk, Listener, Redis, Server, debian_mirrors, detour};

/// Runs `kiln pieman` with these parameters; it must end well.
fn pieman(bench: &Bench, parameters: &[(&str, &str)]) -> Done {
    pieman_with(bench, &[], parameters)
}

fn pieman_with(bench: &Bench, words: &[&str], parameters: &[(&str, &str)]) -> Done {
    Done::of(command(bench, words, parameters).output().expect("kiln starts")).well()
}

fn command(bench: &Bench, words: &[&str], parameters: &[(&str, &str)]) -> Command {
    let mut command = bench.kiln(&[&["pieman", "--plain"], words].concat());
    for (name, value) in [("PROJECT_NAME", "demo"), ("PASSWORD", "abc"), ("USER_PASSWORD", "abc"), ("LC_ALL", "C")] {
        command.env(name, value);
    }
    command.envs(parameters.iter().copied());
    command
}

/// What begins like a hash and would be two fields of a line is a password all the same.
const PASSWORD: &str = "$6$ecret: 1'\"\\";

/// From a tree of an earlier day, made by the same program: what is in it stays, older versions are renewed by dpkg.
#[test]
fn boot_what_parameters_say() {
    let bench = Bench::shared();
    let of_old = ["--set", "base.security=false", "--set", "base.updates=false"];
    let mut redis = Redis::start();
    let port = redis.port.to_string();
    let chroot = [
        ("OS", "debian-trixie-amd64"),
        ("INCLUDES", "tree"),
        ("CREATE_ONLY_CHROOT", "true"),
        ("PROJECT_NAME", "old"),
        ("ENABLE_BSC_CHANNEL", "true"),
        ("REDIS_PORT", &port),
    ];
    let heard = Listener::python(&redis, "bscd-old");
    redis.heard_by("bscd-old", 1);
    let done = pieman_with(&bench, &of_old, &chroot);
    for line in ["Info: Redis is available", "Info: bscd -- channel name is bscd-old"] {
        assert!(done.stderr.contains(line), "{}", done.stderr);
    }
    assert_eq!(heard.until("b'1000'").join(" "), "b'10' b'20' b'21' b'30' b'31' b'32' b'1000'");
    let old = bench.path("build/old/chroot");
    // Whatever the archives have today, its apt is an older one.
    let status = fs::read_to_string(old.join("var/lib/dpkg/status")).unwrap();
    let (others, apt) = status.split_once("Package: apt\n").unwrap();
    let (fields, rest) = apt.split_once("\nVersion: ").unwrap();
    let (_, rest) = rest.split_once('\n').unwrap();
    let older = format!("{others}Package: apt\n{fields}\nVersion: 3.0.0\n{rest}");
    fs::write(old.join("var/lib/dpkg/status"), older).unwrap();
    fs::write(old.join("etc/by-hand"), "mine\n").unwrap();
    fs::write(old.join("etc/issue"), "my own\n").unwrap();
    fs::create_dir(old.join("srv/private")).unwrap();
    std::os::unix::fs::chown(old.join("srv/private"), Some(1234), Some(5678)).unwrap();
    let image = [
        ("OS", "debian-trixie-amd64"),
        ("DEVICE", "generic-x86_64"),
        ("INCLUDES", "htop"),
        ("HOST_NAME", "workbench"),
        ("BASE_DIR", "build/old/chroot"),
        ("USER_PASSWORD", PASSWORD),
        ("ENABLE_BSC_CHANNEL", "true"),
        ("REDIS_PORT", &port),
    ];
    let heard = Listener::python(&redis, "bscd-demo");
    redis.heard_by("bscd-demo", 1);
    let mut building = command(&bench, &[], &image);
    let building = std::thread::spawn(move || Done::of(building.output().expect("kiln starts")));
    // Redis is away for a while in the middle: the build goes on, and nothing is lost.
    let mut codes = heard.until("b'30'");
    redis.down();
    std::thread::sleep(std::time::Duration::from_secs(3));
    redis.up();
    codes.extend(heard.until("b'1000'"));
    let all = [10, 20, 21, 30, 31, 32, 33, 40, 50, 60, 70, 80, 81, 82, 1000].map(|code: u16| format!("b'{code}'"));
    assert_eq!(codes, all);
    let done = building.join().unwrap().well();
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
    // The password is what it is, whatever it begins with.
    let shadow = inside("cat /etc/shadow");
    let field = shadow.lines().find_map(|line| line.strip_prefix("cusdeb:")).unwrap().split(':').next().unwrap();
    let salt = field.strip_prefix("$6$").and_then(|rest| rest.rsplit_once('$')).unwrap().0;
    assert_eq!(tool("openssl", &["passwd", "-6", "-salt", salt, PASSWORD]).trim(), field);
    let verified: serde_json::Value =
        serde_json::from_str(&bench.ok(&["boot", "build/demo.img", "--check", "--json"]).stdout).unwrap();
    assert_eq!(verified["state"], "running", "{verified}");
    let packages = json(&bench.path("build/demo.cdx.json")).to_string();
    assert!(packages.contains("/htop@") && packages.contains("/inetutils-ping@"), "{packages}");
}

/// A board that kiln does not know, as its pair says it: downloads, a program for the ROM, a hook with a file beside it.
#[test]
fn a_board_of_ones_own_has_what_its_pair_says() {
    let bench = Bench::shared();
    let mirror = detour().unwrap_or_else(|| debian_mirrors().0);
    fs::create_dir(bench.path("served")).unwrap();
    let server = Server::start(&bench.path("served"));
    server.put("/boot/start.elf", *b"firmware");
    let pair = "devices/my-board/debian-trixie-amd64";
    let definition = format!(
        "debian-trixie-amd64:\n  repos: ['{mirror}']\n  includes: [patch]\n  boot: ['{}', '/boot/vmlinuz-*:zImage', uEnv.txt]\n  \
         spl_bin: rom/spl.bin\n  kernel: {{package: linux-image-cloud-amd64}}\n",
        server.url("/boot/start.elf?raw=true")
    );
    bench.write(&format!("{pair}/pieman.yml"), &definition);
    bench.write(&format!("{pair}/uEnv.txt"), "console=ttyS0\n");
    bench.write(&format!("{pair}/motd.patch"), "--- /dev/null\n+++ etc/motd.tail\n@@ -0,0 +1 @@\n+patched\n");
    bench.write("rom/spl.bin", &"first program ".repeat(1000));
    let hook = "set -e\ncheck_if_variable_is_set R SOURCE_DIR\ninstall_packages patch\n\
                cp \"${SOURCE_DIR}\"/motd.patch \"${R}\"\n\
                chroot_exec_sh \"patch -p0 < motd.patch\"\nrm \"${R}\"/motd.patch\npurge_packages patch\n\
                if touch \"${SOURCE_DIR}/mine\" 2> /dev/null; then exit 1; fi\ninfo \"for ${PIECES[1]}\"\n";
    bench.write(&format!("{pair}/pre-kernel-installation/10-patch.sh"), hook);
    // Before there is an image, and while its packages wait to be configured.
    let early = "mkdir -p \"${ETC}\"\necho \"${OS} ${PIECES[1]}\" | awk '{ print $2 }' > \"${R}/etc/early\"\n\
                 install -D -m 755 /dev/stdin \"${R}/usr/sbin/policy-rc.d\" <<< $'#!/bin/sh\\nexit 101'\n\
                 find \"${R}\" -type f | sort | sed \"s,${R},early: ,\"\nif chroot_exec true; then exit 1; fi\n";
    // What it says is heard when it runs, so it must not be what the cache has.
    bench.write(&format!("{pair}/pre-create-chroot/00-first.sh"), &format!("# {}\n{early}", server.url("")));
    let unpacked = "info \"apt is $(dpkg-query -W -f '${Status}' apt)\"\ncat \"${ETC}\"/early > \"${R}/late\"\n";
    bench.write(&format!("{pair}/pre-second-stage/00-second.sh"), unpacked);
    let parameters = [("OS", "debian-trixie-amd64"), ("DEVICE", "my-board"), ("ENABLE_SUDO", "false")];
    let done = pieman(&bench, &parameters);
    let told = [
        "early: /etc/early",
        "early: /usr/sbin/policy-rc.d",
        "Fatal: there is no image yet: move this hook to post-second-stage",
        "Info: apt is install ok unpacked",
        "Info: for trixie",
    ];
    for line in told {
        assert!(done.stderr.contains(line), "{line}: {}", done.stderr);
    }

    let image = bench.path("build/demo.img").display().to_string();
    let table: serde_json::Value = serde_json::from_str(&tool("sfdisk", &["--json", &image])).unwrap();
    let start = |part: usize| table["partitiontable"]["partitions"][part]["start"].as_u64().unwrap() * 512;
    let bytes = fs::read(&image).unwrap();
    assert!(bytes[8192..].starts_with("first program ".repeat(1000).as_bytes()));
    let fat = format!("{image}@@{}", start(0));
    assert_eq!(tool("mtype", &["-i", &fat, "::start.elf"]), "firmware");
    assert_eq!(tool("mtype", &["-i", &fat, "::uEnv.txt"]), "console=ttyS0\n");
    assert!(tool("mdir", &["-b", "-i", &fat]).contains("::/zImage"));
    let inside = |command: &str| tool("debugfs", &["-R", command, &format!("{image}?offset={}", start(1))]);
    assert!(inside("cat /etc/motd.tail").starts_with("patched\n"));
    assert!(inside("cat /late").starts_with("trixie\n") && inside("cat /usr/sbin/policy-rc.d").contains("exit 101"));
    let status = inside("cat /var/lib/dpkg/status");
    assert!(!status.contains("Package: patch\n") && status.contains("Package: linux-image-cloud-amd64\n"));
    // What is in the cache needs no server; `--locked` keeps to it.
    server.put("/boot/start.elf", *b"newer firmware");
    fs::remove_file(&image).unwrap();
    Done::of(command(&bench, &["--locked"], &parameters).output().unwrap()).well();
    assert!(fs::read(&image).unwrap() == bytes, "the same image");
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

    // The image is built upon it, and upon what somebody did there.
    fs::rename(&tree, bench.path("old")).unwrap();
    fs::write(bench.path("old/etc/chrony/chrony.conf"), "pool mine\n").unwrap();
    fs::write(bench.path("old/etc/by-hand"), "mine\n").unwrap();
    let newer = Apk::new("chrony", "1.1-r0").arch("noarch").depends("busybox");
    let newer = newer.file("etc/chrony/chrony.conf", 0o644, "pool newer\n").file("usr/sbin/chronyd", 0o755, "");
    publish(&bench.path("alpine/v3.22/community/x86_64"), &[newer], &mirror.key);
    let parameters = [&parameters[..], &[("BASE_DIR", "old")]].concat();
    fs::remove_dir_all(bench.path("build")).unwrap();
    fs::create_dir(bench.path("result")).unwrap();
    let done = pieman_with(&bench, &["--move-to", "result"], &parameters);
    assert!(done.stderr.contains("demo.img was built"), "{}", done.stderr);
    assert!(bench.path("result/demo.img").is_file() && !bench.path("build/demo.img").exists());
    let lock = fs::read_to_string(bench.path("build/demo.lock")).unwrap();
    let line = |name: &str| lock.lines().find(|line| line.contains(&format!("{{ name = \"{name}\", version"))).unwrap();
    assert!(line("busybox").contains("in_tree = true") && !line("linux-lts").contains("in_tree"), "{lock}");
    assert!(line("chrony").contains("1.1-r0") && !line("chrony").contains("in_tree"), "{lock}");
    let inside = |command: &str| {
        let image = bench.path("result/demo.img").display().to_string();
        let table: serde_json::Value = serde_json::from_str(&tool("sfdisk", &["--json", &image])).unwrap();
        let start = table["partitiontable"]["partitions"][1]["start"].as_u64().unwrap() * 512;
        tool("debugfs", &["-R", command, &format!("{image}?offset={start}")])
    };
    for (file, text) in
        [("by-hand", "mine\n"), ("chrony/chrony.conf", "pool mine\n"), ("chrony/chrony.conf.apk-new", "pool newer\n")]
    {
        assert!(inside(&format!("cat /etc/{file}")).starts_with(text), "{file}");
    }
    for folder in ["build", "result"] {
        tool("sh", &["-c", &format!("cd {} && sha256sum --check --strict SHA256SUMS", bench.path(folder).display())]);
    }
    assert!(fs::read_to_string(bench.path("result/SHA256SUMS")).unwrap().ends_with("  demo.img\n"));

    // What cannot be delivered did not end well, and nobody hears that it did.
    let redis = Redis::start();
    let port = redis.port.to_string();
    let heard = Listener::python(&redis, "bscd-demo");
    redis.heard_by("bscd-demo", 1);
    fs::create_dir(bench.path("gone")).unwrap();
    let told = [("ENABLE_BSC_CHANNEL", "true"), ("REDIS_PORT", &*port)];
    let mut building = command(&bench, &["--move-to", "gone"], &[&parameters[..], &told].concat());
    let building = std::thread::spawn(move || Done::of(building.output().expect("kiln starts")));
    heard.until("b'10'");
    fs::remove_dir(bench.path("gone")).unwrap();
    assert_eq!(heard.until("b'1001'").len(), 14, "every code before, and no 1000");
    assert!(building.join().unwrap().ended(1).stderr.contains("move `build/demo.img` to `gone`"));
}

/// The tools tree is filled for a board that needs no tools but an emulator, and nothing is built; Redis hears of no build.
#[test]
fn boot_nothing_but_the_toolset() {
    let bench = Bench::shared();
    let redis = Redis::start();
    let port = redis.port.to_string();
    let heard = Listener::cli(&redis, "bscd-demo");
    redis.heard_by("bscd-demo", 1);
    let done = pieman(
        &bench,
        &[
            ("OS", "debian-trixie-arm64"),
            ("DEVICE", "rpi-3-b"),
            ("PREPARE_ONLY_TOOLSET", "true"),
            ("ENABLE_BSC_CHANNEL", "true"),
            ("REDIS_PORT", &port),
        ],
    );
    assert!(done.stderr.contains("Success: exiting since PREPARE_ONLY_TOOLSET is set to true"), "{}", done.stderr);
    assert!(!bench.path("build").exists());
    assert_eq!(heard.more(std::time::Duration::from_millis(500)).len(), 3, "the word that it listens, and no more");
}
