//! Numbers for whoever watches the farm: what happened since the start is counted as it happens, how things stand is looked up when
//! somebody asks.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use kiln_farm_api::{BuildState, NodeState, TaskState};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::db::counts::Counts;
use crate::error::Result;
use crate::farm::Farm;

/// What has happened since the server began.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    rounds: Histogram,
    failed_rounds: Counter,
    transactions: Histogram,
    jobs: Histogram,
    failed_transactions: Counter,
    store_failures: Counter,
    requests: Family<Request, Counter>,
    durations: Family<Route, Histogram>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: String,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    method: String,
    route: String,
}

/// Bounds of durations, seconds: from what memory answers to what a disk under load takes.
const DURATIONS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];
/// Bounds of the jobs that share a transaction.
const JOBS: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];

fn durations() -> Histogram {
    Histogram::new(DURATIONS)
}

impl Default for Metrics {
    fn default() -> Self {
        let this = Self {
            registry: Registry::default(),
            rounds: durations(),
            failed_rounds: Counter::default(),
            transactions: durations(),
            jobs: Histogram::new(JOBS),
            failed_transactions: Counter::default(),
            store_failures: Counter::default(),
            requests: Family::default(),
            durations: Family::new_with_constructor(durations),
        };
        this.registered()
    }
}

impl Metrics {
    fn registered(mut self) -> Self {
        let all = &mut self.registry;
        let round = "Rounds of the dispatcher";
        all.register_with_unit("kiln_dispatcher_round_duration", round, Unit::Seconds, self.rounds.clone());
        let failed = "Rounds of the dispatcher that failed";
        all.register("kiln_dispatcher_round_failures", failed, self.failed_rounds.clone());
        let transaction = "Transactions of the database's writer";
        all.register_with_unit(
            "kiln_writer_transaction_duration",
            transaction,
            Unit::Seconds,
            self.transactions.clone(),
        );
        all.register("kiln_writer_transaction_jobs", "Jobs that shared a transaction", self.jobs.clone());
        let failed = "Transactions that the database did not take";
        all.register("kiln_writer_transaction_failures", failed, self.failed_transactions.clone());
        let failed = "Requests that the store of blobs did not answer as it should";
        all.register("kiln_store_failures", failed, self.store_failures.clone());
        all.register("kiln_http_requests", "Requests that were answered", self.requests.clone());
        let until = "Time until an answer began";
        all.register_with_unit("kiln_http_request_duration", until, Unit::Seconds, self.durations.clone());
        self
    }

    /// Notes a round of the dispatcher.
    pub fn round(&self, took: Duration, well: bool) {
        self.rounds.observe(took.as_secs_f64());
        self.failed_rounds.inc_by(u64::from(!well));
    }

    /// Notes a transaction of the writer.
    pub fn transaction(&self, jobs: usize, took: Duration, well: bool) {
        self.transactions.observe(took.as_secs_f64());
        self.jobs.observe(jobs as f64);
        self.failed_transactions.inc_by(u64::from(!well));
    }

    /// Notes that the store of blobs failed.
    pub fn store_failed(&self) {
        self.store_failures.inc();
    }

    /// Notes a request; `route` is the pattern that answered it, never the path that somebody made up.
    pub fn request(&self, method: &str, route: &str, status: u16, took: Duration) {
        let (method, route) = (method.to_owned(), route.to_owned());
        self.durations
            .get_or_create(&Route { method: method.clone(), route: route.clone() })
            .observe(took.as_secs_f64());
        self.requests.get_or_create(&Request { method, route, status }).inc();
    }
}

/// Returns everything as the OpenMetrics text that Prometheus reads.
pub async fn text(farm: &Farm) -> Result<String> {
    let standing = standing(farm).await?;
    let mut text = String::new();
    encode_registry(&mut text, &farm.metrics.registry)
        .and_then(|()| encode_registry(&mut text, &standing))
        .and_then(|()| encode_eof(&mut text))
        .map_err(|error| crate::error::Error::failed("write metrics", error))?;
    Ok(text)
}

