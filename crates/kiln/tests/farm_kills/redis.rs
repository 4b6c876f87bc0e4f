//! A Redis that is killed while builds speak, and the server that tells it: Redis has on its disk what it has answered, so the stream has
//! every code once and in order, and so has whoever follows the stream. Whoever only subscribes may miss what was under way, and hears
//! nothing twice and nothing too early.

use std::iter;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use kiln_farm_api::points::Point;
use kiln_farm_api::{Client, Complete, Holding, Lease, Order, Poll, Resources, Submission, Tell, Work};
use kiln_model::{Arch, Digest, Event, EventKind, StageId, StageKind};
use kiln_testkit::{Listener, Redis, eventually, free_port};
use serde_json::Value;
use tokio::task::spawn_blocking;

use super::{Server, Trap, insist, upload};

const ALL: [u64; 15] = [10, 20, 21, 30, 31, 32, 33, 40, 50, 60, 70, 80, 81, 82, 1000];
/// How many builds speak at once, and how often Redis is killed meanwhile where it is at any time.
const BUILDS: u32 = 3;
const KILLS: u32 = 3;
/// Between two stages.
const PAUSE: Duration = Duration::from_millis(40);

/// One build of a round, and who hears it.
struct Heard {
    channel: String,
    lease: Lease,
    listener: Listener,
}

/// Who is killed in a round, and when.
#[derive(Clone, Copy, Debug)]
enum Kill {
    /// Redis, at any time, several times.
    Anytime,
    /// Redis, while the server is at a point.
    Redis(Point),
    /// The server, at a point.
    Server(Point),
}

/// A server and the Redis that it tells.
struct Pair {
    redis: Redis,
    server: Server,
}

pub async fn torment(rounds: u32) {
    let (redis, folder, port) = (Redis::keeping(), tempfile::tempdir().unwrap(), free_port());
    let data = folder.path().join("farm");
    let environment = [("KILN_REDIS_URL".to_owned(), format!("redis://127.0.0.1:{}", redis.port))];
    let server = Server::start(port, data.clone(), environment.into());
    let token = std::fs::read_to_string(data.join("admin.token")).unwrap().trim().to_owned();
    let address: url::Url = format!("http://127.0.0.1:{port}").parse().unwrap();
    let admin = Client::new(address.clone(), &token);
    let node = Client::new(address, admin.enrol("n1".parse().unwrap()).await.unwrap().credential);
    let bundle = upload(&admin, &folder.path().join("bundle"), b"bundle").await;
    let (mut pair, mut missed) = (Pair { redis, server }, 0);
    let at_points = Point::OF_CHANNELS.into_iter().flat_map(|point| [Kill::Redis(point), Kill::Server(point)]);
    let kinds: Vec<Kill> = iter::once(Kill::Anytime).chain(at_points).collect();
    for (round, kind) in (0..rounds).flat_map(|_| &kinds).zip(0..).map(|(kind, round)| (round, *kind)) {
        let heard = begin(round, &admin, &node, &pair.redis, bundle).await;
        let watchers: Vec<Child> = heard.iter().map(|one| watch(&pair.redis, &one.channel)).collect();
        let follow = format!("blocked_clients:{BUILDS}\r");
        eventually("the streams are followed", || pair.redis.cli(&["INFO", "clients"]).contains(&follow));
        let killing = spawn_blocking(move || kill(pair, kind, round));
        speak(&node, &heard).await;
        pair = killing.await.unwrap();
        for (one, watcher) in heard.iter().zip(watchers) {
            eventually("the end is told", || codes(&entries(&pair.redis, &one.channel)).contains(&1000));
            missed += sound(one, &entries(&pair.redis, &one.channel), kind);
            followed(watcher);
        }
    }
    let points = rounds * Point::OF_CHANNELS.len() as u32;
    let redis = rounds * KILLS + points;
    println!("Redis was killed {redis} times, who tells it {points} times; who only subscribed missed {missed} codes");
}

/// Submits the builds of a round and lets each tell its beginning; somebody listens to each.
async fn begin(round: u32, admin: &Client, node: &Client, redis: &Redis, bundle: Digest) -> Vec<Heard> {
    let mut heard = vec![];
    for number in 0..BUILDS {
        let channel = format!("r{round}-{number}");
        let codes = format!("bscd-{channel}");
        let listener = Listener::python_for_ever(redis, &codes);
        redis.heard_by(&codes, 1);
        let work = Work::image(bundle, "kiln.toml");
        let order = Order { channel: Some(channel.clone()), arch: Some(Arch::Amd64), ..Order::image(work) };
        let (project, tasks) = ("default".parse().unwrap(), vec![order]);
        let submission = Submission { project, name: channel.clone(), priority: 0, tasks, once: None };
        let build = admin.submit(&submission).await.unwrap();
        let resources = Resources { architectures: vec![Arch::Amd64], slots: BUILDS, ..Resources::default() };
        let holding = heard.iter().map(|one: &Heard| holding(&one.lease)).collect();
        let poll = Poll { resources, holding, stopping: vec![], free: 1, draining: false, wait: 20_000 };
        let lease = node.poll(&poll).await.unwrap().begin.remove(0);
        assert_eq!(lease.build, build.id);
        tell(node, &lease, 1, StageKind::Tools).await;
        tell(node, &lease, 2, StageKind::Bootstrap).await;
        heard.push(Heard { channel, lease, listener });
    }
    eventually("all speak", || heard.iter().all(|one| codes(&entries(redis, &one.channel)) == [10]));
    heard
}

fn holding(lease: &Lease) -> Holding {
    Holding { task: lease.task, epoch: lease.epoch }
}

