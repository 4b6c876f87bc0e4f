//! The node's loop: say what there is, hear what to do, do it, again.
//!
//! It keeps no plan of its own. Each poll tells the server everything, and its answer is obeyed at once, so a lost poll or answer
//! costs one round: a lease that did not arrive is not held in the next poll, and goes out again. News (a build that ended, a
//! wish to end) breaks off the poll that waits, for the same reason.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kiln_farm_api::{Client, Error, Holding, Lease, Orders, Poll};
use kiln_model::Fault;
use kiln_model::fault::OrFault as _;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::backoff::Backoff;
use crate::child::{self, RECORD};
use crate::config::Config;
use crate::decide::{self, Change, Room, holding};
use crate::home::{self, Home};
use crate::resources;
use crate::stages::Stages;
use crate::stop::Stop;
use crate::task::{self, Shop};

/// What whoever started the node wants of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wish {
    Work,
    /// End what there is, take nothing more, leave.
    Drain,
    /// Stop what there is and leave.
    Stop,
}

/// Builds that began a shorter time ago have not taken their memory yet.
const YOUNG: Duration = Duration::from_secs(30);
/// A node that drains waits no longer than this for a server that is away; its results stay on disk.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two attempts to make room in the cache.
const AGAIN: Duration = Duration::from_secs(600);
/// How much longer than it was allowed to a server may think.
const LATE: Duration = Duration::from_secs(20);

/// Works for the server until it is wished to end.
pub async fn run(config: Config, mut wish: watch::Receiver<Wish>) -> Result<(), Fault> {
    let home = Home::open(&config.data)?;
    let client = Client::trusting(config.server.clone(), config.credential.0.clone(), config.trust.clone());
    clean(&home, config.grace).await?;
    let stages = Stages::begin(home.stages(), client.clone());
    let stages =
        stages.inspect_err(|error| tracing::warn!("share stages with other nodes: {error}; it builds without"));
    let mut agent = Agent::new(Shop { config, client, home, stages: stages.ok() });
    agent.take_up()?;
    agent.work(&mut wish).await
}

/// Sees off what a node that died has left: its kilns, then their folders.
async fn clean(home: &Home, grace: Duration) -> Result<(), Fault> {
    let left = home.left_work().farm(|| "look for work that was left".into())?;
    let mut cleaning = JoinSet::new();
    for folder in left {
        tracing::info!("work that was cut off is cleaned away: `{}`", folder.display());
        cleaning.spawn_blocking(move || {
            child::see_off(&folder.join(RECORD), grace);
            home::remove(&folder);
        });
    }
    cleaning.join_all().await;
    Ok(())
}

struct Agent {
    shop: Arc<Shop>,
    held: BTreeMap<Holding, Held>,
    tasks: JoinSet<()>,
    /// Which task of the runtime does which of the farm.
    ids: HashMap<tokio::task::Id, Holding>,
    news: mpsc::UnboundedSender<Holding>,
    heard: mpsc::UnboundedReceiver<Holding>,
    wish: Wish,
    /// Since when the server could not be spoken to.
    away: Option<Instant>,
    /// When the cache was last asked to make room.
    collected: Option<Instant>,
}

/// A task this node has.
struct Held {
    stop: Stop,
    /// Since when it builds; none where its result is on its way.
    builds: Option<Instant>,
}

impl Agent {
    fn new(shop: Shop) -> Self {
        let (news, heard) = mpsc::unbounded_channel();
        let (shop, wish) = (Arc::new(shop), Wish::Work);
        let (tasks, ids) = (JoinSet::new(), HashMap::new());
        Self { shop, held: BTreeMap::new(), tasks, ids, news, heard, wish, away: None, collected: None }
    }

    /// Takes up the results that were left.
    fn take_up(&mut self) -> Result<(), Fault> {
        for holding in self.shop.home.left_results().farm(|| "look for results that were left".into())? {
            tracing::info!(task = %holding.task, "a result that was left is taken up");
            let stop = Stop::new();
            self.start(holding, None, stop.clone(), task::resume(self.shop.clone(), holding, stop));
        }
        Ok(())
    }

    async fn work(&mut self, wish: &mut watch::Receiver<Wish>) -> Result<(), Fault> {
        let mut backoff = Backoff::of_calls();
        while !self.is_done() {
            let poll = self.poll();
            let free = poll.free;
            let (client, wait) = (self.shop.client.clone(), self.shop.config.wait);
            let asked = async {
                let answer = ask(&client, &poll, wait).await;
                if answer.is_err() {
                    backoff.pause().await;
                }
                answer
            };
            tokio::select! {
                answer = asked => match answer {
                    Ok(orders) => {
                        backoff.reset();
                        self.obey(orders, free);
                    }
                    Err(error) => self.not_heard(&error)?,
                },
                Some(holding) = self.heard.recv() => self.built(holding),
                Some(ended) = self.tasks.join_next_with_id() => self.gone(&ended.map_or_else(|error| error.id(), |(id, ())| id)),
                () = wished(wish, self.wish) => self.wished(*wish.borrow_and_update()),
            }
        }
        self.take_leave().await;
        Ok(())
    }

    /// Whether the wish to end is fulfilled.
    fn is_done(&self) -> bool {
        let builds = self.held.values().any(|held| held.builds.is_some());
        let away = self.away.is_some_and(|since| since.elapsed() > PATIENCE);
        match self.wish {
            Wish::Work => false,
            Wish::Drain => self.held.is_empty() || (!builds && away),
            Wish::Stop => !builds && !self.held.values().any(|held| held.stop.is_asked()),
        }
    }

