//! The status channel on a real Redis, heard by redis-cli and by another language's client.

mod common;

use std::thread;
use std::time::{Duration, Instant};

use common::{Build, IMAGE, Listener, Redis, python, server, settings};
use kiln_adapter_pieman::watch::{Ending, Watch};
use kiln_adapter_pieman::{Delivery, Server, Settings};
use kiln_model::{Event, EventKind, StageKind};

fn watch(redis: &Redis, project: &str) -> Watch {
    Watch { project: project.into(), redis: server(redis), next: false }
}

/// Follows in a thread of its own; returns all events.
fn followed(watch: Watch) -> thread::JoinHandle<(Vec<Event>, Ending)> {
    thread::spawn(move || {
        let mut events = vec![];
        let ending = watch.follow(&mut |event| events.push(event.clone())).unwrap();
        (events, ending)
    })
}

fn seqs(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.seq).collect()
}

#[test]
fn every_code_arrives_once_as_plain_bytes() {
    let redis = Redis::start();
    let (by_python, by_cli) = (Listener::python(&redis, "bscd-p1"), Listener::cli(&redis, "bscd-p1"));
    redis.heard_by("bscd-p1", 2);
    let mut build = Build::start(&settings(&redis, "p1"));
    assert_eq!(build.relay.reached(), Ok(()));
    build.whole();
    assert_eq!(build.relay.close(), Delivery::default());
    assert_eq!(by_python.until("b'1000'"), python(&IMAGE));
    let lines = by_cli.until("1000");
    let payloads: Vec<&str> = lines.chunks(3).skip(1).map(|message| message[2].as_str()).collect();
    assert_eq!(payloads, IMAGE.map(|code| code.to_string()));
}

#[test]
fn who_comes_late_gets_the_whole_story() {
    let redis = Redis::start();
    let mut build = Build::start(&settings(&redis, "p2"));
    build.whole();
    let (events, ending) = followed(watch(&redis, "p2")).join().unwrap();
    assert_eq!((seqs(&events), ending), ((1..=47).collect(), Ending::Well));
    assert_eq!(redis.cli(&["XLEN", "kiln:p2:stream"]), "47\n");
    let ttl: u64 = redis.cli(&["TTL", "kiln:p2:stream"]).trim().parse().unwrap();
    assert!(ttl > 600_000, "{ttl}");
    // The next build of this name begins a story of its own.
    let next = followed(Watch { next: true, ..watch(&redis, "p2") });
    thread::sleep(Duration::from_millis(300));
    let mut build = Build::start(&settings(&redis, "p2"));
    build.started();
    build.tell(EventKind::StageFinished {
        stage: StageKind::Bootstrap,
        id: kiln_model::StageId(kiln_model::Digest::of("x")),
        millis: 1,
        code: Some(10),
    });
    drop(build.relay.close());
    let (events, ending) = next.join().unwrap();
    assert_eq!((seqs(&events), ending), (vec![1, 2, 3], Ending::Failed));
}

#[test]
fn events_and_log_are_live_too() {
    let redis = Redis::start();
    let events = Listener::python_for_ever(&redis, "kiln:p3:events");
    let log = Listener::python_for_ever(&redis, "build-log-p3-image");
    redis.heard_by("kiln:p3:events", 1);
    redis.heard_by("build-log-p3-image", 1);
    let mut build = Build::start(&settings(&redis, "p3"));
    build.started();
    build.line(None, "Setting up base-files");
    build.end_well();
    drop(build.relay.close());
    let events = events.more(Duration::from_millis(500));
    let events: Vec<serde_json::Value> =
        events.iter().map(|line| serde_json::from_str(line.trim_matches(['b', '\''])).unwrap()).collect();
    assert_eq!(events[2]["event"], "finished");
    assert_eq!((&events[2]["percent"], &events[2]["left"]), (&100.into(), &0.into()));
    assert_eq!(events[2]["codes"], serde_json::json!([10, 20, 21, 30, 31, 32, 1000]));
    let log = log.more(Duration::from_millis(500));
    assert_eq!(log[1], "b'Setting up base-files\\r\\n'");
    assert_eq!(log[2], "b'\\x1b[32mSuccess\\x1b(B\\x1b[m: built in 0 s\\r\\n'");
}

