//! Build logs: a page, a stream, or plain text.

use std::convert::Infallible;
use std::time::Duration;

use anstream::adapter::strip_str;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::{Stream, StreamExt as _, stream};
use kiln_farm_api::{BuildId, Entry, FarmEvent, Page, Problem, Role, TaskId, What};
use kiln_model::{EventKind, StageKind};
use serde::Deserialize;
use tokio::sync::watch;
use utoipa::IntoParams;

use super::builds::seen;
use super::caller::{Pass, Person};
use super::sought::{self, Sought};
use crate::db::{Kind, Wanted};
use crate::error::{Error, Result, chain};
use crate::farm::Farm;
use crate::hub::Told;

/// Which part of a log is wanted.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct Part {
    /// Only what comes after this number; in a stream `Last-Event-ID` says the same and wins.
    pub after: u64,
    /// Only the last so many entries.
    pub tail: Option<u64>,
    /// Only entries with this text in what they say to people, whatever its case.
    pub q: Option<String>,
    /// Only what belongs to this stage.
    #[param(value_type = Option<String>)]
    pub stage: Option<StageKind>,
    /// Only what belongs to this task.
    pub task: Option<TaskId>,
    /// Only what happened then or later: milliseconds since 1970.
    pub since: Option<i64>,
    /// 1000 where it does not say, 2000 at most; text and streams have no limit.
    pub limit: Option<u64>,
}

impl Part {
    fn sought(&self) -> Sought {
        let text = self.q.clone().filter(|text| !text.is_empty());
        Sought { text, stage: self.stage, task: self.task, since: self.since }
    }
}

/// Shows a build's log: a page of entries, or with `Accept: text/event-stream` all of them as they come.
#[utoipa::path(get, path = "/builds/{build}/events", tag = "builds", params(("build" = BuildId, Path), Part,
        ("last-event-id" = Option<u64>, Header, description = "go on after this number")),
    responses((status = 200, content((Page = "application/json"), (Entry = "text/event-stream"))), (status = 404, body = Problem)))]
pub async fn events(
    State(farm): State<Farm>,
    person: Person,
    Path(id): Path<BuildId>,
    Query(part): Query<Part>,
    headers: HeaderMap,
) -> Result<Response> {
    seen(&farm, &person, id, Role::Viewer).await?;
    let streams = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|kinds| kinds.contains("text/event-stream"));
    if !streams {
        let limit = part.limit.unwrap_or(1000).clamp(1, 2000);
        let wanted = sought::Part { after: part.after, tail: part.tail, limit };
        return Ok(Json(farm.log(id, &part.sought(), wanted).await?).into_response());
    }
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()).and_then(|value| value.parse().ok());
    let mut after = last.unwrap_or(part.after);
    if let (None, Some(tail)) = (last, part.tail) {
        after = after.max(farm.db.standing(id).await?.0.saturating_sub(tail));
    }
    let message = |told: Told| Ok::<_, Infallible>(Message::default().id(told.seq.to_string()).data(&*told.json));
    let often = Duration::from_millis(farm.terms.watch.max(1) as u64);
    let refused = refused(farm.clone(), Pass::of(&headers)?, id, often);
    let messages = follow(farm, id, after, part.sought()).map(message).take_until(refused);
    let mut response = Sse::new(messages).keep_alive(KeepAlive::new().interval(often)).into_response();
    // A proxy is not to wait for more.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// Ends when who follows a log may not look at it any more, which is asked every so `often`.
async fn refused(farm: Farm, pass: Pass, build: BuildId, often: Duration) {
    loop {
        tokio::time::sleep(often).await;
        if let Err(error) = may_look(&farm, &pass, build).await {
            // Where it is the database that failed, the watcher comes again and goes on where it is.
            tracing::debug!("nobody follows build {build} with this token or session any more: {}", chain(&error));
            return;
        }
    }
}

async fn may_look(farm: &Farm, pass: &Pass, build: BuildId) -> Result<()> {
    let person = pass.person(farm).await?;
    seen(farm, &person, build, Role::Viewer).await.map(drop)
}

/// How many entries are read from the database at once.
const BATCH: u64 = 500;

/// Where a watcher is in a log.
struct Follower {
    farm: Farm,
    build: BuildId,
    after: u64,
    changed: watch::Receiver<u64>,
    ready: std::vec::IntoIter<Told>,
    /// Whether the end was reached; a watcher who comes back then gets an answer that ends at once.
    ended: bool,
    sought: Sought,
}

/// Returns entries of a log as they come, until the build has ended and all are told.
pub fn follow(farm: Farm, build: BuildId, after: u64, sought: Sought) -> impl Stream<Item = Told> {
    // From here on what is written wakes us: nothing falls between this and the first look.
    let changed = farm.hub.watch(build);
    let follower = Follower { farm, build, after, changed, ready: vec![].into_iter(), ended: false, sought };
    stream::unfold(follower, |mut follower| async move {
        let told = follower.next().await?;
        Some((told, follower))
    })
}

impl Follower {
    async fn next(&mut self) -> Option<Told> {
        loop {
            if let Some(told) = self.ready.next() {
                self.after = told.seq;
                if self.wants(&told) {
                    return Some(told);
                }
                continue;
            }
            if self.ended {
                return None;
            }
            match self.more().await {
                Ok(()) => {}
                Err(error) => {
                    // The watcher comes again and goes on where it is.
                    tracing::warn!("follow build {}: {}", self.build, chain(&error));
                    return None;
                }
            }
        }
    }

