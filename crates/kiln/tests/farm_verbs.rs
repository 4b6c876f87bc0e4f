//! What people tell a build service by words on the command line: logs, another try, room, a backup; and what a node does that is told
//! to end in the middle of a build.

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::farm::Farm;
use common::{Bench, Done, tool};
use kiln_farm_api::retention::Retention;
use kiln_farm_api::{Build, BuildId, BuildState};
use kiln_testkit::eventually;

/// Runs a verb as the administrator of a service.
fn verb(bench: &Bench, address: &str, words: &[&str]) -> Done {
    let mut command = bench.kiln(words);
    command.env("KILN_SERVER", address).args(["--token-file", "farm/admin.token"]);
    Done::of(command.output().expect("kiln starts"))
}

fn say(farm: &Farm, words: &[&str]) -> Done {
    verb(&farm.bench, &farm.address(), words)
}

/// Submits the recipe and does not wait.
fn submit(farm: &Farm) -> BuildId {
    let said = say(farm, &["submit", "edge.toml", "--json"]).well().stdout;
    serde_json::from_str::<Build>(&said).expect("a build").id
}

fn shown(farm: &Farm, build: BuildId) -> Build {
    farm.runtime.block_on(farm.client.build(build)).unwrap()
}

#[track_caller]
fn becomes(farm: &Farm, build: BuildId, state: BuildState) {
    eventually(&format!("the build is {state:?}"), || shown(farm, build).state == state);
}