#[test]
fn a_redis_that_comes_late_gets_every_code() {
    let mut redis = Redis::absent();
    let listener = Listener::python(&redis, "bscd-p4");
    let mut build = Build::start(&settings(&redis, "p4"));
    assert!(build.relay.reached().unwrap_err().contains("refused"));
    build.started();
    build.finish(StageKind::Bootstrap);
    // Listeners subscribe while kiln looks the other way.
    redis.up();
    redis.heard_by("bscd-p4", 1);
    thread::sleep(Duration::from_millis(2500));
    build.finish(StageKind::Packages);
    build.end_well();
    assert_eq!(build.relay.close(), Delivery::default());
    let heard = listener.until("b'1000'");
    let tail = python(&[20, 21, 30, 31, 32, 1000]);
    assert_eq!(heard[heard.len() - tail.len()..], tail);
    let (events, _) = followed(watch(&redis, "p4")).join().unwrap();
    assert_eq!(seqs(&events), (1..=8).collect::<Vec<u64>>());
}

#[test]
fn a_build_that_redis_left_loses_nothing() {
    let mut redis = Redis::start();
    let listener = Listener::python(&redis, "bscd-p5");
    redis.heard_by("bscd-p5", 1);
    let mut build = Build::start(&settings(&redis, "p5"));
    build.started();
    let (before, after) = StageKind::ALL.split_at(6);
    before.iter().for_each(|stage| build.finish(*stage));
    assert_eq!(listener.until("b'31'"), python(&IMAGE[..5]));
    let follower = followed(watch(&redis, "p5"));
    thread::sleep(Duration::from_millis(300));
    redis.down();
    let told = Instant::now();
    after.iter().for_each(|stage| build.finish(*stage));
    assert!(told.elapsed() < Duration::from_millis(500), "a build does not wait for Redis");
    thread::sleep(Duration::from_millis(700));
    redis.up();
    build.end_well();
    let delivery = build.relay.close();
    assert_eq!((delivery.undelivered, delivery.others, delivery.outages), (vec![], 0, 1));
    assert_eq!(listener.until("b'1000'"), python(&IMAGE[5..]));
    let (events, ending) = follower.join().unwrap();
    assert_eq!((seqs(&events), ending), ((1..=47).collect(), Ending::Well));
    // Redis forgot all; the story is there again.
    assert_eq!(redis.cli(&["XLEN", "kiln:p5:stream"]), "47\n");
}