    fn poll(&mut self) -> Poll {
        let Config { slots, build_memory, build_disk, min_disk, wait, .. } = self.shop.config;
        let mut resources = resources::look(&self.shop.config);
        let since = || self.held.values().filter_map(|held| held.builds);
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let room = Room {
            slots,
            running: count(since().count()),
            young: count(since().filter(|since| since.elapsed() < YOUNG).count()),
            memory_free: resources.memory_free,
            build_memory,
            disk_free: resources.disk_free,
            min_disk,
            build_disk,
            draining: self.wish > Wish::Work,
        };
        let written = self.shop.home.try_to_write().and_then(|()| home::try_to_write(&self.shop.config.cache));
        let free = decide::free(&room, written.err().map(|error| error.to_string()));
        if free.full {
            self.collect();
        }
        resources.refusing = free.refusing;
        let holding = self.held.keys().copied().collect();
        // A server that was away is not made to wait as well.
        let wait = if self.away.is_some() { 0 } else { wait.as_millis() as u64 };
        let stopping = self.held.iter().filter(|(_, held)| held.stop.is_asked()).map(|(holding, _)| *holding).collect();
        Poll { resources, holding, stopping, free: free.free, draining: room.draining, wait }
    }

    /// Lets the cache give back what a build needs, and what builds that were cut off have left in it; not again and again where that
    /// does not help.
    fn collect(&mut self) {
        if self.wish > Wish::Work || self.collected.is_some_and(|since| since.elapsed() < AGAIN) {
            return;
        }
        self.collected = Some(Instant::now());
        let shop = self.shop.clone();
        self.tasks.spawn(async move {
            let Config { min_disk, build_disk, slots, .. } = shop.config;
            let wanted = min_disk.saturating_add(build_disk.saturating_mul(slots.into()));
            match child::collect(&shop.config.kiln, &shop.config.cache, wanted).await {
                Ok(said) => tracing::info!("the cache makes room: {said}"),
                Err(error) => tracing::error!("make room in the cache: {error}"),
            }
        });
    }

    fn obey(&mut self, orders: Orders, free: u32) {
        if self.away.take().is_some() {
            tracing::info!("the server answers again");
        }
        let held: BTreeSet<Holding> = self.held.keys().copied().collect();
        for change in decide::changes(&held, orders, if self.wish == Wish::Work { free } else { 0 }) {
            match change {
                Change::Stop(holding) => self.stop(holding),
                Change::Begin(lease) => self.begin(lease),
            }
        }
    }

    fn begin(&mut self, lease: Lease) {
        let (holding, stop, news) = (holding(&lease), Stop::new(), self.news.clone());
        tracing::info!(task = %lease.task, build = %lease.build, "begin {} of {}", lease.name, lease.build);
        let built = move || {
            let _ = news.send(holding);
        };
        let task = task::run(self.shop.clone(), lease, stop.clone(), built);
        self.start(holding, Some(Instant::now()), stop, task);
    }

    fn start(
        &mut self,
        holding: Holding,
        builds: Option<Instant>,
        stop: Stop,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.held.insert(holding, Held { stop, builds });
        self.ids.insert(self.tasks.spawn(task).id(), holding);
    }

    fn stop(&self, holding: Holding) {
        if let Some(held) = self.held.get(&holding) {
            tracing::info!(task = %holding.task, "stop");
            held.stop.ask();
        }
    }

    /// A slot is free.
    fn built(&mut self, holding: Holding) {
        if let Some(held) = self.held.get_mut(&holding) {
            held.builds = None;
        }
    }

    fn gone(&mut self, id: &tokio::task::Id) {
        if let Some(holding) = self.ids.remove(id) {
            tracing::info!(task = %holding.task, "done with it");
            self.held.remove(&holding);
        }
    }

    fn wished(&mut self, wish: Wish) {
        tracing::info!("the node is to end: {wish:?}");
        self.wish = wish;
        if wish == Wish::Stop {
            self.held.values().filter(|held| held.builds.is_some()).for_each(|held| held.stop.ask());
        }
    }

    /// A server that is away will be back; one that does not know this node will not.
    fn not_heard(&mut self, error: &Error) -> Result<(), Fault> {
        if let Error::Refused(problem) = error
            && matches!(problem.status, 401 | 403)
        {
            let server = &self.shop.config.server;
            let fault = Fault::farm(format!("ask `{server}` for work: {}", problem.title));
            return Err(fault.hint("its credential is not, or no longer, worth anything there: enrol the node again"));
        }
        if self.away.is_none() {
            tracing::warn!("{}", chain(error));
            self.away = Some(Instant::now());
        }
        Ok(())
    }

    /// Says what is held still, so that the server need not find out.
    async fn take_leave(&mut self) {
        self.tasks.shutdown().await;
        let results = self.shop.home.left_results().unwrap_or_default();
        self.held.retain(|holding, _| results.contains(holding));
        let poll = Poll { wait: 0, ..self.poll() };
        let _ = timeout(Duration::from_secs(5), self.shop.client.poll(&poll)).await;
    }
}

async fn ask(client: &Client, poll: &Poll, wait: Duration) -> Result<Orders, Error> {
    let late = || Error::Unreachable { server: client.server().to_string(), source: "it does not answer".into() };
    timeout(wait + LATE, client.poll(poll)).await.unwrap_or_else(|_| Err(late()))
}

/// Returns when something further is wished than `now`; never, when nobody can wish any more.
async fn wished(wish: &mut watch::Receiver<Wish>, now: Wish) {
    if wish.wait_for(|wish| *wish > now).await.is_err() {
        std::future::pending().await
    }
}

fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    text
}