    fn wants(&self, told: &Told) -> bool {
        self.sought.is_all() || serde_json::from_str(&told.json).is_ok_and(|entry| self.sought.takes(&entry))
    }

    async fn more(&mut self) -> Result<()> {
        self.changed.mark_unchanged();
        if let Some(recent) = self.farm.hub.after(self.build, self.after, BATCH as usize) {
            self.ready = recent.into_iter();
            return Ok(());
        }
        let (last, ended) = self.farm.db.standing(self.build).await?;
        if last > self.after {
            let wanted = Wanted { after: self.after, limit: BATCH, ..Wanted::default() };
            self.ready = self.farm.db.told(self.build, &wanted).await?.into_iter();
        } else if ended {
            self.ended = true;
        } else {
            self.wait().await;
        }
        Ok(())
    }

    /// Waits for the next entry; another server's are seen by looking where nobody tells of them.
    async fn wait(&mut self) {
        let told = self.farm.db.kind == Kind::Sqlite || self.farm.hub.listens();
        let longest = if told { Duration::from_secs(10) } else { Duration::from_millis(200) };
        let _ = tokio::time::timeout(longest, self.changed.changed()).await;
    }
}

/// Downloads a build's log as plain text.
#[utoipa::path(get, path = "/builds/{build}/log", tag = "builds", params(("build" = BuildId, Path), Part),
    responses((status = 200, content_type = "text/plain"), (status = 404, body = Problem)))]
pub async fn log(
    State(farm): State<Farm>,
    person: Person,
    Path(id): Path<BuildId>,
    Query(part): Query<Part>,
) -> Result<Response> {
    seen(&farm, &person, id, Role::Viewer).await?;
    let sought = part.sought();
    if let Some(tail) = part.tail {
        let wanted = sought::Part { after: part.after, tail: Some(tail), limit: tail.min(LONGEST_TAIL) };
        let page = farm.log(id, &sought, wanted).await?;
        return Ok((plain(), page.entries.iter().filter_map(line).collect::<String>()).into_response());
    }
    let pieces = stream::try_unfold((farm, part.after), move |(farm, after)| {
        let sought = sought.clone();
        async move {
            let page = farm.log(id, &sought, sought::Part { after, tail: None, limit: 500 }).await?;
            let Some(last) = page.entries.last().map(|entry| entry.seq) else { return Ok(None) };
            Ok::<_, Error>(Some((page.entries.iter().filter_map(line).collect::<String>(), (farm, last))))
        }
    });
    Ok((plain(), Body::from_stream(pieces)).into_response())
}

/// Most entries at the end of a log that are sent as one text.
const LONGEST_TAIL: u64 = 10_000;

fn plain() -> [(HeaderName, &'static str); 2] {
    [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")]
}

/// Returns an entry as a line of text, with its time.
pub fn line(entry: &Entry) -> Option<String> {
    let words = words(&entry.what)?;
    let time = jiff::Timestamp::from_millisecond(entry.at).unwrap_or_default();
    let time = time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ");
    Some(words.lines().map(|line| format!("{time} {line}\n")).collect())
}

/// Returns what an entry says to people; progress says nothing that lasts.
pub fn words(what: &What) -> Option<String> {
    Some(match what {
        What::Farm(event) => farm_words(event),
        What::Build(event) => build_words(event)?,
    })
}

fn farm_words(event: &FarmEvent) -> String {
    match event {
        FarmEvent::Submitted { by } => format!("submitted by {by}"),
        FarmEvent::TaskLeased { task_name, node_name, .. } => format!("{task_name}: goes to node {node_name}"),
        FarmEvent::TaskLost { task_name, node_name } => {
            format!("{task_name}: node {node_name} was lost; it goes out again")
        }
        FarmEvent::TaskLeft { task_name, node_name } => {
            format!("{task_name}: node {node_name} does not have it; it goes out again")
        }
        FarmEvent::TaskEnded { task_name, state, reason } => {
            let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("{task_name}: {}{reason}", state.name())
        }
        FarmEvent::TaskAgain { task_name, by } => format!("{task_name}: to be run again, says {by}"),
        FarmEvent::CancelAsked { by } => format!("{by} cancels it"),
        FarmEvent::BuildEnded { state } => format!("the build is {}", state.name()),
    }
}

fn build_words(event: &EventKind) -> Option<String> {
    Some(match event {
        EventKind::Progress { .. } => return None,
        EventKind::Started { name, stages } => format!("{name}: {} stages", stages.len()),
        EventKind::StageStarted { stage, .. } => format!("{}: begins", stage.name()),
        EventKind::StageRestored { stage, .. } => format!("{}: from the cache", stage.name()),
        EventKind::Log { source, line, .. } => format!("[{source}] {}", strip_str(line)),
        EventKind::Warning { message } => format!("warning: {message}"),
        EventKind::StageFinished { stage, millis, .. } => format!("{}: done in {millis} ms", stage.name()),
        EventKind::ArtifactWritten { artifact } => {
            format!("{}: {} bytes, sha256 {}", artifact.name, artifact.size, artifact.sha256)
        }
        EventKind::Failed { message, hint, detail, .. } => {
            let more =
                [hint.as_ref().map(|hint| format!("\nhint: {hint}")), detail.as_ref().map(|text| format!("\n{text}"))];
            more.into_iter().flatten().fold(format!("failed: {message}"), |text, more| text + &more)
        }
        EventKind::Finished { millis } => format!("done in {millis} ms"),
    })
}
