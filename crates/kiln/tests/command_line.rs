//! The binary by its exit codes and what it prints where, against an archive of our own.

mod common;

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use common::{Bench, Done};
use kiln_testkit::{Archive, Deb, Fault, Key, Server};
use serde_json::Value;

/// An archive with three packages, on a server, and a recipe that names it.
struct House {
    bench: Bench,
    server: Server,
}

const RECIPE: &str = "edition = 1\nname = \"small\"\n\n[base]\ndistribution = \"debian\"\nrelease = \"13\"\n\
                      architecture = \"amd64\"\nmirror = \"MIRROR\"\nkey = \"archive.asc\"\nupdates = false\n\
                      security = false\n\n[packages]\nbase = \"essential\"\ninclude = [\"tool\"]\n\n\
                      [[output]]\nformat = \"tar\"\n";

impl House {
    fn new() -> Self {
        let (bench, key) = (Bench::new(), Key::new());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() as i64;
        let archive = Archive::new("trixie", now - 60)
            .deb(Deb::new("base", "1").essential().file("/etc/base", 0o644, "base\n"))
            .deb(Deb::new("tool", "2.1").depends("library (>= 1)").file("/usr/bin/tool", 0o755, "#!/bin/sh\n"))
            .deb(Deb::new("library", "1.5").file("/usr/lib/library", 0o644, "library\n"));
        let root = bench.path("archive");
        fs::create_dir_all(&root).unwrap();
        archive.write(&root, &key);
        let server = Server::start(&root);
        bench.write("archive.asc", &key.armored());
        let house = Self { bench, server };
        house.recipe(RECIPE);
        house
    }

