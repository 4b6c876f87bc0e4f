//! A build upon an Alpine tree, against small repositories of our own.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use common::alpine::{House, KEY, shell};
use common::{json, tool};
use kiln_model::Arch;
use kiln_testkit::{Apk, Listener, Redis};

fn publish(house: &House, packages: &[Apk]) {
    house.publish(Arch::host().alpine(), &[&usual()[..], packages].concat());
}

fn recipe(house: &House, name: &str, base: &str, include: &str) {
    let rest = format!(
        "{base}\n\n[packages]\ninclude = [{include}]\n\n[[output]]\nformat = \"dir\"\n\n[[output]]\nformat = \"tar\"\n"
    );
    house.bench.write(&format!("{name}.toml"), &(house.base(name, &Arch::host().to_string()) + &rest));
}

/// Builds the first generation, and puts it where a recipe can build upon it.
fn tree(house: &House) {
    publish(house, &[daemon_of_old(), watcher(), library(), package("orphan").file("usr/bin/orphan", 0o755, "alone")]);
    recipe(house, "old", "", "\"daemon\", \"watcher\", \"orphan\"");
    house.bench.ok(&["build", "old.toml"]);
    fs::rename(house.bench.path("out/old"), house.bench.path("tree")).unwrap();
}

/// Returns the packages that were asked for since `from`.
fn fetched(house: &House, from: usize) -> Vec<String> {
    let seen = house.server.seen().into_iter().skip(from).map(|seen| seen.target);
    let mut names: Vec<String> =
        seen.filter_map(|target| Some(target.rsplit('/').next()?.strip_suffix(".apk")?.to_owned())).collect();
    names.sort();
    names
}

fn package(name: &str) -> Apk {
    Apk::new(name, "1.0-r0").arch(Arch::host().alpine())
}

/// What every image has: folders, the release's name, a shell.
fn usual() -> Vec<Apk> {
    let folders = ["dev", "etc", "proc", "run", "srv", "sys", "tmp", "var/lib"];
    let base = folders.into_iter().fold(package("alpine-base"), |apk, folder| apk.dir(folder, 0o755));
    let release = package("alpine-release").file("etc/alpine-release", 0o644, "3.23.0\n").file(
        "etc/os-release",
        0o644,
        "ID=alpine\nVERSION_ID=3.23.0\n",
    );
    vec![
        base.depends("shell").depends("alpine-release"),
        release,
        package("alpine-keys"),
        package("tzdata"),
        shell(package("shell"), &["/bin/sh"]),
    ]
}

/// A script that notes how it was called.
fn notes(kind: &str) -> String {
    format!("#!/bin/sh\nold=no\n[ -e /usr/share/daemon/old ] && old=yes\necho \"{kind} $* $old\" >>/var/lib/told\n")
}

fn with_notes(apk: Apk, kinds: &[&str]) -> Apk {
    kinds.iter().fold(apk, |apk, kind| apk.script(kind, &notes(kind)))
}

fn daemon(version: &str) -> Apk {
    let apk = Apk::new("daemon", version).arch(Arch::host().alpine());
    with_notes(apk, &["pre-install", "post-install", "pre-upgrade", "post-upgrade"])
}

fn daemon_of_old() -> Apk {
    daemon("1.0-r0")
        .depends("library")
        .dir("var/lib/daemon", 0o750)
        .dir("srv/daemon", 0o750)
        .dir("usr/share/daemon", 0o755)
        .dir("usr/share/daemon/mine", 0o755)
        .file("etc/daemon.conf", 0o644, "of old\n")
        .file("etc/untouched.conf", 0o644, "of old\n")
        .file("etc/left.conf", 0o644, "of old\n")
        .file("etc/gone.conf", 0o644, "of old\n")
        .file("bin/helper", 0o755, "the old helper")
        .file("usr/bin/daemon", 0o755, "one")
        .file("usr/share/daemon/old", 0o644, "old")
        .file("usr/share/daemon/mine/old", 0o644, "old")
        .symlink("usr/bin/daemon-1", "daemon")
}

