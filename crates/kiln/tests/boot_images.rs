//! The boot ring: real builds from the real mirror, as root and as an ordinary user, and a real guest.
//!
//! All tests share one cache under `target/`, so that packages are fetched and trees are made once. Each is named `boot_…`.

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use common::{Bench, Done, json, tool};
use serde_json::Value;

/// The cheapest recipe that has packages: no kernel, one archive.
const SMALL: &str = "edition = 1\nname = \"small\"\n\n[base]\ndistribution = \"debian\"\nrelease = \"13\"\n\n\
                     [[output]]\nformat = \"tar\"\n";

/// Returns the names of the stages that were restored, and of those that ran.
fn stages(report: &Value) -> (Vec<String>, Vec<String>) {
    let stages = report["stages"].as_array().expect("stages").iter();
    let (cached, ran): (Vec<_>, Vec<_>) = stages.partition(|stage| stage["cached"] == true);
    let names = |stages: Vec<&Value>| stages.iter().map(|stage| stage["stage"].as_str().unwrap().to_owned()).collect();
    (names(cached), names(ran))
}

/// Runs a script in a recipe's finished tree.
fn in_tree(bench: &Bench, recipe: &str, script: &str) -> Done {
    bench.run(&["shell", recipe, "--", "sh", "-euc", script])
}

#[test]
fn boot_the_example_comes_up_and_is_what_others_think_a_disk_is() {
    let bench = Bench::shared();
    bench.example("debian-minimal.toml");
    let done = bench.ok(&["build", "debian-minimal.toml"]);
    assert_eq!(done.stdout, "out/debian-minimal.raw\n");
    assert!(done.stderr.contains("boot it: "), "{}", done.stderr);

    let (out, image) = (bench.path("out"), bench.path("out/debian-minimal.raw"));
    let report = json(&out.join("debian-minimal.report.json"));
    assert_eq!(report["outcome"]["is"], "done");
    assert_eq!(report["verified"]["state"], "running", "{}", report["verified"]);
    assert_eq!(report["verified"]["held"].as_array().unwrap().len(), 3, "{}", report["verified"]);

    let sums = format!("cd {} && sha256sum --check --strict SHA256SUMS", out.display());
    assert!(tool("sh", &["-c", &sums]).contains("debian-minimal.raw: OK"));
    let table: Value = serde_json::from_str(&tool("sfdisk", &["--json", image.to_str().unwrap()])).unwrap();
    assert_eq!(table["partitiontable"]["label"], "gpt");
    let parts = table["partitiontable"]["partitions"].as_array().unwrap();
    let [esp, root, bios] = parts.as_slice() else { panic!("three partitions: {parts:?}") };
    // The discoverable types: EFI system partition, root for x86-64.
    assert_eq!(esp["type"], "C12A7328-F81F-11D2-BA4B-00A0C93EC93B");
    assert_eq!(root["type"], "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709");
    // And what GRUB's manual calls a BIOS boot partition.
    assert_eq!(bios["type"], "21686148-6449-6E6F-744E-656564454649");
    for (part, check) in [(esp, "fsck.fat -n"), (root, "e2fsck -fn")] {
        let file = bench.path("part");
        let (start, size) = (part["start"].as_u64().unwrap(), part["size"].as_u64().unwrap());
        let copy = ["skip", "count", "if", "of"].into_iter().zip([
            start.to_string(),
            size.to_string(),
            image.display().to_string(),
            file.display().to_string(),
        ]);
        let words: Vec<String> = copy.map(|(key, value)| format!("{key}={value}")).collect();
        let words: Vec<&str> =
            words.iter().map(String::as_str).chain(["bs=512", "conv=sparse", "status=none"]).collect();
        tool("dd", &words);
        tool("sh", &["-c", &format!("{check} {}", file.display())]);
    }
    let bmap = bench.path("copy.raw");
    tool("bmaptool", &["copy", image.to_str().unwrap(), bmap.to_str().unwrap()]);
    tool("cmp", &[image.to_str().unwrap(), bmap.to_str().unwrap()]);
    let meta = fs::metadata(&image).unwrap();
    assert!(meta.blocks() * 512 < meta.len(), "the image is sparse");
}