    fn recipe(&self, text: &str) {
        self.bench.write("small.toml", &text.replace("MIRROR", &self.server.url("")));
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_good_recipe_is_checked_locked_and_planned() {
    let house = House::new();
    let checked = house.bench.ok(&["check", "small.toml"]);
    assert_eq!((checked.stdout.as_str(), checked.stderr.as_str()), ("", "1 recipe: no mistakes\n"));
    let early = json(&house.bench.ok(&["plan", "small.toml", "--json"]).stdout);
    assert!(!house.bench.path("small.lock").exists(), "a plan writes nothing");
    let locked = house.bench.ok(&["lock", "small.toml", "--json", "--plain"]);
    let names: Vec<Value> =
        json(&locked.stdout)["packages"].as_array().unwrap().iter().map(|p| p["name"].clone()).collect();
    assert_eq!(names, ["base", "library", "tool"]);
    assert!(house.bench.path("small.lock").is_file());
    let plan = json(&house.bench.ok(&["plan", "small.toml", "--json"]).stdout);
    assert_eq!(plan["pipelines"][0]["stages"][0]["kind"], "bootstrap");
    assert_eq!(plan["pipelines"], early["pipelines"]);
    assert_eq!(plan, json(&house.bench.ok(&["plan", "small.toml", "--json"]).stdout));
}

#[test]
fn a_lock_that_fits_asks_the_network_nothing() {
    let house = House::new();
    house.bench.ok(&["lock", "small.toml"]);
    let asked = house.server.seen().len();
    house.bench.ok(&["plan", "small.toml"]);
    house.bench.ok(&["check", "small.toml"]);
    assert_eq!(house.server.seen().len(), asked);
}

#[test]
fn offline_with_nothing_cached_is_the_upstreams_fault() {
    let house = House::new();
    let done = house.bench.run(&["lock", "small.toml", "--offline"]).ended(3);
    assert!(done.stderr.contains("error: "), "{}", done.stderr);
    assert_eq!(house.server.seen().len(), 0);
}

#[test]
fn all_mistakes_are_told_at_once_with_their_places() {
    let house = House::new();
    house.recipe(&RECIPE.replace("name = ", "nmae = ").replace("\"tar\"", "\"tra\""));
    let done = house.bench.run(&["check", "small.toml"]).ended(1);
    assert!(done.stderr.contains("small.toml:2:1") && done.stderr.contains("name"), "{}", done.stderr);
    assert!(done.stderr.ends_with("1 recipe: 2 mistakes\n"), "{}", done.stderr);
    let found = json(&house.bench.run(&["check", "small.toml", "--json"]).ended(1).stdout);
    let lines: Vec<u64> = found.as_array().unwrap().iter().map(|one| one["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, [2, 18]);
}

#[test]
fn a_package_that_is_not_there_is_told_where_the_recipe_names_it() {
    let house = House::new();
    house.recipe(&RECIPE.replace("\"tool\"", "\"tol\""));
    let found = json(&house.bench.run(&["check", "small.toml", "--json"]).ended(1).stdout);
    assert_eq!((&found[0]["line"], &found[0]["hint"]), (&15.into(), &"did you mean `tool`?".into()), "{found}");
    assert!(house.bench.run(&["lock", "small.toml"]).ended(1).stderr.contains("tol"));
}

#[test]
fn unknown_packages_are_told_with_the_other_mistakes_each_with_its_own_way_out() {
    let house = House::new();
    // What there is, is known from before: nobody waits for an archive to be told of a slip.
    house.bench.ok(&["check", "small.toml"]);
    let asked = "\"tol\", \"librarry\", \"tool/sid\", \"library=1\", \"base:arm64\"";
    let recipe = RECIPE.replace("\"tool\"]", &format!("{asked}]\nexclude = [\"bse\", \"tool2\"]"));
    house.recipe(&recipe.replace("\"tar\"", "\"tra\""));
    let found = json(&house.bench.run(&["check", "small.toml", "--json"]).ended(1).stdout);
    let field = |one: &Value, name: &str| one[name].as_str().unwrap_or("-").to_owned();
    let shown = |one: &Value| {
        format!("{} {} {}: {}", one["line"], field(one, "severity"), field(one, "code"), field(one, "hint"))
    };
    let told: Vec<String> = found.as_array().unwrap().iter().map(shown).collect();
    assert_eq!(
        told,
        [
            "15 error unknown-package: did you mean `tool`?",
            "15 error unknown-package: did you mean `library`?",
            "15 error unsatisfiable: there is `tool/trixie`; another suite wants a `[[base.repository]]` of its own",
            "15 error unsatisfiable: write `library=1.5`, or `library` for the newest there is",
            "15 error unsatisfiable: say under `[packages]`: foreign = [\"arm64\"]",
            "16 warning unknown-package: did you mean `base`?",
            "16 warning unknown-package: did you mean `tool`?",
            "19 error unknown-word: did you mean `tar`?",
        ]
    );
    // Where no archive answers, what is known is told all the same.
    house.recipe(&recipe.replace("\"tar\"", "\"tra\"").replace("\"MIRROR\"", "\"http://127.0.0.1:1/debian\""));
    let done = house.bench.run(&["check", "small.toml", "--offline"]).ended(1);
    assert!(done.stderr.contains("were not looked up") && done.stderr.contains("`tra`"), "{}", done.stderr);
}

#[test]
fn what_is_excluded_in_vain_is_a_warning_locked_or_not() {
    let house = House::new();
    house.recipe(&RECIPE.replace("\"tool\"]", "\"tool\"]\nexclude = [\"bse\"]"));
    let warned = |words: &[&str]| {
        let said = house.bench.ok(words).stderr;
        assert!(said.contains("there is no package `bse`"), "{words:?}: {said}");
    };
    warned(&["check", "small.toml"]);
    warned(&["lock", "small.toml"]);
    warned(&["check", "small.toml"]);
}

/// No user, root neither, makes a folder below `/proc`.
const NO_CACHE: &str = "/proc/kiln";

#[test]
fn a_cache_that_cannot_be_is_told_with_the_way_out_and_not_needed_to_check() {
    let house = House::new();
    let done = house.bench.run(&["lock", "small.toml", "--cache", NO_CACHE]).ended(4);
    assert!(done.stderr.contains("KILN_CACHE") && done.stderr.contains(NO_CACHE), "{}", done.stderr);
    house.bench.ok(&["check", "small.toml", "--cache", NO_CACHE]);
    house.bench.ok(&["plan", "small.toml", "--cache", NO_CACHE]);
    let done = house.bench.run(&["doctor", "--json", "--offline", "--cache", NO_CACHE]).ended(4);
    let found = json(&done.stdout);
    assert_eq!((&found[0]["name"], &found[0]["ok"]), (&"cache".into(), &false.into()), "{found}");
    assert!(found.as_array().unwrap().iter().any(|one| one["name"] == "memory"), "{found}");
}

#[test]
fn programs_hear_of_a_rejected_recipe_and_of_a_fault() {
    let house = House::new();
    let answer = |words: &[&str], code| json(&house.bench.run(words).ended(code).stdout);
    let missing = answer(&["lock", "small.toml", "--json", "--offline"], 3);
    assert_eq!((&missing["outcome"]["is"], &missing["outcome"]["fault"]), (&"failed".into(), &"upstream".into()));
    house.recipe(&RECIPE.replace("\"tar\"", "\"tra\""));
    for command in ["build", "lock", "plan", "twice"] {
        let said = answer(&[command, "small.toml", "--json"], 1);
        assert_eq!(
            (&said["outcome"]["fault"], &said["diagnostics"][0]["line"]),
            (&"recipe".into(), &18.into()),
            "{command}"
        );
    }
    for command in ["build", "lock", "twice"] {
        let event = answer(&[command, "small.toml", "--events", "json"], 1);
        assert_eq!((&event["event"], &event["diagnostics"][0]["code"]), (&"failed".into(), &"unknown-word".into()));
        house.bench.run(&[command, "small.toml", "--json", "--events", "json"]).ended(2);
        let said = answer(&[command, "small.toml", "--json", "--events", "json:events.ndjson"], 1);
        let event = json(&fs::read_to_string(house.bench.path("events.ndjson")).unwrap());
        assert_eq!(event["diagnostics"], said["diagnostics"], "{command}");
    }
}

#[test]
fn a_fetch_that_fails_tells_the_users_mirror_and_the_way_out() {
    let house = House::new();
    let offline = house.bench.run(&["lock", "small.toml", "--offline"]).ended(3).stderr;
    assert!(offline.contains("hint: run this once without `--offline`"), "{offline}");
    ["InRelease", "Release"]
        .iter()
        .for_each(|name| house.server.fault(&format!("/dists/trixie/{name}"), Fault::Status(404)));
    let missing = house.bench.run(&["lock", "small.toml"]).ended(3).stderr;
    assert!(missing.contains("dists/trixie/InRelease") && !missing.contains("--update"), "{missing}");
    house.recipe(&RECIPE.replace("\"MIRROR\"", "[\"http://127.0.0.1:1/debian\", \"MIRROR\"]"));
    let refused = house.bench.run(&["lock", "small.toml"]).ended(3).stderr;
    let cause = refused.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
    assert!(cause.contains("127.0.0.1:1/"), "{refused}");
    let mut odd = house.bench.kiln(&["lock", "small.toml"]);
    let said = odd.env("KILN_MIRROR_DEBIAN", "foo").output().unwrap();
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.code() == Some(2) && text.contains("`KILN_MIRROR_DEBIAN`: `foo`"), "{text}");
}

#[test]
fn who_is_at_fault_decides_the_exit_code() {
    let house = House::new();
    let seen = |fault: Fault| {
        ["InRelease", "Release"]
            .iter()
            .for_each(|name| house.server.fault(&format!("/dists/trixie/{name}"), fault.clone()));
        let done = house.bench.run(&["lock", "small.toml"]);
        house.server.mend();
        done
    };
    let missing = seen(Fault::Status(404)).ended(3);
    assert_eq!(missing.stderr.matches("error: ").count(), 1, "{}", missing.stderr);
    seen(Fault::Status(500)).ended(75);
    house.bench.run(&["build", "nothing.toml"]).ended(1);
    house.bench.run(&["build", "--no-such-flag"]).ended(2);
    house.bench.run(&["plan", "small.toml", "--stage", "nonsense"]).ended(2);
    let mut odd = house.bench.kiln(&["lock", "small.toml"]);
    assert_eq!(odd.env("KILN_JOBS", "many").status().unwrap().code(), Some(2));
}

/// Whoever names another kind of database must not get, or back up, one that he does not know of.
#[test]
fn a_database_that_is_no_postgres_is_refused_and_its_password_told_nobody() {
    let bench = Bench::new();
    bench.write("farm/kiln.db", "");
    for words in [
        &["serve", "--listen", "127.0.0.1:0", "--data", "farm"][..],
        &["backup", "b.kiln", "--data", "farm"],
        &["restore", "b.kiln", "--data", "new"],
    ] {
        let mut kiln = bench.kiln(words);
        let said = kiln.env("DATABASE_URL", "mysql://kiln:hidden@db/kiln").output().unwrap();
        let said = Done::of(said).ended(4).stderr;
        assert!(said.contains("DATABASE_URL names no PostgreSQL"), "{said}");
        assert!(said.contains("`postgres://USER:PASSWORD@HOST/DATABASE`") && !said.contains("hidden"), "{said}");
    }
    assert!(!bench.path("new").exists() && !bench.path("b.kiln").exists());
}

#[test]
fn an_archive_signed_by_another_key_is_refused() {
    let house = House::new();
    house.bench.write("archive.asc", &Key::new().armored());
    let done = house.bench.run(&["lock", "small.toml"]).ended(3);
    assert!(done.stderr.contains("InRelease") || done.stderr.contains("sign"), "{}", done.stderr);
    assert!(!house.bench.path("small.lock").exists());
}

#[test]
fn events_on_stdout_are_numbered_json_lines_and_nothing_else() {
    let house = House::new();
    let numbers = |text: &str| text.lines().map(|line| json(line)["seq"].as_u64().unwrap()).collect::<Vec<_>>();
    let done = numbers(&house.bench.ok(&["lock", "small.toml", "--events", "json"]).stdout);
    assert!(!done.is_empty());
    assert_eq!(done, (1..=done.len() as u64).collect::<Vec<_>>());
    house.bench.ok(&["cache", "gc", "--limit", "0"]);
    let again = ["lock", "small.toml", "--update", "--events", "json:events.ndjson"];
    assert_eq!(house.bench.ok(&again).stdout, "");
    let kept = numbers(&fs::read_to_string(house.bench.path("events.ndjson")).unwrap());
    assert_eq!(kept, (1..=kept.len() as u64).collect::<Vec<_>>());
}

#[test]
fn settings_of_the_command_line_win() {
    let house = House::new();
    house.bench.ok(&["lock", "small.toml"]);
    let plan = house.bench.ok(&["plan", "small.toml", "--json", "--set", "system.hostname=edge-7"]).stdout;
    assert!(plan.contains("edge-7"), "{plan}");
    house.bench.run(&["plan", "small.toml", "--set", "hostname"]).ended(2);
}

#[test]
fn only_what_is_named_is_updated() {
    let house = House::new();
    house.bench.ok(&["lock", "small.toml"]);
    house.bench.ok(&["lock", "--update", "tool", "small.toml"]);
    let before = fs::read(house.bench.path("small.lock")).unwrap();
    let done = house.bench.run(&["lock", "--update", "tol", "small.toml"]).ended(1);
    assert!(done.stderr.contains("update `tol`") && done.stderr.contains("did you mean `tool`?"), "{}", done.stderr);
    assert_eq!(fs::read(house.bench.path("small.lock")).unwrap(), before);
    house.bench.ok(&["lock", "--update", "small.toml"]);
}

#[test]
fn templates_are_written_once_and_are_sound() {
    let bench = Bench::new();
    let list = bench.ok(&["new", "--list"]).stdout;
    for name in list.lines().filter_map(|line| line.split_whitespace().next()) {
        let file = format!("{name}/kiln.toml");
        bench.ok(&["new", &file, "--template", name]);
        let text = fs::read_to_string(bench.path(&file)).unwrap();
        bench.run(&["new", &file, "--template", name]).ended(1);
        assert_eq!(fs::read_to_string(bench.path(&file)).unwrap(), text);
    }
    bench.run(&["new", "x.toml", "--template", "nonsense"]).ended(2);
}

#[test]
fn the_cache_is_listed_verified_and_emptied() {
    let house = House::new();
    house.bench.ok(&["lock", "small.toml"]);
    let listed = json(&house.bench.ok(&["cache", "ls", "--json"]).stdout);
    assert!(!listed.as_array().unwrap().is_empty());
    assert_eq!(json(&house.bench.ok(&["cache", "verify", "--json"]).stdout), Value::Array(vec![]));
    house.bench.ok(&["cache", "gc", "--limit", "0"]);
    let kept = json(&house.bench.ok(&["cache", "ls", "--json"]).stdout);
    assert!(kept.as_array().unwrap().len() < listed.as_array().unwrap().len(), "{kept}");
    house.bench.run(&["cache", "gc", "--limit", "lots"]).ended(2);
}

#[test]
fn differences_decide_the_exit_code() {
    let bench = Bench::new();
    for (folder, text) in [("a", "one\n"), ("b", "one\n"), ("c", "two\n")] {
        bench.write(&format!("{folder}/etc/hostname"), text);
    }
    bench.ok(&["diff", "a", "b"]);
    let done = bench.run(&["diff", "a", "c"]).ended(1);
    assert!(done.stdout.contains("/etc/hostname"), "{}", done.stdout);
    let found = json(&bench.run(&["diff", "a", "c", "--json"]).ended(1).stdout);
    assert_eq!(found["files"][0]["path"], "/etc/hostname");
}

#[test]
fn shells_get_their_completions() {
    let bench = Bench::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(bench.ok(&["completions", shell]).stdout.contains("kiln"), "{shell}");
    }
    assert!(json(&bench.ok(&["schema"]).stdout)["properties"]["edition"].is_object());
}

#[test]
fn a_reader_that_goes_away_ends_kiln_quietly() {
    let bench = Bench::new();
    let mut child = bench.kiln(&["schema"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