#[test]
fn logs_tries_room_and_backups() {
    let farm = Farm::start();
    let mirror = farm.recipe();
    let idle = farm.memory();
    assert!(idle < 64 << 20, "a server that has nothing to do takes {idle} bytes");
    let (_node, _) = farm.node("one");
    let first = submit(&farm);
    becomes(&farm, first, BuildState::Done);
    let id = first.to_string();

    let fetched = || mirror.seen().into_iter().filter(|seen| seen.target.ends_with("/tool-1.0-r0.apk")).count();
    let once = fetched();
    let lines = |words: &[&str]| {
        let said = say(&farm, &[&["log", id.as_str()], words].concat()).well().stdout;
        said.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let whole = lines(&[]);
    assert!(
        whole[0].ends_with("submitted by admin") && whole.last().unwrap().ends_with("the build is done"),
        "{whole:?}"
    );
    assert_eq!(lines(&["--tail", "2"]), whole[whole.len() - 2..]);
    assert_eq!(lines(&["--since", "10m"]), whole);
    let found = lines(&["--find", "EDGE.TAR"]);
    assert!(!found.is_empty() && found.iter().all(|line| line.contains("edge.tar")), "{found:?}");
    let stage = lines(&["--stage", "packages"]);
    assert!(!stage.is_empty() && stage.len() < whole.len(), "{stage:?}");
    assert_eq!(lines(&["--follow"]).len(), whole.len(), "it ends with the build");
    say(&farm, &["log", &id, "--stage", "nowhere"]).ended(2);

    // What fails for a reason of its own may be tried again.
    farm.with_script("exit 7");
    let failing = submit(&farm);
    becomes(&farm, failing, BuildState::Failed);
    let again = say(&farm, &["retry", &failing.to_string()]).well();
    assert!(again.stderr.contains("running") || again.stderr.contains("queued"), "{again:?}");
    eventually("it failed again", || {
        shown(&farm, failing).tasks[0].epoch == 2 && shown(&farm, failing).state == BuildState::Failed
    });
    let followed = say(&farm, &["log", "--follow", &failing.to_string()]).well().stdout;
    assert!(followed.contains("to be run again, says admin"), "{followed}");
    assert_eq!(followed, say(&farm, &["log", &failing.to_string()]).well().stdout, "to its last end, not its first");
    say(&farm, &["retry", &id]).ended(4);

    // A node fetches a package once.
    assert_eq!(fetched(), once);

    // Room: what a rule lets go is told before it goes.
    let second = {
        farm.with_script("echo second > /etc/second");
        submit(&farm)
    };
    becomes(&farm, second, BuildState::Done);
    let rules = Retention { builds: Some(1), ..Retention::default() };
    farm.runtime.block_on(farm.client.set_retention(&"default".parse().unwrap(), &rules)).unwrap();
    let would = say(&farm, &["gc", "--dry-run"]).well().stdout;
    assert!(would.starts_with("default: 1 build, ") && would.contains("would be free"), "{would}");
    assert_eq!(shown(&farm, first).state, BuildState::Done);
    assert!(say(&farm, &["gc"]).well().stdout.contains("are free"));
    assert!(farm.runtime.block_on(farm.client.build(first)).is_err());

    // A backup of a service that works, and another service from it.
    farm.bench.ok(&["backup", "farm.backup", "--data", "farm"]);
    farm.bench.ok(&["restore", "farm.backup", "--data", "copy"]);
    farm.bench.run(&["restore", "farm.backup", "--data", "copy"]).ended(4);
    let copy = Farm::upon(&farm.bench, "copy");
    let said = verb(&farm.bench, &copy.address, &["log", &second.to_string()]).well().stdout;
    assert!(said.contains("the build is done"), "{said}");
    let artifact = |at: &str| {
        let token = fs::read_to_string(farm.bench.path("farm/admin.token")).unwrap();
        let url = format!("{at}/api/v1/builds/{second}/artifacts/edge.tar");
        tool("sh", &["-c", &format!("curl -sSf -H 'Authorization: Bearer {}' {url} | sha256sum", token.trim())])
    };
    assert_eq!(artifact(&copy.address), artifact(&farm.address()));

    // Who did what of it is in the audit log.
    let token = fs::read_to_string(farm.bench.path("farm/admin.token")).unwrap();
    let authorization = format!("Authorization: Bearer {}", token.trim());
    let audit = tool("curl", &["-sSf", "-H", &authorization, &format!("{}/api/v1/audit", farm.address())]);
    for what in ["try build again", "change retention", "\"gc\""] {
        assert!(audit.contains(what), "{what}: {audit}");
    }
}

/// A command that does not hear signals is stopped all the same, long before the node would kill the kiln that runs it (10 s).
#[test]
fn a_cancelled_build_stops_soon_whatever_its_command_hears() {
    let farm = Farm::start();
    let _mirror = farm.recipe();
    let (_node, _) = farm.node("one");
    // So many seconds that nobody else sleeps for.
    let mark = format!("/bin/sleep {}", 1_000_000 + std::process::id());
    farm.with_script(&format!("trap '' TERM INT HUP; echo it goes on; {mark}"));
    let build = submit(&farm);
    let goes_on = || say(&farm, &["log", &build.to_string()]).stdout.contains("it goes on");
    eventually("the command runs", goes_on);
    let is_there = || {
        let listed = tool("sh", &["-c", "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '; true"]);
        listed.contains(&mark)
    };
    eventually("it sleeps", is_there);
    let began = Instant::now();
    say(&farm, &["cancel", &build.to_string()]).well();
    while is_there() {
        assert!(began.elapsed() < Duration::from_secs(8), "it goes on");
        std::thread::sleep(Duration::from_millis(20));
    }
    let took = began.elapsed();
    println!("stopped after {took:?}");
    becomes(&farm, build, BuildState::Cancelled);
}

/// What a build asks for beyond its architecture.
#[test]
fn a_build_waits_for_a_node_that_can() {
    let farm = Farm::start();
    let _mirror = farm.recipe();
    let (_plain, _) = farm.node("plain");
    let said = say(&farm, &["submit", "edge.toml", "--json", "--capability", "ssd", "--attempts", "7"]).well().stdout;
    let build: Build = serde_json::from_str(&said).unwrap();
    assert_eq!(build.tasks[0].order.attempts, Some(7));
    becomes(&farm, submit(&farm), BuildState::Done);
    assert_eq!(shown(&farm, build.id).state, BuildState::Queued, "the plain one does not take it");
    farm.enrol("quick");
    let _quick = farm.run_node_with("quick", &["--keep-free", "0", "--capability", "ssd"], &[]);
    becomes(&farm, build.id, BuildState::Done);
}

/// A disk that is nearly full: the node says so and takes nothing.
#[test]
fn a_node_without_room_refuses() {
    let farm = Farm::start();
    let _mirror = farm.recipe();
    let kept = || farm.bench.ok(&["cache", "ls", "--json", "--cache", "full-cache"]).stdout.contains("layer");
    drop(farm.node("full"));
    assert!(!kept());
    let (worker, _) = (farm.run_node("full", &[]), farm.build("first"));
    assert!(kept());
    drop(worker);
    let _full = farm.run_node_with("full", &["--keep-free", "1000T"], &[]);
    let build = submit(&farm);
    let refusing = || {
        let nodes = farm.runtime.block_on(farm.client.nodes()).unwrap();
        nodes[0].resources.as_ref().and_then(|has| has.refusing.clone())
    };
    eventually("it says why", || refusing().is_some());
    assert!(refusing().unwrap().contains("disk"), "{:?}", refusing());
    eventually("its cache has given back what it can", || !kept());
    assert_eq!(shown(&farm, build).state, BuildState::Queued);
}

/// What the service logs is a line of JSON each, where that is asked for.
#[test]
fn logs_are_json_where_that_is_asked_for() {
    let bench = Bench::new();
    let mut command =
        bench.kiln(&["serve", "--listen", "127.0.0.1:0", "--no-node", "--keep-free", "0", "--data", "farm"]);
    command.envs([("KILN_LOG", "debug"), ("KILN_LOG_FORMAT", "json")]).env_remove("DATABASE_URL");
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("kiln starts");
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut over = false;
    let upto = |line: &String| !std::mem::replace(&mut over, line.contains("programs: `kiln submit"));
    let lines: Vec<String> = lines.take_while(upto).collect();
    tool("kill", &[&child.id().to_string()]);
    child.wait().unwrap();
    assert!(lines.iter().any(|line| line.contains("\"message\":\"kiln serves http://")), "{lines:?}");
    for line in lines {
        let said: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(said["level"].is_string() && said["timestamp"].is_string(), "{line}");
    }
}

/// SIGTERM lets a node end what it does, and take nothing more.
#[test]
fn a_node_that_is_told_to_end_ends_its_build_first() {
    let farm = Farm::start();
    let _mirror = farm.recipe();
    let (mut node, _) = farm.node("one");
    farm.with_script("echo it goes on; sleep 12; echo it has ended");
    let (build, next) = (submit(&farm), submit(&farm));
    eventually("the command runs", || say(&farm, &["log", &build.to_string()]).stdout.contains("it goes on"));
    tool("kill", &["-TERM", &node.0.id().to_string()]);
    let code = node.0.wait().unwrap();
    assert!(code.success(), "{code}");
    assert_eq!(shown(&farm, build).state, BuildState::Done);
    assert_eq!(shown(&farm, build).tasks[0].epoch, 1);
    assert_eq!(shown(&farm, next).state, BuildState::Queued);
}