#[test]
fn a_redis_that_stays_away_is_told_of() {
    let mut redis = Redis::start();
    let mut build = Build::start(&Settings { flush: Duration::from_millis(500), ..settings(&redis, "p6") });
    build.started();
    let began = Instant::now();
    while redis.cli(&["XLEN", "kiln:p6:stream"]) != "1\n" {
        assert!(began.elapsed() < Duration::from_secs(20), "the first event arrives");
    }
    redis.down();
    build.end_well();
    let began = Instant::now();
    let words = build.relay.close().words();
    assert_eq!(words, ["status codes 10 20 21 30 31 32 1000 and 1 messages did not reach Redis"]);
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[test]
fn a_story_that_breaks_off_ends_with_one_1001() {
    let redis = Redis::start();
    let listener = Listener::python_for_ever(&redis, "bscd-p7");
    redis.heard_by("bscd-p7", 1);
    let mut build = Build::start(&settings(&redis, "p7"));
    build.started();
    build.finish(StageKind::Bootstrap);
    build.finish(StageKind::Locale);
    assert_eq!(build.relay.close(), Delivery::default());
    assert_eq!(listener.more(Duration::from_millis(700)), python(&[10, 20, 1001]));
    let (events, ending) = followed(watch(&redis, "p7")).join().unwrap();
    assert_eq!((seqs(&events), ending), ((1..=8).collect(), Ending::Failed));
}

#[test]
fn a_password_and_a_database_come_with_the_url() {
    let redis = Redis::with(&["--requirepass", "secret"]);
    let without = Build::start(&settings(&redis, "p8"));
    assert!(without.relay.reached().unwrap_err().contains("NOAUTH"));
    let url = format!("redis://:secret@127.0.0.1:{}/3", redis.port);
    let mut build = Build::start(&Settings::new("p8", Server::at(&url).unwrap()));
    assert_eq!(build.relay.reached(), Ok(()));
    build.whole();
    assert_eq!(build.relay.close(), Delivery::default());
    assert_eq!(redis.cli(&["--no-auth-warning", "-a", "secret", "-n", "3", "XLEN", "kiln:p8:stream"]), "47\n");
}

#[test]
fn one_who_may_only_publish_codes_still_does() {
    let redis = Redis::start();
    let rights = ["ACL", "SETUSER", "bob", "on", ">pw", "resetchannels", "&bscd-*", "+publish"];
    assert_eq!(redis.cli(&rights), "OK\n");
    let listener = Listener::python(&redis, "bscd-p9");
    redis.heard_by("bscd-p9", 1);
    let url = format!("redis://bob:pw@127.0.0.1:{}", redis.port);
    let mut build = Build::start(&Settings::new("p9", Server::at(&url).unwrap()));
    assert_eq!(build.relay.reached(), Ok(()));
    build.whole();
    let delivery = build.relay.close();
    assert!(delivery.undelivered.is_empty() && delivery.notes.len() == 1, "{delivery:?}");
    assert!(delivery.notes[0].contains("NOPERM"), "{delivery:?}");
    assert_eq!(listener.until("b'1000'"), python(&IMAGE));
}

#[test]
fn codes_alone_can_be_watched() {
    let redis = Redis::start();
    let follower = followed(watch(&redis, "p10"));
    redis.heard_by("bscd-p10", 1);
    for code in ["10", "20", "nonsense", "21", "1001"] {
        redis.cli(&["PUBLISH", "bscd-p10", code]);
        thread::sleep(Duration::from_millis(50));
    }
    let (events, ending) = follower.join().unwrap();
    let count = events.iter().filter(|event| matches!(event.kind, EventKind::StageFinished { .. })).count();
    assert_eq!((count, ending), (3, Ending::Failed));
}

/// Prints how long a code takes from the event to a subscriber.
#[test]
fn latency() {
    let redis = Redis::start();
    let client = redis::Client::open(("127.0.0.1", redis.port)).unwrap();
    let mut connection = client.get_connection().unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut channel = connection.as_pubsub();
    let mut micros: Vec<u128> = vec![];
    for round in 0..20 {
        let project = format!("latency{round}");
        channel.subscribe(format!("bscd-{project}")).unwrap();
        let mut build = Build::start(&settings(&redis, &project));
        assert_eq!(build.relay.reached(), Ok(()));
        for stage in StageKind::ALL.into_iter().skip(1) {
            let id = kiln_model::StageId(kiln_model::Digest::of("x"));
            let began = Instant::now();
            build.tell(EventKind::StageFinished { stage, id, millis: 1, code: stage.code() });
            channel.get_message().unwrap();
            micros.push(began.elapsed().as_micros());
        }
        build.end_well();
        channel.get_message().unwrap();
        drop(build.relay.close());
    }
    micros.sort_unstable();
    let at = |part: usize| micros[micros.len() * part / 100];
    println!("latency of {} codes: median {} µs, 90% {} µs, 99% {} µs", micros.len(), at(50), at(90), at(99));
}