#[test]
fn boot_a_changed_hostname_runs_nothing_before_the_network() {
    let bench = Bench::shared();
    bench.example("debian-minimal.toml");
    bench.ok(&["build", "debian-minimal.toml", "--no-verify", "--contents"]);
    let (image, contents) = ("out/debian-minimal.raw", "out/debian-minimal.contents.json.zst");
    assert_eq!(bench.ok(&["diff", contents, image]).stdout, "no differences\n");
    assert!(fs::read_to_string(bench.path("out/SHA256SUMS")).unwrap().contains("debian-minimal.contents.json.zst"));
    let first = bench.path("first.contents.json.zst");
    fs::copy(bench.path(contents), &first).unwrap();
    // The cache is kept between runs: a name that no run before had.
    let name = format!("changed-{}", std::time::UNIX_EPOCH.elapsed().unwrap().as_secs());
    bench.ok(&["build", "debian-minimal.toml", "--no-verify", "--set", &format!("system.hostname={name}")]);
    let (cached, ran) = stages(&json(&bench.path("out/debian-minimal.report.json")));
    assert!(cached.contains(&"bootstrap".into()) && cached.contains(&"kernel".into()), "{cached:?}");
    assert!(ran.contains(&"network".into()), "{ran:?}");
    assert!(!bench.path(contents).exists(), "it was of the first image");
    let differs = bench.run(&["diff", "first.contents.json.zst", image]).ended(1).stdout;
    assert!(differs.contains("/etc/hostname") && !differs.contains("packages:"), "{differs}");
}

#[test]
fn boot_the_tree_is_what_dpkg_and_apt_want() {
    let bench = Bench::shared();
    bench.example("debian-minimal.toml");
    let script = "dpkg --audit; apt-get check; dpkg --verify | grep -v ' c /etc' || true";
    let done = in_tree(&bench, "debian-minimal.toml", script).well();
    let said: Vec<&str> = done.stdout.lines().filter(|line| !line.contains("...")).collect();
    // Documentation and the like are not left out, so nothing is missing and nothing is changed.
    assert_eq!(said, [""; 0], "{}", done.stderr);
}

#[test]
fn boot_every_format_is_read_by_its_own_tools() {
    let bench = Bench::shared();
    let outputs = "\n[[output]]\nformat = \"tar\"\ncompression = \"zst\"\n\n[[output]]\nformat = \"squashfs\"\n\n\
                   [[output]]\nformat = \"erofs\"\n\n[[output]]\nformat = \"dir\"\n";
    bench.write(
        "formats.toml",
        &SMALL.replace("name = \"small\"", "name = \"formats\"").replace("[[output]]\nformat = \"tar\"\n", outputs),
    );
    let done = bench.ok(&["build", "formats.toml"]);
    let made: Vec<&str> = done.stdout.lines().collect();
    assert_eq!(made, ["out/formats.tar.zst", "out/formats.squashfs", "out/formats.erofs", "out/formats"]);
    let path = |name: &str| bench.path(name).display().to_string();
    let listed = tool("tar", &["--zstd", "-tf", &path(made[0])]);
    assert!(listed.lines().any(|line| line.trim_start_matches("./") == "etc/os-release"), "{listed:.500}");
    assert!(tool("unsquashfs", &["-l", &path(made[1])]).contains("/etc/os-release"));
    tool("fsck.erofs", &[&path(made[2])]);
    assert!(bench.path("out/formats/etc/os-release").symlink_metadata().is_ok());
    for other in [made[1], made[2]] {
        let found = bench.run(&["diff", made[0], other, "--json"]).stdout;
        let found: Value = serde_json::from_str(&found).unwrap();
        assert_eq!(found["files"], Value::Array(vec![]), "{other}");
    }
}