fn daemon_of_new(version: &str) -> Apk {
    daemon(version)
        .dir("var/lib/daemon", 0o755)
        .dir("srv/daemon", 0o755)
        .file("etc/daemon.conf", 0o644, "new\n")
        .file("etc/untouched.conf", 0o640, "new\n")
        .file("usr/bin/helper", 0o755, "the new helper")
        .file("usr/bin/daemon", 0o755, "two")
        .symlink("usr/bin/daemon-2", "daemon")
}

fn watcher() -> Apk {
    let script = "#!/bin/sh\nfor folder; do echo \"trigger $folder\" >>/var/lib/told; done\n";
    package("watcher").field("triggers", "/usr/bin /usr/share/* /srv/*").script("trigger", script)
}

fn library() -> Apk {
    let apk = with_notes(package("library"), &["pre-deinstall", "post-deinstall"]);
    apk.file("usr/lib/library.so", 0o755, "code").file("etc/library.conf", 0o644, "plain\n")
}

fn fresh() -> Apk {
    let apk = with_notes(package("fresh"), &["pre-install", "post-install", "pre-upgrade"]);
    apk.file("etc/fresh.conf", 0o644, "packaged\n").file("etc/same.conf", 0o644, "the same\n")
}

/// Returns what a tree's files are, with all that they have.
fn digest(tree: &Path) -> String {
    let script = format!("tar -C '{}' --sort=name --numeric-owner -cf - . | sha256sum", tree.display());
    tool("sh", &["-c", &script])
}

/// Holds what apk's database says against the tree, with a reader of its own; returns the names of packages and the files that are not as
/// they came.
const AUDIT: &str = r#"
import base64, hashlib, os, sys
root, names, odd = sys.argv[1], [], []
for block in open(root + "/lib/apk/db/installed").read().split("\n\n"):
    folder = name = None
    for line in block.splitlines():
        field, value = line.split(":", 1)
        if field == "P":
            names.append(value)
        if field == "V":
            names[-1] += "-" + value
        if field == "F":
            folder = value
            if not os.path.isdir(os.path.join(root, folder)):
                odd.append(folder)
        if field == "R":
            name = os.path.join(folder, value)
        if field == "Z":
            path = os.path.join(root, name)
            content = os.readlink(path).encode() if os.path.islink(path) else open(path, "rb").read()
            if "Q1" + base64.b64encode(hashlib.sha1(content).digest()).decode() != value:
                odd.append(name)
print(" ".join(names))
print(" ".join(odd))
"#;

