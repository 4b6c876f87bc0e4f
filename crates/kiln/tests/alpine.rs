//! Alpine by the binary, against small repositories of our own.

mod common;

use std::fs;

use common::alpine::House;
use kiln_model::Digest;
use kiln_testkit::Apk;

fn publish(house: &House, packages: &[Apk]) {
    let usual = ["alpine-base", "alpine-keys", "tzdata"].map(|name| package(name, "1.0-r0"));
    house.publish("x86_64", &[&usual[..], packages].concat());
}

fn recipe(house: &House, include: &str) {
    let rest = format!("\n[packages]\ninclude = [{include}]\n\n[[output]]\nformat = \"tar\"\n");
    house.bench.write("small.toml", &(house.base("small", "amd64") + &rest));
}

/// Locks, and returns the versions of two packages.
fn locked(house: &House, words: &[&str]) -> [String; 2] {
    house.bench.ok(&[&["lock", "small.toml"], words].concat());
    let lock = fs::read_to_string(house.bench.path("small.lock")).unwrap();
    ["tool", "library"].map(|name| {
        let (_, rest) = lock.split_once(&format!("{{ name = \"{name}\", version = \"")).expect("it is locked");
        rest.split('"').next().unwrap().to_owned()
    })
}

fn package(name: &str, version: &str) -> Apk {
    Apk::new(name, version).arch("x86_64")
}

/// As a lock of Debian's does: what the recipe says now is taken, and the rest stays where it still exists.
#[test]
fn versions_stay_until_an_update_is_asked_for() {
    let house = House::new();
    let generation = |version: &str| {
        [package("tool", version).depends("library"), package("library", version), package("more", version)]
    };
    let (old, new) = (generation("1.0-r0"), generation("1.1-r0"));
    publish(&house, &old);
    recipe(&house, "\"tool\"");
    assert_eq!(locked(&house, &[]), ["1.0-r0", "1.0-r0"]);
    publish(&house, &[&old[..], &new].concat());
    recipe(&house, "\"tool\", \"more\"");
    assert_eq!(locked(&house, &[]), ["1.0-r0", "1.0-r0"]);
    let lock = fs::read_to_string(house.bench.path("small.lock")).unwrap();
    assert!(lock.contains("{ name = \"more\", version = \"1.1-r0\""), "what is new is the newest: {lock}");
    assert_eq!(locked(&house, &["--update", "library"]), ["1.0-r0", "1.1-r0"]);
    recipe(&house, "\"tool\", \"more\", \"library=1.0-r0\"");
    assert_eq!(locked(&house, &[]), ["1.0-r0", "1.0-r0"]);
    recipe(&house, "\"tool\", \"more\"");
    assert_eq!(locked(&house, &["--update"]), ["1.1-r0", "1.1-r0"]);
    // What is gone is not kept.
    publish(&house, &old);
    recipe(&house, "\"tool\"");
    assert_eq!(locked(&house, &[]), ["1.0-r0", "1.0-r0"]);
}

#[test]
fn two_packages_with_one_file_behind_a_merged_usr_are_both_named() {
    let house = House::new();
    let (one, two) = (
        package("one", "1-r0").file("bin/tool", 0o755, "one"),
        package("two", "1-r0").file("usr/bin/tool", 0o755, "two"),
    );
    publish(&house, &[one.clone(), two.clone()]);
    recipe(&house, "\"one\", \"two\"");
    let told = house.bench.run(&["build", "small.toml", "--plain"]).ended(1).stderr;
    let wanted = "`two-1-r0` has `/usr/bin/tool`, which is `/bin/tool` and belongs to `one-1-r0` already";
    assert!(told.contains(wanted), "{told}");
}

/// What an address gives is pinned as packages are; whoever says a digest is told of any other.
#[test]
fn an_address_stays_what_it_was_until_an_update_is_asked_for() {
    let house = House::new();
    publish(&house, &[]);
    let url = house.server.url("/vendor/start.elf?raw=true");
    let file = |more: &str| {
        recipe(&house, "");
        let text = fs::read_to_string(house.bench.path("small.toml")).unwrap();
        let file = format!("\n[[file]]\npath = \"/opt/start.elf\"\nurl = \"{url}\"\n{more}");
        house.bench.write("small.toml", &(text + &file));
    };
    let pinned = |words: &[&str]| {
        house.bench.ok(&[&["lock", "small.toml"], words].concat());
        let lock = fs::read_to_string(house.bench.path("small.lock")).unwrap();
        let (_, line) = lock.split_once("\ndownloads = [\n").expect("it is locked");
        line.lines().next().unwrap().trim().to_owned()
    };
    let line =
        |bytes: &str| format!("{{ url = \"{url}\", size = {}, sha256 = \"{}\" }},", bytes.len(), Digest::of(bytes));
    house.server.put("/vendor/start.elf", *b"old");
    file("");
    assert_eq!(pinned(&[]), line("old"));
    house.server.put("/vendor/start.elf", *b"newer");
    file("mode = \"0755\"\n");
    assert_eq!(pinned(&[]), line("old"));
    assert_eq!(pinned(&["--update", "alpine-base"]), line("old"));
    assert_eq!(pinned(&["--update", &url]), line("newer"));
    house.server.put("/vendor/start.elf", *b"the newest");
    assert_eq!(pinned(&["--update"]), line("the newest"));
    // Who builds for strangers downloads nothing for them that they do not know already.
    let strangers = ["lock", "small.toml", "--within", "."];
    house.bench.ok(&strangers);
    house.server.put("/vendor/start.elf", *b"newer still");
    assert_eq!(pinned(&["--within", ".", "--update"]), line("the newest"));
    house.server.put("/vendor/start.elf", *b"the newest");
    fs::remove_file(house.bench.path("small.lock")).unwrap();
    let done = house.bench.run(&strangers).ended(1);
    assert!(done.stderr.contains("is not pinned") && done.stderr.contains("`sha256`"), "{}", done.stderr);
    // The recipe's own word holds, and a mirror that has something else is told.
    file(&format!("sha256 = \"{}\"\n", Digest::of("newer")));
    assert_eq!(pinned(&[]), line("newer"), "it is in the cache");
    file(&format!("sha256 = \"{}\"\n", Digest::of("what nobody has")));
    let done = house.bench.run(&["lock", "small.toml"]).ended(3);
    assert!(
        done.stderr.contains("start.elf") && done.stderr.contains(&Digest::of("the newest").to_string()),
        "{}",
        done.stderr
    );
}
