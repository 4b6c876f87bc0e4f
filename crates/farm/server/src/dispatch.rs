//! Looks at everything, decides, changes, repeats: the one place where tasks go to nodes.
//!
//! Polls wait here until there is something to say to their node. A round takes all that wait, in one transaction: what each node
//! holds is compared with the book, leases that are over end, and what is queued goes to whoever has room. A lost poll, or a
//! server that dies in between, costs a round: the next one sees the same picture.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use kiln_farm_api::{Holding, Name, NodeId, Orders, Poll};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;
use uuid::Uuid;

use crate::db::{Db, Kind, Tx, elsewhere};
use crate::decide::assign::assign;
use crate::decide::expire::{expire, too_long};
use crate::decide::hear::hear;
use crate::decide::{Asker, Change, State, Terms};
use crate::error::{Error, Result, chain};
use crate::farm::Clock;
use crate::metrics::Metrics;

/// The way to the dispatcher.
#[derive(Clone)]
pub struct Dispatch {
    polls: mpsc::Sender<Waiting>,
    wake: Arc<Notify>,
    /// Where other servers share the database: what tells them.
    others: Option<Others>,
}

/// The way to the dispatchers of other servers.
#[derive(Clone)]
struct Others {
    /// What this server calls itself.
    own: Arc<str>,
    tell: Arc<Notify>,
}

/// A node that waits for an answer.
struct Waiting {
    node: NodeId,
    name: Name,
    poll: Poll,
    /// Whether what it holds was looked at.
    heard: bool,
    until: Instant,
    answer: oneshot::Sender<Orders>,
}

/// Longest time a poll waits.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often the clock is looked at when nothing happens.
const TICK: Duration = Duration::from_millis(500);

impl Dispatch {
    /// Starts the dispatcher.
    pub fn start(db: Db, terms: Terms, clock: Clock, metrics: Arc<Metrics>) -> Self {
        let (polls, asked) = mpsc::channel(4096);
        let wake = Arc::new(Notify::new());
        let rounds = Rounds { db: db.clone(), terms, clock, metrics, waiting: vec![] };
        tokio::spawn(rounds.run(asked, wake.clone()));
        let others = (db.kind == Kind::Postgres).then(|| {
            let others = Others { own: Uuid::now_v7().to_string().into(), tell: Arc::default() };
            tokio::spawn(others.clone().run(db));
            others
        });
        Self { polls, wake, others }
    }

    /// Says that there may be something to do: a task was queued, or is to stop. Other servers hear of it too.
    pub fn wake(&self) {
        self.wake.notify_one();
        self.others.iter().for_each(|others| others.tell.notify_one());
    }

    /// Returns what wakes this server's dispatcher alone, and what others know it by.
    pub fn alone(&self) -> (Arc<Notify>, String) {
        (self.wake.clone(), self.others.as_ref().map_or_else(String::new, |others| others.own.to_string()))
    }

    /// Waits until there is something to say to a node.
    pub async fn poll(&self, node: NodeId, name: Name, poll: Poll) -> Result<Orders> {
        let (answer, answered) = oneshot::channel();
        let until = Instant::now() + Duration::from_millis(poll.wait).min(PATIENCE);
        let waiting = Waiting { node, name, poll, heard: false, until, answer };
        let ended = || Error::failed("ask the dispatcher", "it has ended");
        self.polls.send(waiting).await.map_err(|_| ended())?;
        // Its place may have been taken by a newer poll of the same node.
        Ok(answered.await.unwrap_or_default())
    }
}

impl Others {
    /// Tells them, once for all that was done while they were told.
    async fn run(self, db: Db) {
        loop {
            self.tell.notified().await;
            // Who does not hear looks now and then.
            if let Err(error) = elsewhere::wake(db.reader(), &self.own).await {
                tracing::debug!("other servers are not told of work: {error}");
            }
        }
    }
}

struct Rounds {
    db: Db,
    terms: Terms,
    clock: Clock,
    metrics: Arc<Metrics>,
    waiting: Vec<Waiting>,
}