#[test]
fn boot_the_same_lock_gives_the_same_bytes() {
    let bench = Bench::shared();
    bench.example("debian-minbase-tar.toml");
    let outcome = bench.ok(&["twice", "debian-minbase-tar.toml", "--json"]).stdout;
    let outcome: Value = serde_json::from_str(&outcome).unwrap();
    assert_eq!((&outcome["same"], &outcome["difference"]), (&true.into(), &Value::Null));
    bench.example("debian-minimal.toml");
    bench.ok(&["twice", "debian-minimal.toml"]);
}

#[test]
fn boot_a_failed_stage_says_why_and_can_be_looked_at() {
    let bench = Bench::shared();
    let script = "\n[[script]]\nafter = \"packages\"\nname = \"breaks\"\ntext = \"\"\"\necho left > /left-behind\n\
                  echo the last words >&2\nexit 7\n\"\"\"\n";
    bench.write("broken.toml", &(SMALL.replace("\"small\"", "\"broken\"") + script));
    let done = bench.run(&["build", "broken.toml", "--keep-failed"]).ended(1);
    for part in ["packages", "breaks", "7", "the last words", "hint: "] {
        assert!(done.stderr.contains(part), "`{part}` is told: {}", done.stderr);
    }
    let kept = bench.ok(&["shell", "--failed", "--", "cat", "/left-behind"]);
    assert_eq!(kept.stdout, "left\n");
    assert!(fs::read_to_string(bench.path("out/broken.log")).unwrap().contains("the last words"));
    assert!(!bench.path("out/broken.tar").exists());
}

#[test]
fn boot_an_ordinary_user_needs_nothing_but_subordinate_ids() {
    let bench = Bench::new();
    bench.open();
    let kiln = bench.path("kiln");
    fs::copy(env!("CARGO_BIN_EXE_kiln"), &kiln).unwrap();
    bench.write("small.toml", SMALL);
    let theirs =
        |words: &[&str]| Done::of(as_ordinary_user(&bench, &kiln, words).output().expect("setpriv starts")).well();
    let fetched = theirs(&["lock", "--fetch", "small.toml"]).stderr;
    assert!(fetched.contains("are in the cache, "), "{fetched}");
    theirs(&["build", "--offline", "small.toml", "--out", "made"]);
    let theirs = fs::read(bench.path("made/small.tar")).unwrap();
    let owner = fs::metadata(bench.path("made/small.tar")).unwrap().uid();
    assert_ne!(owner, 0, "the artifact is the user's");
    // The same lock gives the same bytes, whoever builds.
    let ours = Bench::shared();
    ours.write("small.toml", SMALL);
    fs::copy(bench.path("small.lock"), ours.path("small.lock")).unwrap();
    ours.ok(&["build", "small.toml"]);
    assert!(fs::read(ours.path("out/small.tar")).unwrap() == theirs, "root and the user build the same");
}

/// Returns a command as the user `kilntest`, who is made when missing, with subordinate ids and without capabilities; for a
/// user who is not root already, kiln as it is.
fn as_ordinary_user(bench: &Bench, kiln: &Path, words: &[&str]) -> Command {
    if tool("id", &["-u"]).trim() != "0" {
        return bench.program(kiln, words);
    }
    let exists = Command::new("id").args(["-u", USER]).output().is_ok_and(|output| output.status.success());
    if !exists {
        tool("useradd", &["--no-create-home", USER]);
    }
    if !fs::read_to_string("/etc/subuid").unwrap_or_default().contains(&format!("{USER}:")) {
        tool("usermod", &["--add-subuids", "700000000-700065535", "--add-subgids", "700000000-700065535", USER]);
    }
    let kiln = kiln.to_str().expect("a plain path");
    let user = ["--reuid", USER, "--regid", USER, "--init-groups", "--inh-caps=-all", kiln];
    let words: Vec<&str> = user.iter().chain(words).copied().collect();
    let mut command = bench.program(Path::new("setpriv"), &words);
    command.env("HOME", bench.path("home")).env("USER", USER);
    command
}

const USER: &str = "kilntest";
