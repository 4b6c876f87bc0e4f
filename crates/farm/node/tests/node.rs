//! A node against a small server, with a kiln that is a shell script: what becomes of tasks when things go well, and when not.

#[path = "farm/server.rs"]
mod server;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use kiln_farm_api::secret::{Value, Values};
use kiln_farm_api::{BuildId, Complete, Given, Holding, Lease, TaskId, Work};
use kiln_farm_node::{Config, Wish, run};
use kiln_model::{Digest, Event, EventKind, Fault, FaultKind};
use server::Farm;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

/// A kiln whose recipes are shell.
const KILN: &str = r#"#!/bin/sh
exec 3<&0
arguments="$*"
while [ $# -gt 0 ]; do
    [ "$1" = --out ] && out=$2
    recipe=$1
    shift
done
mkdir -p "$out"
seq=0
event() { seq=$((seq + 1)); echo "{\"seq\":$seq,\"at\":$((seq * 10)),\"event\":$1}"; }
log() { event "\"log\",\"stage\":null,\"source\":\"sh\",\"line\":\"$1\""; }
failed() { event "\"failed\",\"stage\":null,\"fault\":\"$1\",\"message\":\"$2\",\"hint\":null,\"detail\":null"; }
finished() { event '"finished","millis":1'; }
tether() { ( cat <&3 > /dev/null; kill $$ ) > /dev/null 2>&1 & }
. "./$recipe"
"#;

/// A farm of one server, one folder for its node, and what the node runs.
struct Stage {
    farm: Farm,
    home: tempfile::TempDir,
}

/// A node at work in this process.
struct Node {
    wish: watch::Sender<Wish>,
    task: JoinHandle<Result<(), Fault>>,
}

impl Stage {
    async fn set() -> Self {
        let home = tempfile::tempdir().unwrap();
        let kiln = home.path().join("kiln");
        fs::write(&kiln, KILN).unwrap();
        fs::set_permissions(&kiln, Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(home.path().join("cache")).unwrap();
        Self { farm: Farm::start().await, home }
    }

    fn config(&self) -> Config {
        config(self.home.path(), &format!("http://{}", self.farm.address))
    }

    fn node(&self) -> Node {
        let (wish, wished) = watch::channel(Wish::Work);
        Node { wish, task: tokio::spawn(run(self.config(), wished)) }
    }

    /// Hands out a task whose recipe is `script`.
    fn lease(&self, task: u128, epoch: u64, script: &str) -> Holding {
        self.lease_with(task, epoch, script, &[])
    }

    /// The same with secrets that it uses.
    fn lease_with(&self, task: u128, epoch: u64, script: &str, secrets: &[&str]) -> Holding {
        let bundle = bundle(script);
        let holding = Holding { task: TaskId(Uuid::from_u128(task)), epoch };
        let work = Work::Image {
            bundle: Digest::of(&bundle),
            recipe: "kiln.toml".into(),
            profiles: vec!["edge".into()],
            set: vec![("system.hostname".into(), "a b".into())],
            epoch: Some(7),
            no_verify: true,
            update: true,
            secrets: secrets.iter().map(|name| name.parse().unwrap()).collect(),
            given: vec![],
        };
        let (build, name) = (BuildId(Uuid::nil()), || "image".parse().unwrap());
        let lease = Lease { task: holding.task, epoch, build, project: name(), name: name(), work };
        self.farm.facts(|facts| {
            facts.blobs.insert(Digest::of(&bundle), bundle);
            facts.leases.push_back(lease);
        });
        holding
    }

    async fn done(&self, holding: Holding) -> Complete {
        self.farm.until("it is done", |facts| facts.done.contains_key(&holding)).await;
        self.farm.facts(|facts| facts.done[&holding].clone())
    }

    fn events(&self, holding: Holding) -> Vec<Event> {
        self.farm.facts(|facts| facts.events.get(&holding).cloned().unwrap_or_default())
    }

    /// Returns the lines that were told of a task.
    fn lines(&self, holding: Holding) -> Vec<String> {
        let line = |event: Event| match event.kind {
            EventKind::Log { source, line, .. } => Some(format!("{source}: {line}")),
            _ => None,
        };
        self.events(holding).into_iter().filter_map(line).collect()
    }

    fn left(&self, folder: &str) -> usize {
        fs::read_dir(self.home.path().join("data").join(folder)).unwrap().count()
    }

    /// Waits until the node has nothing of any task any more.
    async fn forgotten(&self) {
        self.farm
            .until("it is forgotten", |facts| facts.last_poll.as_ref().is_some_and(|poll| poll.holding.is_empty()))
            .await;
        assert_eq!((self.left("work"), self.left("outbox")), (0, 0));
    }
}

fn config(home: &Path, server: &str) -> Config {
    let (data, kiln, cache) = (home.join("data"), home.join("kiln"), home.join("cache"));
    Config {
        slots: 2,
        min_disk: 0,
        build_memory: 1,
        wait: Duration::from_millis(500),
        grace: Duration::from_secs(2),
        ..Config::new(server.parse().unwrap(), "secret", data, kiln, cache)
    }
}

fn bundle(script: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(vec![]);
    let mut header = tar::Header::new_gnu();
    header.set_size(script.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "kiln.toml", script.as_bytes()).unwrap();
    zstd::encode_all(tar.into_inner().unwrap().as_slice(), 1).unwrap()
}

fn names(complete: &Complete) -> Vec<&str> {
    complete.artifacts.iter().map(|artifact| artifact.name.as_str()).collect()
}

#[tokio::test]
async fn a_build_goes_well() {
    let stage = Stage::set().await;
    let _node = stage.node();
    let holding = stage.lease(
        1,
        1,
        r#"log "$arguments"; log "$SOURCE_DATE_EPOCH ${KILN_NODE_CREDENTIAL-none}"
           echo "not json"
           echo image > $out/edge.raw; echo report > $out/edge.json; finished"#,
    );
    let complete = stage.done(holding).await;
    assert_eq!((complete.failure.as_ref(), names(&complete)), (None, vec!["edge.json", "edge.raw"]));
    stage.farm.facts(|facts| assert_eq!(facts.blobs[&complete.artifacts[1].sha256], b"image\n"));
    let lines = stage.lines(holding);
    let asked = "--events json --plain --tether --within";
    assert!(lines[0].starts_with("sh: build --out /") && lines[0].contains(asked), "{lines:?}");
    assert!(
        lines[0].ends_with("--profile=edge --set=system.hostname=a b --no-verify --update -- kiln.toml"),
        "{lines:?}"
    );
    assert_eq!(lines[1..], ["sh: 7 none", "kiln: not json"]);
    let events = stage.events(holding);
    assert_eq!(events.iter().map(|event| event.seq).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(events.is_sorted_by_key(|event| event.at), "{events:?}");
    stage.forgotten().await;
}

#[tokio::test]
async fn what_other_tasks_made_lies_where_the_recipe_looks_for_it() {
    let stage = Stage::set().await;
    let _node = stage.node();
    let take = |task: u128, script: &str, given: &[(&str, &str)]| {
        let one = |(artifact, path): &(&str, &str)| Given {
            task: "debs".parse().unwrap(),
            artifact: (*artifact).to_owned(),
            path: (*path).to_owned(),
        };
        let holding = stage.lease(task, 1, script);
        stage.farm.facts(|facts| {
            let Work::Image { given: all, .. } = &mut facts.leases.back_mut().unwrap().work;
            all.extend(given.iter().map(one));
        });
        holding
    };
    let script = "log \"$(cat debs/a.deb) $(cat debs/b.deb)\"; finished";
    let good = take(1, script, &[("a.deb", "debs/a.deb"), ("b.deb", "debs/b.deb")]);
    assert_eq!(stage.done(good).await.failure, None);
    assert_eq!(stage.lines(good)[0], "sh: a.deb b.deb");
    for (task, path, why) in [(2, "../x", "leads out of it"), (3, "kiln.toml", "is in the bundle twice")] {
        let failure = stage.done(take(task, script, &[("a.deb", path)])).await.failure.unwrap();
        assert_eq!(failure.fault, FaultKind::Recipe);
        assert!(failure.message.contains(why), "{failure:?}");
    }
    stage.forgotten().await;
}

/// They come by standard input alone, whoever looks at processes and files.
#[tokio::test]
async fn secrets_reach_the_kiln_and_nobody_else() {
    let stage = Stage::set().await;
    let long = "x".repeat(60_000);
    let all: [(&str, &str); 4] =
        [("PSK", "correct horse"), ("TOKEN", "two\nlines"), ("LONG", &long), ("LONGER", &long)];
    let values = all.map(|(name, value)| (name.parse().unwrap(), Value(value.into())));
    stage.farm.facts(|facts| facts.secrets = Values { values: values.into() });
    let _node = stage.node();
    let script = r#"read -r said <&3; tether; printf '%s\n' "$said" > $out/said
        case "$arguments" in *horse*) log "in the arguments";; *--secrets*) log "told of";; esac
        tr '\0' '\n' < /proc/$$/environ > $out/environ; ls -R ../.. > $out/files
        grep -rl 'correct hors[e]' .. | grep -v said || log "in no file"; finished"#;
    let holding = stage.lease_with(1, 1, script, &["PSK", "TOKEN", "LONG", "LONGER"]);
    let complete = stage.done(holding).await;
    assert_eq!(complete.failure, None);
    let made = |name: &str| {
        let found = complete.artifacts.iter().find(|one| one.name == name).unwrap();
        stage.farm.facts(|facts| String::from_utf8(facts.blobs[&found.sha256].clone()).unwrap())
    };
    let said: BTreeMap<String, String> = serde_json::from_str(&made("said")).unwrap();
    assert_eq!(said, all.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    assert!(!made("environ").contains("horse") && !made("environ").contains("PSK"));
    assert_eq!(stage.lines(holding), ["sh: told of", "sh: in no file"]);

    // A recipe without any hears of none, and a node waits for a server that is away.
    let none = stage.lease(2, 1, r#"case "$arguments" in *--secrets*) log some;; *) log none;; esac; finished"#);
    stage.done(none).await;
    assert_eq!(stage.lines(none), ["sh: none"]);
    stage.farm.facts(|facts| facts.secrets_away = 2);
    let late = stage.lease_with(3, 1, r#"log "$(head -n 1 <&3 | head -c 8 | tr -d '{":')"; finished"#, &["PSK"]);
    stage.done(late).await;
    assert_eq!(stage.lines(late), ["sh: LONG"]);
}

#[tokio::test]
async fn secrets_that_are_not_given() {
    let stage = Stage::set().await;
    let _node = stage.node();
    // The server of these tests knows no `NONE`.
    let lacking = stage.lease_with(1, 1, "log ran; finished", &["NONE"]);
    let failure = stage.done(lacking).await.failure.unwrap();
    assert_eq!((failure.fault, failure.message.as_str()), (FaultKind::Recipe, "no secret `NONE`"));
    assert_eq!(failure.hint.as_deref(), Some("set it"));
    assert_eq!(stage.lines(lacking), [""; 0]);
    // A lease that is over is let go.
    let old = Holding { task: TaskId(Uuid::from_u128(2)), epoch: 1 };
    stage.farm.facts(|facts| facts.old.push(old));
    stage.lease_with(2, 1, "log ran; finished", &["PSK"]);
    stage.farm.until("it came", |facts| facts.leases.is_empty()).await;
    stage.farm.facts(|facts| facts.last_poll = None);
    stage.forgotten().await;
    stage.farm.facts(|facts| assert!(!facts.done.contains_key(&old)));
}

#[tokio::test]
async fn a_failure_is_told_as_the_kiln_tells_it() {
    let stage = Stage::set().await;
    let _node = stage.node();
    let said = stage.lease(1, 1, "echo log > $out/edge.log; failed package 'dpkg broke'; exit 1");
    let silent = stage.lease(2, 1, "echo 'panicked at x' >&2; exit 101");
    let mirror = stage.lease(3, 1, "exit 3");
    let complete = stage.done(said).await;
    let failure = complete.failure.clone().unwrap();
    assert_eq!((failure.fault, failure.message.as_str()), (FaultKind::Package, "dpkg broke"));
    assert_eq!(names(&complete), ["edge.log"]);
    assert_eq!(stage.events(said).len(), 1);
    assert_eq!(stage.done(silent).await.failure.unwrap().fault, FaultKind::Farm);
    assert_eq!(stage.lines(silent), ["kiln: panicked at x"]);
    assert!(matches!(stage.events(silent).last().unwrap().kind, EventKind::Failed { fault: FaultKind::Farm, .. }));
    assert_eq!(stage.done(mirror).await.failure.unwrap().fault, FaultKind::Upstream);
    stage.forgotten().await;
}

#[tokio::test]
async fn a_bundle_that_is_none_is_the_recipes_fault() {
    let stage = Stage::set().await;
    let holding = stage.lease(1, 1, "");
    stage.farm.facts(|facts| {
        let Work::Image { bundle, .. } = &mut facts.leases[0].work;
        *bundle = Digest::of("nonsense");
        facts.blobs.insert(*bundle, b"nonsense".into());
    });
    let _node = stage.node();
    let failure = stage.done(holding).await.failure.unwrap();
    assert_eq!(failure.fault, FaultKind::Recipe, "{failure:?}");
    let told = stage.events(holding);
    assert!(matches!(&told[..], [Event { kind: EventKind::Failed { fault: FaultKind::Recipe, .. }, .. }]), "{told:?}");
}

#[tokio::test]
async fn a_cancelled_build_stops_within_two_seconds() {
    let stage = Stage::set().await;
    let _node = stage.node();
    let polite = stage.lease(1, 1, "trap 'echo x > ../stopped; exit 130' TERM; log on; while :; do sleep 0.05; done");
    let deaf = stage.lease(2, 1, "trap '' TERM; log on; while :; do sleep 0.05; done");
    let both = |facts: &server::Facts| [polite, deaf].iter().all(|one| facts.events.contains_key(one));
    stage.farm.until("both run", both).await;
    let began = Instant::now();
    stage.farm.facts(|facts| facts.stop = vec![polite, deaf]);
    let holds = |facts: &server::Facts, one| facts.last_poll.as_ref().is_some_and(|poll| poll.holding.contains(one));
    stage.farm.until("the polite one is gone", |facts| !holds(facts, &polite)).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    stage.forgotten().await;
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    stage.farm.facts(|facts| assert!(facts.done.is_empty()));
}

#[tokio::test]
async fn events_wait_for_a_server_that_is_away() {
    let stage = Stage::set().await;
    let _node = stage.node();
    let script =
        "log one; while [ ! -e ../on ]; do sleep 0.02; done; i=0; while [ $i -lt 3000 ]; do i=$((i+1)); log $i; done
                  echo x > $out/x; finished";
    let holding = stage.lease(1, 1, script);
    stage.farm.until("it runs", |facts| facts.events.contains_key(&holding)).await;
    stage.farm.facts(|facts| facts.away = true);
    let work = stage.home.path().join("data/work").join(format!("{}-1", holding.task));
    fs::write(work.join("on"), "").unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(stage.events(holding).len(), 1);
    stage.farm.facts(|facts| facts.away = false);
    assert_eq!(names(&stage.done(holding).await), ["x"]);
    assert_eq!(stage.events(holding).len(), 3002);
    stage.farm.facts(|facts| assert!(facts.tells < 300, "{} requests", facts.tells));
}

#[tokio::test]
async fn the_first_event_is_there_at_once() {
    let stage = Stage::set().await;
    let _node = stage.node();
    let holding = stage.lease(1, 1, "log $(date +%s%3N); sleep 2");
    stage.farm.until("it is told", |facts| facts.events.contains_key(&holding)).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    let said: u64 = stage.lines(holding)[0].trim_start_matches("sh: ").parse().unwrap();
    assert!(now - said < 150, "after {} ms", now - said);
}

#[tokio::test]
async fn an_old_epoch_is_given_up() {
    let stage = Stage::set().await;
    let _node = stage.node();
    let holding = stage.lease(1, 1, "log on; while [ ! -e ../on ]; do sleep 0.02; done; log more; sleep 60");
    stage.farm.until("it runs", |facts| facts.events.contains_key(&holding)).await;
    stage.farm.facts(|facts| facts.old.push(holding));
    fs::write(stage.home.path().join("data/work").join(format!("{}-1", holding.task)).join("on"), "").unwrap();
    stage.forgotten().await;
    stage.farm.facts(|facts| assert!(facts.done.is_empty()));
}

#[tokio::test]
async fn no_more_is_built_at_once_than_there_are_slots() {
    let stage = Stage::set().await;
    let script = "log on; while [ ! -e ../on ]; do sleep 0.02; done; finished";
    let all: Vec<_> = (1..=3).map(|task| stage.lease(task, 1, script)).collect();
    let _node = stage.node();
    stage.farm.until("two run", |facts| facts.events.len() == 2).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    stage.farm.facts(|facts| assert_eq!((facts.events.len(), facts.leases.len()), (2, 1)));
    let work = |holding: &Holding| stage.home.path().join("data/work").join(format!("{}-1", holding.task)).join("on");
    fs::write(work(&all[0]), "").unwrap();
    stage.farm.until("the third runs", |facts| facts.events.len() == 3).await;
    all[1..].iter().for_each(|holding| fs::write(work(holding), "").unwrap());
    for holding in all {
        stage.done(holding).await;
    }
}

#[tokio::test]
async fn a_result_that_is_refused_for_good_becomes_a_failure() {
    let stage = Stage::set().await;
    let _node = stage.node();
    let holding = stage.lease(1, 1, &format!("echo x > $out/x; echo x > $out/{}; finished", server::UNFIT));
    let complete = stage.done(holding).await;
    let why = complete.failure.as_ref().map(|failure| failure.message.as_str()).unwrap_or_default();
    assert!(why.contains("does not take the result") && complete.artifacts.is_empty(), "{complete:?}");
    stage.forgotten().await;
}

#[tokio::test]
async fn a_node_that_cannot_write_takes_nothing() {
    let stage = Stage::set().await;
    let _node = stage.node();
    let (data, away) = (stage.home.path().join("data"), stage.home.path().join("away"));
    stage.farm.until("it works", |facts| facts.last_poll.is_some()).await;
    fs::rename(&data, &away).unwrap();
    fs::write(&data, "no folder").unwrap();
    let said = |facts: &server::Facts| facts.last_poll.as_ref().and_then(|poll| poll.resources.refusing.clone());
    let refuses = |facts: &server::Facts| said(facts).is_some_and(|why| why.contains("it cannot write to `"));
    stage.farm.until("it says why it takes nothing", refuses).await;
    let holding = stage.lease(1, 1, "finished");
    tokio::time::sleep(Duration::from_millis(800)).await;
    stage.farm.facts(|facts| assert!(facts.leased.is_empty()));
    fs::remove_file(&data).unwrap();
    fs::rename(&away, &data).unwrap();
    assert_eq!(stage.done(holding).await.failure, None);
}

#[tokio::test]
async fn a_draining_node_ends_what_it_has() {
    let stage = Stage::set().await;
    let node = stage.node();
    let holding = stage.lease(1, 1, "log on; sleep 0.5; finished");
    stage.farm.until("it runs", |facts| facts.events.contains_key(&holding)).await;
    node.wish.send(Wish::Drain).unwrap();
    stage.farm.until("it says so", |facts| facts.last_poll.as_ref().is_some_and(|poll| poll.draining)).await;
    stage.lease(2, 1, "finished");
    node.task.await.unwrap().unwrap();
    stage.farm.facts(|facts| {
        assert_eq!((facts.done.len(), facts.leases.len()), (1, 1));
        let poll = facts.last_poll.as_ref().unwrap();
        assert!(poll.draining && poll.holding.is_empty() && poll.free == 0);
    });
}

#[tokio::test]
async fn a_node_that_is_stopped_leaves_its_leases() {
    let stage = Stage::set().await;
    let node = stage.node();
    let holding = stage.lease(1, 1, "trap 'exit 130' TERM; log on; while :; do sleep 0.05; done");
    stage.farm.until("it runs", |facts| facts.events.contains_key(&holding)).await;
    node.wish.send(Wish::Stop).unwrap();
    node.task.await.unwrap().unwrap();
    stage.forgotten().await;
    stage.farm.facts(|facts| assert!(facts.done.is_empty()));
}

#[tokio::test]
async fn a_node_nobody_knows_ends() {
    let stage = Stage::set().await;
    stage.farm.facts(|facts| facts.credential_is_worth_nothing = true);
    let fault = stage.node().task.await.unwrap().unwrap_err();
    assert_eq!(fault.kind(), FaultKind::Farm);
    assert!(fault.hint_text().unwrap().contains("enrol"), "{fault}");
}

/// Starts a node in a process of its own, that can be killed: this program again, with one test.
fn process(stage: &Stage) -> Process {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "a_node_in_a_process_of_its_own", "--ignored"]);
    command.env("TEST_HOME", stage.home.path()).env("TEST_SERVER", format!("http://{}", stage.farm.address));
    Process(command.stdout(std::process::Stdio::null()).spawn().unwrap())
}

/// A node that does not outlive its test.
struct Process(std::process::Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
#[ignore = "for other tests to start"]
async fn a_node_in_a_process_of_its_own() {
    let (Ok(home), Ok(server)) = (std::env::var("TEST_HOME"), std::env::var("TEST_SERVER")) else { return };
    let (_wish, wished) = watch::channel(Wish::Work);
    run(config(Path::new(&home), &server), wished).await.unwrap();
}

#[tokio::test]
async fn a_node_that_was_killed_leaves_nothing_and_delivers_what_was_whole() {
    let stage = Stage::set().await;
    let node = process(&stage);
    let whole = stage.lease(1, 1, "log on; while [ ! -e ../on ]; do sleep 0.02; done; echo x > $out/x; finished");
    let half = stage.lease(2, 1, "tether; echo $$ > ../pid; log on; while :; do sleep 0.05; done");
    stage.farm.until("both run", |facts| facts.events.len() == 2).await;
    let data = stage.home.path().join("data");
    let pid = fs::read_to_string(data.join(format!("work/{}-1/pid", half.task))).unwrap();
    stage.farm.facts(|facts| facts.away = true);
    fs::write(data.join(format!("work/{}-1/on", whole.task)), "").unwrap();
    while stage.left("outbox") == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(node);
    let _node = process(&stage);
    stage.farm.facts(|facts| {
        facts.away = false;
        facts.last_poll = None;
    });
    assert_eq!(names(&stage.done(whole).await), ["x"]);
    assert_eq!(stage.events(whole).len(), 2);
    stage.forgotten().await;
    // Nobody may have buried it yet.
    let state = fs::read_to_string(Path::new("/proc").join(pid.trim()).join("stat")).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "the kiln of the dead node lives: {state}");
    stage.farm.facts(|facts| assert!(!facts.done.contains_key(&half)));
}
