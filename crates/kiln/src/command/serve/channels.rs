//! Tells Redis of the farm's tasks that name a channel, out of the same log that everybody reads.
//!
//! Of the servers that share a database one tells of a task; where it dies another takes over from the beginning, and what Redis has
//! heard already is passed by (`kiln_adapter_pieman::Direct`). Tasks of one channel are told one after another.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use kiln_adapter_pieman::{Direct, Moment, Server, Settings};
use kiln_farm_api::points::{self, Point};
use kiln_farm_api::{Entry, FarmEvent, TaskId, TaskState, What};
use kiln_farm_server::Farm;
use kiln_farm_server::db::Kind;
use kiln_farm_server::db::channels::Heard;
use kiln_farm_server::error::Error;
use kiln_farm_server::http::events::follow;
use kiln_farm_server::http::sought::Sought;
use kiln_model::{Event, EventKind, FaultKind};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval};

/// How often it is looked for new tasks.
const LOOK: Duration = Duration::from_millis(250);
/// For how long a server says that it tells, milliseconds; it says so again three times meanwhile.
const HOLD: i64 = 30_000;

/// Tells Redis until it is aborted.
pub async fn run(farm: Farm, redis: Server) {
    let me = uuid::Uuid::now_v7().to_string();
    // Nobody else tells out of a SQLite; where this fails the old holds end by themselves.
    if farm.db.kind == Kind::Sqlite
        && let Err(error) = farm.db.write(|tx| async move { tx.take_over().await }.boxed()).await
    {
        tracing::warn!("take over what Redis is to hear: {}", chain(&error));
    }
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut tellers, mut told) = (JoinSet::<TaskId>::new(), BTreeSet::new());
    loop {
        looks.tick().await;
        while let Some(ended) = tellers.try_join_next() {
            // Of one that broke off the hold ends by itself.
            if let Ok(task) = ended {
                told.remove(&task);
            }
        }
        let found = match farm.db.untold(farm.now()).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!("look for tasks that Redis is to hear of: {}", chain(&error));
                continue;
            }
        };
        for heard in found {
            if told.contains(&heard.task) {
                continue;
            }
            if let Ok(Some(story)) = hold(&farm, heard.task, &me).await {
                told.insert(heard.task);
                let (farm, me, settings) = (farm.clone(), me.clone(), Settings::new(&heard.channel, redis.clone()));
                tellers.spawn(async move {
                    let task = heard.task;
                    tokio::select! {
                        done = tell(&farm, heard, story, settings, &me) => {
                            if let Err(error) = done {
                                tracing::warn!("tell Redis of a task: {}", chain(&error));
                            }
                        }
                        () = keep_hold(&farm, task, &me) => {}
                    }
                    task
                });
            }
        }
    }
}

/// Says that this server tells of a task, and returns the number of its story; none: another one does.
async fn hold(farm: &Farm, task: TaskId, me: &str) -> Result<Option<i64>, Error> {
    let (now, me) = (farm.now(), me.to_owned());
    farm.db.write(move |tx| async move { tx.claim(task, &me, now, now + HOLD).await }.boxed()).await
}

/// Returns when this server tells no more, for it was away for too long.
async fn keep_hold(farm: &Farm, task: TaskId, me: &str) {
    loop {
        tokio::time::sleep(Duration::from_millis(HOLD as u64 / 3)).await;
        // A database that is away for a moment gives the hold to nobody.
        if let Ok(None) = hold(farm, task, me).await {
            return;
        }
    }
}

/// Tells of a task to its end.
async fn tell(farm: &Farm, heard: Heard, story: i64, settings: Settings, me: &str) -> Result<(), Error> {
    let (after, began) = beginning(farm, &heard).await?;
    let mut direct = Direct::start(settings, story as u64, pass);
    let mut retold = Retold::new(began);
    let sought = Sought { task: Some(heard.task), ..Sought::default() };
    let mut entries = pin!(follow(farm.clone(), heard.build, after, sought));
    while !direct.is_over() {
        let Some(told) = entries.next().await else { break };
        let entry: Entry = serde_json::from_str(&told.json).map_err(|error| Error::failed("read a log", error))?;
        retold.entry(entry).into_iter().for_each(|event| direct.event(&event));
    }
    if !direct.is_over() {
        // The log broke off; whoever takes the task up next tells it again.
        return Ok(());
    }
    let delivery = spawn_blocking(move || direct.close()).await.map_err(|error| Error::failed("tell Redis", error))?;
    delivery.words().iter().for_each(|words| tracing::warn!("channel `{}`: {words}", heard.channel));
    if !delivery.undelivered.is_empty() {
        // Who takes it up when this hold is over tells what did not arrive.
        return Ok(());
    }
    let (task, me) = (heard.task, me.to_owned());
    farm.db.write(move |tx| async move { tx.told_all(task, &me).await }.boxed()).await
}

/// Where a test kills this server or the Redis it tells.
fn pass(moment: Moment) {
    points::pass(match moment {
        Moment::Telling => Point::Telling,
        Moment::Told => Point::Told,
    });
}