/// Says that a stage has ended.
async fn tell(node: &Client, lease: &Lease, seq: u64, stage: StageKind) {
    let id: StageId = serde_json::from_value(serde_json::to_value(Digest::of(stage.name())).unwrap()).unwrap();
    let kind = EventKind::StageFinished { stage, id, millis: 1, code: stage.code() };
    let began = kiln_farm_server::serve::clock();
    let tell = Tell { epoch: lease.epoch, began, events: vec![Event { seq, at: seq, kind }] };
    insist(|| node.tell(lease.task, &tell)).await.unwrap();
}

/// Tells the rest of each build, stage by stage, all at once.
async fn speak(node: &Client, heard: &[Heard]) {
    for (stage, seq) in StageKind::ALL.into_iter().zip(1..).skip(2) {
        for one in heard {
            tell(node, &one.lease, seq, stage).await;
        }
        tokio::time::sleep(PAUSE).await;
    }
    for one in heard {
        let complete = Complete { epoch: one.lease.epoch, failure: None, artifacts: vec![] };
        insist(|| node.complete(one.lease.task, &complete)).await.unwrap();
    }
}

/// Kills one of them, at other moments each time, and lets it come back.
fn kill(mut pair: Pair, kind: Kill, round: u32) -> Pair {
    let chance = |number: u32| *Digest::of(format!("{round} {number}")).as_bytes();
    // The server begins anew for a point: it passes by what Redis knows, so what it passes the point for is what comes now.
    let count = 1 + u32::from(chance(0)[0] % 8);
    let away = || thread::sleep(Duration::from_millis(u64::from(chance(0)[1])));
    match kind {
        Kill::Anytime => {
            for number in 0..KILLS {
                let [before, away, ..] = chance(number);
                thread::sleep(Duration::from_millis(u64::from(before)));
                pair.redis.down();
                thread::sleep(Duration::from_millis(u64::from(away)));
                pair.redis.up();
            }
        }
        Kill::Redis(point) => {
            pair.server.kill();
            pair.server.again(Some(Trap::Stop(point, count)));
            eventually("the server comes to the point", || pair.server.is_stopped());
            pair.redis.down();
            pair.server.goes_on();
            away();
            pair.redis.up();
        }
        Kill::Server(point) => {
            pair.server.kill();
            pair.server.again(Some(Trap::Kill(point, count)));
            let began = Instant::now();
            while pair.server.process.try_wait().unwrap().is_none() {
                assert!(began.elapsed() < Duration::from_secs(60), "the server never came to {point:?}");
                thread::sleep(Duration::from_millis(5));
            }
            away();
            pair.server.again(None);
        }
    }
    pair
}

/// Starts one that follows the stream.
fn watch(redis: &Redis, channel: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kiln"));
    command.args(["watch", channel, "--events", "json", "--plain", "--redis-port", &redis.port.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("kiln is there")
}

/// Checks what one that follows the stream was told.
fn followed(watcher: Child) {
    let told = watcher.wait_with_output().unwrap();
    assert!(told.status.success(), "{told:?}");
    let lines = String::from_utf8(told.stdout).unwrap();
    let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let finished = events.iter().filter(|event| event["event"] == "stage-finished");
    let stages: Vec<&str> = finished.map(|event| event["stage"].as_str().unwrap()).collect();
    assert_eq!(stages, StageKind::ALL.map(StageKind::name), "each once, and in order");
    assert_eq!(events.last().unwrap()["event"], "finished");
}

/// Returns what a build's stream holds: ids, and events.
fn entries(redis: &Redis, channel: &str) -> Vec<(String, Value)> {
    let said = redis.cli(&["--raw", "XRANGE", &format!("kiln:{channel}:stream"), "-", "+"]);
    let lines: Vec<&str> = said.lines().collect();
    let entry = |lines: &[&str]| Some(((*lines.first()?).to_owned(), serde_json::from_str(lines.get(2)?).ok()?));
    lines.chunks(3).filter_map(entry).collect()
}

fn codes(entries: &[(String, Value)]) -> Vec<u64> {
    let codes = entries.iter().flat_map(|(_, event)| event["codes"].as_array().cloned().unwrap_or_default());
    codes.map(|code| code.as_u64().unwrap()).collect()
}

/// Checks what a build's stream holds and what was heard of it; returns how many codes the listener missed.
fn sound(one: &Heard, entries: &[(String, Value)], kind: Kill) -> usize {
    assert_eq!(codes(entries), ALL, "each once, and in order: {}, {kind:?}", one.channel);
    let ids: Vec<(&str, u64)> = entries.iter().map(|(id, _)| id.split_once('-').unwrap()).map(number).collect();
    assert!(ids.iter().all(|(build, _)| *build == ids[0].0), "they are one build's: {ids:?}");
    assert!(ids.is_sorted_by(|(_, one), (_, next)| one < next), "{ids:?}");
    let told = ids.iter().zip(entries).all(|((_, seq), (_, event))| event["seq"] == *seq);
    assert!(told, "an event's number is in its id");
    let heard = one.listener.more(Duration::from_millis(500));
    let heard: Vec<u64> = heard.iter().map(|line| line.trim_matches(['b', '\'']).parse().unwrap()).collect();
    assert!(heard.is_sorted_by(|code, next| code < next), "none twice, and none too early: {heard:?}, {kind:?}");
    assert!(heard.iter().all(|code| ALL.contains(code)), "{heard:?}");
    ALL.len() - heard.len()
}

fn number<'a>((build, seq): (&'a str, &'a str)) -> (&'a str, u64) {
    (build, seq.parse().unwrap())
}