type States = Family<[(&'static str, &'static str); 1], Gauge>;
type Seconds = Gauge<f64, AtomicU64>;

fn states(all: impl IntoIterator<Item = (&'static str, i64)>) -> States {
    let family = States::default();
    for (state, count) in all {
        family.get_or_create(&[("state", state)]).inc_by(count);
    }
    family
}

fn gauge(value: impl TryInto<i64>) -> Gauge {
    let gauge: Gauge = Gauge::default();
    gauge.set(value.try_into().unwrap_or(i64::MAX));
    gauge
}

/// Returns how things stand now.
async fn standing(farm: &Farm) -> Result<Registry> {
    let now = farm.now();
    let counts = farm.db.counts().await?;
    let nodes = farm.db.nodes(now).await?;
    let mut all = Registry::default();
    all.register("kiln", "The server itself", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
    let count = |counted: &[(String, i64)], name: &str| {
        counted.iter().find(|(state, _)| state == name).map_or(0, |(_, count)| *count)
    };
    let Counts { builds, tasks, oldest, blobs, bytes, parked } = counts;
    let builds = BuildState::ALL.map(|state| (state.name(), count(&builds, state.name())));
    all.register("kiln_builds", "Builds", states(builds));
    all.register("kiln_queue_length", "Tasks that a node may take", gauge(count(&tasks, TaskState::Queued.name())));
    let tasks = TaskState::ALL.map(|state| (state.name(), count(&tasks, state.name())));
    all.register("kiln_tasks", "Tasks", states(tasks));
    let age = Seconds::default();
    age.set(oldest.map_or(0.0, |oldest| (now - oldest).max(0) as f64 / 1000.0));
    all.register_with_unit("kiln_queue_oldest_age", "How long the oldest task waits in the queue", Unit::Seconds, age);
    let empty = NodeState::ALL.map(|state| (state.name(), 0));
    let known = nodes.iter().map(|node| (node.state.name(), 1));
    all.register("kiln_nodes", "Nodes", states(empty.into_iter().chain(known)));
    let here = || nodes.iter().filter(|node| matches!(node.state, NodeState::Ready | NodeState::Draining));
    let slots: u32 = here().filter_map(|node| node.resources.as_ref()).map(|has| has.slots).sum();
    all.register("kiln_slots", "Builds that the nodes there are do at once", gauge(slots));
    let busy: usize = here().map(|node| node.holding.len()).sum();
    all.register("kiln_slots_busy", "Builds that the nodes there are have now", gauge(busy));
    all.register("kiln_blobs", "Blobs in the store", gauge(blobs));
    all.register_with_unit("kiln_blobs", "Bytes of the blobs in the store", Unit::Bytes, gauge(bytes));
    let unfinished = "Bytes of unfinished uploads in the bucket";
    all.register_with_unit("kiln_uploads_parked", unfinished, Unit::Bytes, gauge(parked));
    let disk = farm.blobs.uploads.disk()?;
    let free = "Bytes that may still be written to the disk of the server's folder";
    all.register_with_unit("kiln_disk_free", free, Unit::Bytes, gauge(disk.free));
    all.register_with_unit("kiln_disk_size", "Bytes of that disk", Unit::Bytes, gauge(disk.size));
    all.register("kiln_watchers", "Followers of build logs", gauge(farm.hub.watchers()));
    if let Some(memory) = resident() {
        all.register_with_unit("process_resident_memory", "Memory of this process", Unit::Bytes, gauge(memory));
    }
    Ok(all)
}

/// Returns the memory that this process has, where the kernel says.
fn resident() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Returns a method's name, or one for all that nobody knows: who asks is not to choose how many there are.
pub fn method(name: &str) -> &str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|known| *known == name).unwrap_or("other")
}
