//! What a server bears: polling nodes, small tasks, watchers of one log. `bench/farm` runs it.
//!
//! `load URL TOKEN NODES WATCHERS SECONDS RATE`: NODES poll, RATE tasks a minute are submitted for SECONDS, WATCHERS follow one log.
//! Prints one line of figures for each.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use kiln_farm_api::{Client, Complete, Holding, Lease, Order, Poll, Resources, Submission, Tell, What, Work};
use kiln_model::{Arch, Digest, Event, EventKind};

type Failed = Box<dyn std::error::Error>;

#[derive(Default)]
struct Counts {
    polls: AtomicU64,
    done: AtomicU64,
    errors: AtomicU64,
    over: AtomicBool,
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [url, token, nodes, watchers, seconds, rate] = words.as_slice() else {
        return Err("load URL TOKEN NODES WATCHERS SECONDS RATE".into());
    };
    let (url, nodes, watchers): (url::Url, usize, usize) = (url.parse()?, nodes.parse()?, watchers.parse()?);
    let (seconds, rate): (u64, u64) = (seconds.parse()?, rate.parse()?);
    let admin = Client::new(url.clone(), token);
    let bundle = bundle(&admin).await?;
    watched(&admin, bundle, watchers).await?;
    let counts = Arc::new(Counts::default());
    let stamp = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    for number in 0..nodes {
        let enrolled = admin.enrol(format!("load-{stamp}-{number}").parse()?).await?;
        tokio::spawn(node(Client::new(url.clone(), enrolled.credential), counts.clone()));
    }
    let began = Instant::now();
    let mut submitted = 0;
    while began.elapsed() < Duration::from_secs(seconds) {
        while submitted < began.elapsed().as_millis() as u64 * rate / 60_000 {
            admin.submit(&submission(bundle, submitted)).await?;
            submitted += 1;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let sending = began.elapsed();
    while counts.done.load(Ordering::Relaxed) < submitted && began.elapsed() < Duration::from_secs(seconds + 60) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (took, get) = (began.elapsed(), |count: &AtomicU64| count.load(Ordering::Relaxed));
    counts.over.store(true, Ordering::Relaxed);
    println!(
        "{nodes} nodes: {submitted} tasks submitted in {:.1} s, {} done after {:.1} s ({:.0} a minute), {} polls, {} errors",
        sending.as_secs_f64(),
        get(&counts.done),
        took.as_secs_f64(),
        get(&counts.done) as f64 * 60.0 / took.as_secs_f64(),
        get(&counts.polls),
        get(&counts.errors),
    );
    Ok(())
}

async fn bundle(admin: &Client) -> Result<Digest, Failed> {
    let path = std::env::temp_dir().join(format!("kiln-load-{}", std::process::id()));
    std::fs::write(&path, "load")?;
    let digest = Digest::of("load");
    admin.upload(digest, &path).await?;
    std::fs::remove_file(path)?;
    Ok(digest)
}

fn submission(bundle: Digest, number: u64) -> Submission {
    let task = Order::image(Work::image(bundle, "kiln.toml"));
    let project = "default".parse().expect("a name");
    Submission { project, name: format!("load {number}"), priority: 0, tasks: vec![task], once: None }
}

/// A node that tells ten lines of each task and is done.
async fn node(client: Client, counts: Arc<Counts>) {
    let mut held: BTreeMap<Holding, Lease> = BTreeMap::new();
    while !counts.over.load(Ordering::Relaxed) {
        let resources = Resources { architectures: vec![Arch::Amd64], slots: 1, ..Resources::default() };
        let holding: Vec<Holding> = held.keys().copied().collect();
        let poll = Poll {
            free: 1 - holding.len().min(1) as u32,
            resources,
            holding,
            stopping: vec![],
            draining: false,
            wait: 10_000,
        };
        counts.polls.fetch_add(1, Ordering::Relaxed);
        let Ok(orders) = client.poll(&poll).await else {
            counts.errors.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        orders.stop.iter().for_each(|lease| drop(held.remove(lease)));
        held.extend(orders.begin.into_iter().map(|lease| (Holding { task: lease.task, epoch: lease.epoch }, lease)));
        if let Some((_, lease)) = held.pop_first() {
            let told = client.tell(lease.task, &tell(lease.epoch, 1, 10)).await;
            let complete = Complete { epoch: lease.epoch, failure: None, artifacts: vec![] };
            let done = client.complete(lease.task, &complete).await;
            let count = if told.is_ok() && done.is_ok() { &counts.done } else { &counts.errors };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn tell(epoch: u64, first: u64, count: u64) -> Tell {
    let line = |seq| EventKind::Log { stage: None, source: "load".into(), line: format!("{seq} {}", now()) };
    let events = (first..first + count).map(|seq| Event { seq, at: seq, kind: line(seq) }).collect();
    Tell { epoch, began: 0, events }
}

fn now() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_micros())
}

/// Lets many follow one log, and tells how long each line took to reach them.
async fn watched(admin: &Client, bundle: Digest, watchers: usize) -> Result<(), Failed> {
    const LINES: u64 = 50;
    let build = admin.submit(&submission(bundle, 0)).await?.id;
    let follow = |client: Client| async move {
        let mut late = vec![];
        let Ok(entries) = client.follow(build, 0, &[]).await else { return late };
        let mut entries = pin!(entries);
        while let Some(Ok(entry)) = entries.next().await {
            if let What::Build(EventKind::Log { line, .. }) = &entry.what
                && let Some(told) = line.split(' ').nth(1).and_then(|told| told.parse::<u128>().ok())
            {
                late.push(now().saturating_sub(told));
            }
        }
        late
    };
    let all: Vec<_> = (0..watchers).map(|_| tokio::spawn(follow(admin.clone()))).collect();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let enrolled = admin.enrol(format!("told-{}", now()).parse()?).await?;
    let node = Client::new(admin.server().clone(), enrolled.credential);
    let resources = Resources { architectures: vec![Arch::Amd64], slots: 1, ..Resources::default() };
    let poll = Poll { free: 1, resources, holding: vec![], stopping: vec![], draining: false, wait: 5000 };
    let lease = node.poll(&poll).await?.begin.pop().ok_or("the task went elsewhere: is there another node?")?;
    for seq in 1..=LINES {
        node.tell(lease.task, &tell(lease.epoch, seq, 1)).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    node.complete(lease.task, &Complete { epoch: lease.epoch, failure: None, artifacts: vec![] }).await?;
    let mut late = vec![];
    for watcher in all {
        late.extend(watcher.await?);
    }
    late.sort_unstable();
    let at =
        |part: usize| late.get(late.len().saturating_sub(1) * part / 100).map_or(0.0, |micros| *micros as f64 / 1000.0);
    println!(
        "{watchers} watchers: {} of {} lines came; {:.1} ms in the middle, {:.1} ms for 99 of 100, {:.1} ms at most",
        late.len(),
        watchers as u64 * LINES,
        at(50),
        at(99),
        at(100)
    );
    Ok(())
}
