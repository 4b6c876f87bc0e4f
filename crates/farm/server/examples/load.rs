//! What a server bears: polling nodes, small tasks, watchers of one log. `bench/farm` runs it.
//!
//! `load URL TOKEN NODES WATCHERS SECONDS RATE`: for SECONDS, all at once, NODES poll, RATE tasks a minute are submitted, and WATCHERS
//! follow one log that grows. Prints figures, and ends with an error where something failed, was not done or did not come.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use kiln_farm_api::{BuildId, Client, Complete, Holding, Lease, Order, Poll, Resources, Submission, Tell, What, Work};
use kiln_model::{Arch, Digest, Event, EventKind};
use tokio::task::JoinHandle;

type Failed = Box<dyn std::error::Error + Send + Sync>;

#[derive(Default)]
struct Counts {
    polls: AtomicU64,
    done: AtomicU64,
    errors: AtomicU64,
    over: AtomicBool,
}

/// What only the node has that tells the log which is watched.
const TELLS: &str = "tells";
/// How often it tells a line.
const OFTEN: Duration = Duration::from_millis(100);

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
    let counts = Arc::new(Counts::default());
    for number in 0..nodes {
        let enrolled = admin.enrol(format!("load-{}-{number}", now()).parse()?).await?;
        tokio::spawn(node(Client::new(url.clone(), enrolled.credential), counts.clone()));
    }
    // Everything at once from here on.
    let watched = Watched::begin(&admin, bundle, watchers).await?;
    let telling = tokio::spawn(watched.tell(Duration::from_secs(seconds)));
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
    let (wanted, late) = telling.await??;
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
    let at =
        |part: usize| late.get(late.len().saturating_sub(1) * part / 100).map_or(0.0, |micros| *micros as f64 / 1000.0);
    println!(
        "{watchers} watchers meanwhile: {} of {wanted} lines came; {:.1} ms in the middle, {:.1} ms for 99 of 100, {:.1} ms at most",
        late.len(),
        at(50),
        at(99),
        at(100)
    );
    if get(&counts.errors) > 0 || get(&counts.done) < submitted || late.len() < wanted {
        return Err("it did not bear that".into());
    }
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

/// A log that many follow.
struct Watched {
    node: Client,
    lease: Lease,
    watchers: Vec<JoinHandle<Vec<u128>>>,
}

impl Watched {
    async fn begin(admin: &Client, bundle: Digest, watchers: usize) -> Result<Self, Failed> {
        let mut submission = submission(bundle, 0);
        submission.tasks[0].capabilities = [TELLS.to_owned()].into();
        let build = admin.submit(&submission).await?.id;
        let watchers = (0..watchers).map(|_| tokio::spawn(follow(admin.clone(), build))).collect();
        let enrolled = admin.enrol(format!("tells-{}", now()).parse()?).await?;
        let node = Client::new(admin.server().clone(), enrolled.credential);
        let orders = node.poll(&teller(vec![], 1)).await?;
        let lease = orders.begin.into_iter().next().ok_or("the task went elsewhere: is there another such node?")?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        Ok(Self { node, lease, watchers })
    }

    /// Tells lines; returns how many should have come, and how long each took that did, microseconds, the shortest first.
    async fn tell(self, lasting: Duration) -> Result<(usize, Vec<u128>), Failed> {
        let Self { node, lease, watchers } = self;
        let holding = vec![Holding { task: lease.task, epoch: lease.epoch }];
        let (began, mut lines) = (Instant::now(), 0);
        while began.elapsed() < lasting {
            lines += 1;
            node.tell(lease.task, &tell(lease.epoch, lines, 1)).await?;
            if lines % 50 == 0 {
                node.poll(&teller(holding.clone(), 0)).await?;
            }
            tokio::time::sleep(OFTEN).await;
        }
        node.complete(lease.task, &Complete { epoch: lease.epoch, failure: None, artifacts: vec![] }).await?;
        let (wanted, mut late) = (watchers.len() * lines as usize, vec![]);
        for watcher in watchers {
            late.extend(watcher.await?);
        }
        late.sort_unstable();
        Ok((wanted, late))
    }
}

/// What the node asks that tells the log.
fn teller(holding: Vec<Holding>, free: u32) -> Poll {
    let (architectures, capabilities) = (vec![Arch::Amd64], [TELLS.to_owned()].into());
    let resources = Resources { architectures, capabilities, slots: 1, ..Resources::default() };
    Poll { free, resources, holding, stopping: vec![], draining: false, wait: u64::from(free) * 5000 }
}

/// Follows a log to its end; returns how long each line took, microseconds.
async fn follow(client: Client, build: BuildId) -> Vec<u128> {
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
}