/// Returns after which entry of the log a task's story begins, and when: with the build, or when it was last told to run again.
async fn beginning(farm: &Farm, heard: &Heard) -> Result<(u64, i64), Error> {
    let again =
        |entry: &Entry| entry.task == Some(heard.task) && matches!(entry.what, What::Farm(FarmEvent::TaskAgain { .. }));
    match farm.db.steps(heard.build).await?.iter().rev().find(|entry| again(entry)) {
        Some(entry) => Ok((entry.seq, entry.at)),
        None => Ok((0, farm.db.build(heard.build, farm.now()).await?.created)),
    }
}

/// Entries of the farm's log as events of one build: it ends once, whatever nodes say on the way.
struct Retold {
    began: i64,
    last: u64,
    /// What a node said of a failure: whether that is the end the farm decides.
    failed: Option<EventKind>,
}

impl Retold {
    fn new(began: i64) -> Self {
        Self { began, last: 0, failed: None }
    }

    fn entry(&mut self, entry: Entry) -> Option<Event> {
        // Of several clocks none goes back.
        self.last = self.last.max(entry.at.saturating_sub(self.began).max(0) as u64);
        let kind = match entry.what {
            What::Build(EventKind::Finished { .. }) => return None,
            What::Build(failed @ EventKind::Failed { .. }) => {
                self.failed = Some(failed);
                return None;
            }
            What::Build(kind) => kind,
            What::Farm(event) => self.farm(event)?,
        };
        Some(Event { seq: entry.seq, at: self.last, kind })
    }

    fn farm(&mut self, event: FarmEvent) -> Option<EventKind> {
        let warning = |message: String| Some(EventKind::Warning { message });
        match event {
            FarmEvent::TaskLost { node_name, .. } => warning(format!("node {node_name} was lost; it begins again")),
            FarmEvent::TaskLeft { node_name, .. } => warning(format!("node {node_name} left it; it begins again")),
            FarmEvent::TaskEnded { state: TaskState::Done, .. } => Some(EventKind::Finished { millis: self.last }),
            FarmEvent::TaskEnded { state, reason, .. } if state.is_final() => {
                let message = reason.unwrap_or_else(|| format!("it was {}", state.name()));
                let fault = if state == TaskState::Cancelled { FaultKind::Interrupted } else { FaultKind::Farm };
                let (stage, hint, detail, diagnostics) = (None, None, None, vec![]);
                let said = EventKind::Failed { stage, fault, message, hint, detail, diagnostics };
                // A node knows more than that it ended, where that was not for another reason.
                let known = self.failed.take().filter(|_| state == TaskState::Failed);
                Some(known.unwrap_or(said))
            }
            FarmEvent::TaskEnded { reason, .. } => {
                self.failed = None;
                warning(format!("{}; it begins again", reason.unwrap_or_else(|| "it did not end well".into())))
            }
            FarmEvent::TaskLeased { node_name, .. } => {
                let line = format!("goes to {node_name}");
                Some(EventKind::Log { stage: None, source: "farm".into(), line })
            }
            FarmEvent::Submitted { .. }
            | FarmEvent::TaskAgain { .. }
            | FarmEvent::CancelAsked { .. }
            | FarmEvent::BuildEnded { .. } => None,
        }
    }
}

fn chain(error: &Error) -> String {
    kiln_farm_server::error::chain(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_once() {
        let failed = |message: &str| EventKind::Failed {
            stage: None,
            fault: FaultKind::Again,
            message: message.into(),
            hint: None,
            detail: None,
            diagnostics: vec![],
        };
        let ended = |state, reason: Option<&str>| {
            let task_name = "image".parse().unwrap();
            What::Farm(FarmEvent::TaskEnded { task_name, state, reason: reason.map(str::to_owned) })
        };
        let mut retold = Retold::new(1000);
        let mut tell = |seq, at, what| {
            retold
                .entry(Entry { seq, at, task: None, epoch: None, what })
                .map(|event| (event.seq, event.at, event.kind))
        };
        assert_eq!(tell(1, 1500, What::Build(failed("the mirror is busy"))), None);
        let again = tell(2, 1400, ended(TaskState::Queued, Some("the mirror is busy"))).unwrap();
        let warning = EventKind::Warning { message: "the mirror is busy; it begins again".into() };
        assert_eq!(again, (2, 500, warning), "time does not go back");
        assert_eq!(tell(3, 2000, What::Build(EventKind::Finished { millis: 3 })), None, "the farm has the last word");
        assert_eq!(tell(4, 3000, ended(TaskState::Done, None)), Some((4, 2000, EventKind::Finished { millis: 2000 })));
        assert_eq!(tell(5, 3000, What::Build(failed("a script failed"))), None);
        let end = tell(6, 3000, ended(TaskState::Failed, Some("short"))).unwrap();
        assert_eq!(end.2, failed("a script failed"));
    }
}