#[test]
fn what_is_installed_is_upgraded_as_apk_would_and_the_rest_is_added() {
    let house = House::new();
    tree(&house);
    let (bench, tree) = (&house.bench, house.bench.path("tree"));
    let own = |name: &str, text: &str| fs::write(tree.join(name), text).unwrap();
    own("etc/daemon.conf", "mine\n");
    own("etc/gone.conf", "mine, too\n");
    own("etc/fresh.conf", "by hand\n");
    own("etc/same.conf", "the same\n");
    own("etc/left.conf.apk-new", "of another upgrade\n");
    own("usr/share/daemon/mine/own", "my own\n");
    fs::set_permissions(tree.join("var/lib/daemon"), fs::Permissions::from_mode(0o700)).unwrap();
    let (before, before_told) = (digest(&tree), fs::read_to_string(tree.join("var/lib/told")).unwrap());
    assert!(before_told.contains("pre-install 1.0-r0 no\n") && before_told.contains("trigger /usr/share/daemon\n"));

    publish(&house, &[daemon_of_new("2.0-r0"), watcher(), fresh()]);
    recipe(&house, "next", "tree = \"tree\"", "\"fresh\"");
    let asked = house.server.seen().len();
    bench.ok(&["build", "next.toml", "--cache", "other"]);
    assert_eq!(fetched(&house, asked), ["daemon-2.0-r0", "fresh-1.0-r0"]);
    assert_eq!(digest(&tree), before, "the tree itself stays as it is");

    let next = bench.path("out/next");
    let told = fs::read_to_string(next.join("var/lib/told")).unwrap();
    assert_eq!(
        told.strip_prefix(&before_told).unwrap().lines().collect::<Vec<_>>(),
        [
            "pre-upgrade 2.0-r0 1.0-r0 yes",
            "post-upgrade 2.0-r0 1.0-r0 no",
            "pre-deinstall 1.0-r0 no",
            "post-deinstall 1.0-r0 no",
            "pre-install 1.0-r0 no",
            "post-install 1.0-r0 no",
            "trigger /srv/daemon",
            "trigger /usr/bin",
            "trigger /usr/share/daemon",
        ]
    );
    for (name, wanted) in [
        ("usr/bin/daemon", Some("two")),
        ("usr/bin/helper", Some("the new helper")),
        ("usr/bin/orphan", Some("alone")),
        ("usr/bin/daemon-1", None),
        ("usr/share/daemon/old", None),
        ("usr/share/daemon/mine/old", None),
        ("usr/share/daemon/mine/own", Some("my own\n")),
        ("usr/lib/library.so", None),
        ("etc/daemon.conf", Some("mine\n")),
        ("etc/daemon.conf.apk-new", Some("new\n")),
        ("etc/untouched.conf", Some("new\n")),
        ("etc/untouched.conf.apk-new", None),
        ("etc/gone.conf", Some("mine, too\n")),
        ("etc/left.conf", None),
        ("etc/left.conf.apk-new", None),
        ("etc/library.conf", None),
        ("etc/fresh.conf", Some("by hand\n")),
        ("etc/fresh.conf.apk-new", Some("packaged\n")),
        ("etc/same.conf.apk-new", None),
    ] {
        assert_eq!(fs::read_to_string(next.join(name)).ok().as_deref(), wanted, "{name}");
    }
    let mode = |name: &str| fs::metadata(next.join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("var/lib/daemon"), mode("srv/daemon"), mode("etc/untouched.conf")), (0o700, 0o755, 0o640));
    assert!(!next.join("lib/apk/exec").exists());

    let audited = tool("python3", &["-c", AUDIT, &next.display().to_string()]);
    let wanted = "alpine-base-1.0-r0 alpine-keys-1.0-r0 alpine-release-1.0-r0 daemon-2.0-r0 fresh-1.0-r0 orphan-1.0-r0 \
                  shell-1.0-r0 watcher-1.0-r0\netc/daemon.conf etc/fresh.conf\n";
    assert_eq!(audited, wanted);
    let database = |tree: &Path, file: &str| fs::read_to_string(tree.join("lib/apk/db").join(file)).unwrap();
    let block = |tree: &Path, name: &str| {
        let installed = database(tree, "installed");
        installed.split("\n\n").find(|block| block.contains(&format!("\nP:{name}\n"))).unwrap().to_owned()
    };
    for name in ["alpine-base", "orphan", "shell", "watcher"] {
        assert_eq!(block(&next, name), block(&tree, name), "what stays is listed as it was");
    }
    let daemon = block(&next, "daemon");
    for line in ["F:var/lib/daemon", "F:srv/daemon", "R:helper", "R:untouched.conf\na:0:0:640", "R:daemon-2"] {
        assert!(daemon.contains(&format!("\n{line}\n")), "{line}: {daemon}");
    }
    assert!(!daemon.contains("R:old") && !daemon.contains("\nD:"), "{daemon}");
    assert_eq!(database(&next, "triggers"), database(&tree, "triggers"));
    let scripts = tool("tar", &["-tf", &next.join("lib/apk/db/scripts.tar").display().to_string()]);
    let scripts: Vec<(&str, &str)> =
        scripts.lines().map(|line| (line.split(".Q1").next().unwrap(), line.rsplit('.').next().unwrap())).collect();
    let of = |name: &'static str, kinds: &[&'static str]| kinds.iter().map(|kind| (name, *kind)).collect::<Vec<_>>();
    let wanted = [
        of("daemon-2.0-r0", &["post-install", "post-upgrade", "pre-install", "pre-upgrade"]),
        of("fresh-1.0-r0", &["post-install", "pre-install", "pre-upgrade"]),
        of("watcher-1.0-r0", &["trigger"]),
    ];
    assert_eq!(scripts, wanted.concat());
    let world = fs::read_to_string(next.join("etc/apk/world")).unwrap();
    assert_eq!(world, "alpine-base\nalpine-keys\ndaemon\nfresh\norphan\nwatcher\n");

    let lock = fs::read_to_string(bench.path("next.lock")).unwrap();
    let line = |name: &str| lock.lines().find(|line| line.contains(&format!("{{ name = \"{name}\", version"))).unwrap();
    for name in ["alpine-base", "orphan", "shell", "watcher"] {
        assert!(line(name).contains("in_tree = true") && line(name).contains("repository = \"tree\""), "{lock}");
    }
    assert!(line("orphan").contains("manual = true") && line("orphan").contains("why = \"installed\""), "{lock}");
    assert!(!line("daemon").contains("in_tree") && line("daemon").contains("2.0-r0"), "{lock}");
    assert!(!line("fresh").contains("in_tree") && !lock.contains("library"), "{lock}");
    let sbom = json(&bench.path("out/next.cdx.json")).to_string();
    assert!(sbom.contains("pkg:apk/alpine/orphan@1.0-r0") && sbom.contains("pkg:apk/alpine/daemon@2.0-r0"), "{sbom}");

    // Once more, all from the cache; and once more, all anew.
    let ran = |out: &str, words: &[&str]| {
        bench.ok(&[&["build", "next.toml", "--cache", "other", "--out", out], words].concat());
        let report = json(&bench.path(&format!("{out}/next.report.json")));
        let stages = report["stages"].as_array().unwrap().iter().filter(|stage| stage["cached"] == false);
        stages.map(|stage| stage["stage"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(!ran("again", &[]).iter().any(|stage| ["bootstrap", "indexes", "packages", "cleanup"].contains(&&**stage)));
    assert!(ran("anew", &["--force"]).contains(&"packages".into()));
    let tar = |out: &str| fs::read(bench.path(&format!("{out}/next.tar"))).unwrap();
    assert!(tar("out") == tar("anew"), "two builds give the same bytes");
}

/// As without a tree: a version stays until an update is asked for, but the tree's own is never gone behind.
#[test]
fn a_lock_keeps_what_it_has_and_leads_forward() {
    let house = House::new();
    tree(&house);
    let bench = &house.bench;
    let locked = |words: &[&str]| {
        bench.ok(&[&["lock", "next.toml"], words].concat());
        let lock = fs::read_to_string(bench.path("next.lock")).unwrap();
        let line = lock.lines().find(|line| line.contains("{ name = \"daemon\", version")).unwrap().to_owned();
        (line.split('"').nth(3).unwrap().to_owned(), line.contains("in_tree = true"))
    };
    let (new, newer) = (daemon_of_new("2.0-r0"), daemon_of_new("2.1-r0"));
    recipe(&house, "next", "tree = \"tree\"", "");
    publish(&house, &[new.clone()]);
    assert_eq!(locked(&[]), ("2.0-r0".into(), false));
    publish(&house, &[new, newer]);
    assert_eq!(locked(&[]), ("2.0-r0".into(), false));
    // Another tree is another question; versions that still exist stay.
    bench.write("tree/srv/own", "my own\n");
    assert_eq!(locked(&[]), ("2.0-r0".into(), false));
    assert_eq!(locked(&["--update"]), ("2.1-r0".into(), false));
    // What the tree has is not gone behind, whatever the lock and the repositories say.
    publish(&house, &[Apk::new("daemon", "0.9-r0").arch(Arch::host().alpine())]);
    assert_eq!(locked(&["--update"]), ("1.0-r0".into(), true));
    // But the recipe's word wins over the world's.
    recipe(&house, "next", "tree = \"tree\"", "\"daemon=0.9-r0\"");
    assert_eq!(locked(&[]), ("0.9-r0".into(), false));
    // What nothing needs goes, and what is excluded does.
    bench.write(
        "next.toml",
        &fs::read_to_string(bench.path("next.toml"))
            .unwrap()
            .replace("include = [\"daemon=0.9-r0\"]", "exclude = [\"daemon\"]"),
    );
    bench.ok(&["build", "next.toml"]);
    let lock = fs::read_to_string(bench.path("next.lock")).unwrap();
    assert!(!lock.contains("\"daemon\"") && !lock.contains("\"library\""), "{lock}");
    let next = bench.path("out/next");
    let told = fs::read_to_string(next.join("var/lib/told")).unwrap();
    assert!(told.contains("pre-deinstall 1.0-r0") && told.contains("post-deinstall 1.0-r0"), "{told}");
    assert!(!next.join("usr/bin/daemon").exists() && !next.join("etc/daemon.conf").exists());
    let world = fs::read_to_string(next.join("etc/apk/world")).unwrap();
    assert_eq!(world, "alpine-base\nalpine-keys\n!daemon\norphan\nwatcher\n");
}

#[test]
fn a_tree_that_cannot_be_built_upon_is_told_before_anything_is_downloaded() {
    let house = House::new();
    tree(&house);
    let (bench, tree) = (&house.bench, house.bench.path("tree"));
    recipe(&house, "next", "tree = \"tree\"", "");
    let asked = house.server.seen().len();
    let with = |file: &str, change: &dyn Fn(String) -> String, wanted: &[&str]| {
        let good = fs::read_to_string(tree.join(file)).unwrap();
        fs::write(tree.join(file), change(good.clone())).unwrap();
        for words in [&["build", "next.toml"][..], &["check", "next.toml"]] {
            let said = bench.run(words).ended(1).stderr;
            wanted.iter().for_each(|wanted| assert!(said.contains(wanted), "`{wanted}` is not in\n{said}"));
        }
        fs::write(tree.join(file), good).unwrap();
    };
    let line = |text: &'static str| move |good: String| good.replacen("F:", &format!("{text}\nF:"), 1);
    with(
        "lib/apk/db/installed",
        &line("X:1"),
        &["`lib/apk/db/installed` is damaged: line ", "the field `X`", "unpack the tree anew"],
    );
    with("lib/apk/db/installed", &line("f:f"), &["is not installed as it should be", "`apk fix`"]);
    with("lib/apk/db/scripts.tar", &|good| good.replacen("#!/bin", "", 1), &["`lib/apk/db/scripts.tar` is damaged"]);
    with("lib/apk/db/triggers", &|good| format!("Q1\n{good}"), &["`lib/apk/db/triggers` is damaged: line 1: `Q1`"]);
    with("etc/apk/world", &|good| good + "a=\n", &["`etc/apk/world` is damaged: line ", "`a=` is not a relation"]);
    with("etc/apk/arch", &|_| "s390x\n".into(), &["it is of architecture `s390x`"]);
    with(
        "etc/alpine-release",
        &|_| "3.21.3\n".into(),
        &["it is of release `3.21`, not `3.23`", "kiln upgrades within a release"],
    );
    fs::remove_file(tree.join("lib/apk/db/installed")).unwrap();
    let said = bench.run(&["build", "next.toml"]).ended(1).stderr;
    assert!(
        said.contains("cannot read the tree `tree`") && said.contains("it has no `lib/apk/db/installed`"),
        "{said}"
    );
    assert_eq!(house.server.seen().len(), asked, "nobody asked the mirror for anything");
}

/// Pieman's name of it, and what its status channel says where it cannot be.
#[test]
fn a_base_dir_of_another_release_says_1001() {
    let house = House::new();
    tree(&house);
    let (bench, redis) = (&house.bench, Redis::start());
    bench.write(&format!("keys/alpine/{KEY}"), &house.key.pem());
    let (os, url, port) = (format!("alpine-3.22-{}", Arch::host()), house.server.url(""), redis.port.to_string());
    let device = if Arch::host() == Arch::Arm64 { "generic-arm64" } else { "generic-x86_64" };
    let asked = house.server.seen().len();
    let heard = Listener::cli(&redis, "bscd-demo");
    redis.heard_by("bscd-demo", 1);
    let mut command = bench.kiln(&["pieman", "--plain"]);
    for (name, value) in [
        ("OS", &*os),
        ("DEVICE", device),
        ("PROJECT_NAME", "demo"),
        ("BASE_DIR", "tree"),
        ("USER_PASSWORD", "abc"),
        ("ENABLE_SUDO", "false"),
        ("ENABLE_BSC_CHANNEL", "true"),
        ("REDIS_PORT", &port),
        ("KILN_MIRROR_ALPINE", url.trim_end_matches('/')),
    ] {
        command.env(name, value);
    }
    let said = common::Done::of(command.output().unwrap()).ended(1).stderr;
    assert!(said.contains("it is of release `3.23`, not `3.22`"), "{said}");
    assert!(heard.until("1001").iter().all(|line| line != "10"), "no step was done");
    assert_eq!(house.server.seen().len(), asked);
}