impl Rounds {
    async fn run(mut self, mut asked: mpsc::Receiver<Waiting>, wake: Arc<Notify>) {
        loop {
            let soonest = self.waiting.iter().map(|waiting| waiting.until).min();
            let pause = soonest.map_or(TICK, |until| until.saturating_duration_since(Instant::now()).min(TICK));
            tokio::select! {
                poll = asked.recv() => match poll {
                    Some(poll) => self.take(poll),
                    None => return,
                },
                () = wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
            while let Ok(poll) = asked.try_recv() {
                self.take(poll);
            }
            self.waiting.retain(|waiting| !waiting.answer.is_closed());
            let began = Instant::now();
            let orders = self.round().await;
            self.metrics.round(began.elapsed(), orders.is_ok());
            match orders {
                Ok(orders) => self.answer(orders),
                Err(error) => {
                    tracing::error!("a round of the dispatcher: {}", chain(&error));
                    tokio::time::sleep(TICK).await;
                }
            }
        }
    }

    fn take(&mut self, poll: Waiting) {
        self.waiting.retain(|waiting| waiting.node != poll.node);
        self.waiting.push(poll);
    }

    fn answer(&mut self, mut orders: BTreeMap<NodeId, Orders>) {
        let now = Instant::now();
        for mut waiting in std::mem::take(&mut self.waiting) {
            waiting.heard = true;
            let orders = orders.remove(&waiting.node).unwrap_or_default();
            if orders != Orders::default() || waiting.until <= now {
                let _ = waiting.answer.send(orders);
            } else {
                self.waiting.push(waiting);
            }
        }
    }

    async fn round(&self) -> Result<BTreeMap<NodeId, Orders>> {
        let nodes: Vec<_> = self.waiting.iter().map(Seen::of).collect();
        let (terms, now) = (self.terms, (self.clock)());
        self.db.write(move |tx| round(tx, nodes, now, terms).boxed()).await
    }
}

/// What a round looks at of a node that waits.
struct Seen {
    node: NodeId,
    name: Name,
    poll: Option<Poll>,
    free: u32,
    /// What it stops already.
    stopping: Vec<Holding>,
    resources: kiln_farm_api::Resources,
}

impl Seen {
    fn of(waiting: &Waiting) -> Self {
        let Poll { resources, free, draining, .. } = &waiting.poll;
        Self {
            node: waiting.node,
            name: waiting.name.clone(),
            poll: (!waiting.heard).then(|| waiting.poll.clone()),
            free: if *draining { 0 } else { *free },
            stopping: waiting.poll.stopping.clone(),
            resources: resources.clone(),
        }
    }
}

async fn round(tx: &mut Tx, nodes: Vec<Seen>, now: i64, terms: Terms) -> Result<BTreeMap<NodeId, Orders>> {
    let mut orders: BTreeMap<NodeId, Orders> = BTreeMap::new();
    // Who was sent away while waiting here gets nothing more.
    let revoked = tx.revoked().await?;
    let nodes: Vec<Seen> = nodes.into_iter().filter(|seen| !revoked.contains(&seen.node)).collect();
    // Before nodes are heard, so that each is told at once; those that wait already are told here.
    let long = tx.too_long(now).await?;
    tx.apply(too_long(&long, now), now).await?;
    for task in &long {
        if let State::Running { node, stopping: false, .. } = task.state {
            orders.entry(node).or_default().stop.push(Holding { task: task.id, epoch: task.epoch });
        }
    }
    for seen in &nodes {
        let Some(poll) = &seen.poll else { continue };
        tx.heard(seen.node, &poll.resources, poll.draining, now).await?;
        let heard = hear(seen.node, &poll.holding, poll.draining, &tx.running_on(seen.node).await?, now, &terms);
        let told = orders.entry(seen.node).or_default();
        told.stop.extend(heard.stop);
        told.stop.sort_unstable();
        told.stop.dedup();
        tx.apply(heard.changes, now).await?;
    }
    for (node, lease) in tx.to_stop().await? {
        let told = orders.entry(node).or_default();
        if !told.stop.contains(&lease) {
            told.stop.push(lease);
        }
    }
    for seen in &nodes {
        if let Some(told) = orders.get_mut(&seen.node) {
            told.stop.retain(|lease| !seen.stopping.contains(lease));
        }
    }
    let over = tx.over(now).await?;
    tx.apply(expire(&over, now, &terms), now).await?;
    for (node, lease) in leases(tx, &nodes, now, &terms).await? {
        let lease = tx.lease(lease).await?;
        orders.entry(node).or_default().begin.push(lease);
    }
    Ok(orders)
}

async fn leases(tx: &mut Tx, nodes: &[Seen], now: i64, terms: &Terms) -> Result<Vec<(NodeId, Holding)>> {
    let asks = nodes.iter().filter(|seen| seen.free > 0);
    let asker = |seen: &Seen| Asker {
        node: seen.node,
        name: seen.name.clone(),
        free: seen.free,
        resources: seen.resources.clone(),
    };
    let mut askers: Vec<Asker> = asks.map(asker).collect();
    if askers.is_empty() {
        return Ok(vec![]);
    }
    let ready = tx.ready(now, askers.iter().map(|asker| asker.free).sum()).await?;
    if ready.is_empty() {
        return Ok(vec![]);
    }
    let shares = tx.shares().await?;
    let made = tx.apply(assign(ready, &shares, &mut askers, now, terms), now).await?;
    let leased = made.into_iter().filter_map(|change| match change {
        Change::Lease { task, epoch, node, .. } => Some((node, Holding { task, epoch: epoch + 1 })),
        _ => None,
    });
    Ok(leased.collect())
}
