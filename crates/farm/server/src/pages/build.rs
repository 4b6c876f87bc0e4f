//! One build: its tasks and stages, its log, what it made.

use std::collections::BTreeMap;

use axum::extract::{Path, Query, State};
use axum::response::Redirect;
use kiln_farm_api::{
    Build, BuildId, Entry, Name, NodeId, Page as Log, Role, Stored, Task, TaskId, TaskState, What, routes,
};
use kiln_model::{EventKind, StageKind};
use maud::{Markup, html};
use serde::Deserialize;

use super::content;
use super::layout::page;
use super::words::{clock, moment, size, span, state};
use super::{NoPage, Page, Visitor};
use crate::farm::Farm;
use crate::http::builds::seen;
use crate::http::caller::Person;
use crate::http::events::words;
use crate::http::sought::{Part, Sought};

/// How many lines a page shows where there is no script.
const LINES: u64 = 500;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Search {
    q: String,
    /// A stage's name; empty: all of them.
    stage: String,
    /// With which entry of the whole log the page begins where there is no script; none: it shows the end.
    from: Option<u64>,
}

impl Search {
    fn sought(&self) -> Sought {
        let stage = StageKind::ALL.into_iter().find(|stage| stage.name() == self.stage);
        Sought { text: Some(self.q.clone()).filter(|text| !text.is_empty()), stage, ..Sought::default() }
    }

    /// Returns the address of the same log as text.
    fn text(&self, id: BuildId) -> String {
        let said = [("q", self.q.clone()), ("stage", self.stage.clone())];
        routes::asking(routes::log(id), said.iter().filter(|(_, value)| !value.is_empty()))
    }
}

pub async fn show(
    State(farm): State<Farm>,
    Visitor(person): Visitor,
    Path(id): Path<BuildId>,
    Query(search): Query<Search>,
) -> Page {
    seen(&farm, &person, id, Role::Viewer).await?;
    let build = farm.db.build(id, farm.now()).await?;
    let steps = farm.db.steps(id).await?;
    let sought = search.sought();
    let from = search.from.filter(|_| sought.is_all());
    let (after, tail) = (from.unwrap_or(1).saturating_sub(1), Some(LINES).filter(|_| from.is_none()));
    let log = farm.log(id, &sought, Part { after, tail, limit: LINES }).await?;
    let mut kinds: Vec<StageKind> =
        build.tasks.iter().flat_map(|task| stages(&steps, task.id, task.epoch)).map(|stage| stage.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let body = html! {
        h1 { (build.name) }
        div #summary data-build=(id) data-ended[build.state.is_final()] { (summarised(&build, &steps, &names(&farm).await?, farm.now())) }
        h2 #log { "Log" }
        form.filter method="get" action={ "/builds/" (id) "#log" } role="search" {
            label { "Find " input name="q" type="search" value=(search.q); }
            @if !kinds.is_empty() { label { "in " select name="stage" {
                option value="" { "all stages" }
                @for kind in kinds { option value=(kind.name()) selected[sought.stage == Some(kind)] { (kind.name()) } }
            } } }
            button { "Find" }
            @if !sought.is_all() { a href={ "/builds/" (id) "#log" } { "Show all" } }
            a href=(search.text(id)) download={ (build.name) ".log" } { "Download as text" }
        }
        kiln-log data-build=(id) data-last=(log.last) data-q[!sought.is_all()] {
            @if !sought.is_all() && log.entries.is_empty() { p { "Nothing of it is like that." } }
            @if !sought.is_all() && log.entries.len() as u64 == LINES { p { "The last " (LINES) " entries that are like that; the text has all." } }
            @if log.last > LINES && sought.is_all() { (around(id, &log)) }
            pre tabindex="0" { @for entry in &log.entries { @if let Some(words) = words(&entry.what) {
                @if sought.is_all() { span id={ "e" (entry.seq) } { (words) "\n" } }
                @else { a href=(line(id, entry.seq)) { (clock(entry.at)) } " " (words) "\n" }
            } } }
        }
        @if !build.state.is_final() { noscript { p { a href={ "/builds/" (id) "#log" } { "Look again" } } } }
    };
    Ok(page(&build.name, &person, body))
}

/// Returns the address of the page that shows an entry of a log.
fn line(build: BuildId, seq: u64) -> String {
    format!("/builds/{build}?from={seq}#e{seq}")
}

/// Says which part of a log a page shows, and leads to what comes before it and after it.
fn around(build: BuildId, log: &Log) -> Markup {
    let (Some(first), Some(end)) = (log.entries.first(), log.entries.last()) else { return html! {} };
    let at = |from: u64| format!("/builds/{build}?from={from}#log");
    html! {
        p { "Entries " (first.seq) " to " (end.seq) " of " (log.last) "."
            @if first.seq > 1 { " " a href=(at(first.seq.saturating_sub(LINES).max(1))) { "Earlier" } }
            @if end.seq < log.last { " " a href=(at(end.seq + 1)) { "Later" } }
        }
    }
}

/// The part of the page that script renews while the build goes on.
pub async fn summary(State(farm): State<Farm>, Visitor(person): Visitor, Path(id): Path<BuildId>) -> Page {
    seen(&farm, &person, id, Role::Viewer).await?;
    let build = farm.db.build(id, farm.now()).await?;
    let steps = farm.db.steps(id).await?;
    Ok(summarised(&build, &steps, &names(&farm).await?, farm.now()))
}

pub async fn cancel(
    State(farm): State<Farm>,
    Visitor(person): Visitor,
    Path(id): Path<BuildId>,
) -> Result<Redirect, NoPage> {
    seen(&farm, &person, id, Role::Builder).await?;
    farm.cancel(id, person.name()).await?;
    Ok(Redirect::to(&format!("/builds/{id}")))
}

pub async fn retry(
    State(farm): State<Farm>,
    Visitor(person): Visitor,
    Path(id): Path<BuildId>,
) -> Result<Redirect, NoPage> {
    seen(&farm, &person, id, Role::Builder).await?;
    farm.retry(id, person.name()).await?;
    Ok(Redirect::to(&format!("/builds/{id}")))
}

pub async fn pin(state: State<Farm>, visitor: Visitor, id: Path<BuildId>) -> Result<Redirect, NoPage> {
    pinned(state.0, visitor.0, id.0, true).await
}

pub async fn unpin(state: State<Farm>, visitor: Visitor, id: Path<BuildId>) -> Result<Redirect, NoPage> {
    pinned(state.0, visitor.0, id.0, false).await
}

async fn pinned(farm: Farm, person: Person, id: BuildId, pinned: bool) -> Result<Redirect, NoPage> {
    seen(&farm, &person, id, Role::Builder).await?;
    farm.pin(id, pinned, person.name()).await?;
    Ok(Redirect::to(&format!("/builds/{id}")))
}

/// Returns what the nodes are called.
async fn names(farm: &Farm) -> Result<BTreeMap<NodeId, Name>, NoPage> {
    Ok(farm.db.nodes(farm.now()).await?.into_iter().map(|node| (node.id, node.name)).collect())
}

fn summarised(build: &Build, steps: &[Entry], nodes: &BTreeMap<NodeId, Name>, now: i64) -> Markup {
    html! {
        dl.facts {
            dt { "State" } dd #state { (state(build.state.name())) }
            dt { "Project" } dd { a href={ "/?project=" (build.project) } { (build.project) } }
            dt { "Submitted" } dd { (moment(build.created)) " by " (build.by) }
            @if build.pinned { dt { "Kept" } dd { "whatever the project's rules say" } }
            @if let Some(began) = build.began { dt { "Took" } dd { (span(build.ended.unwrap_or(now) - began)) } }
        }
        div.actions {
            @if !build.state.is_final() { form method="post" action={ "/builds/" (build.id) "/cancel" } { button { "Cancel" } } }
            @if build.state.is_final() && build.tasks.iter().any(|task| task.state != TaskState::Done) {
                form method="post" action={ "/builds/" (build.id) "/retry" } { button { "Try again" } }
            }
            @if build.pinned { form method="post" action={ "/builds/" (build.id) "/unpin" } { button { "Unpin" } } }
            @else { form method="post" action={ "/builds/" (build.id) "/pin" } { button { "Keep it" } } }
        }
        @for task in &build.tasks {
            section.task {
                h2 { (task.order.name) " " (state(task.state.name())) }
                @if let Some(failure) = &task.failure {
                    p.failure { (failure.message) @if let Some(hint) = &failure.hint { br; span.hint { (hint) } } }
                }
                @if let Some(position) = task.position {
                    p { @if position == 0 { "Next in the queue" } @else { (position) " before it in the queue" }
                        @if let Some(expected) = task.expected { "; expected to begin in " (span(expected.start - now)) " and end in " (span(expected.end - now)) } "." }
                }
                @if let Some(node) = task.node.and_then(|node| nodes.get(&node)) { p { "On " (node) @if task.epoch > 1 { ", run " (task.epoch) } "." } }
                (timeline(build.id, task, &stages(steps, task.id, task.epoch), now))
            }
        }
        (artifacts(build))
    }
}

/// A stage as far as it has come.
#[derive(Debug, PartialEq)]
struct Stage {
    kind: StageKind,
    /// Where in the log it begins.
    first: Option<u64>,
    began: Option<i64>,
    took: Option<u64>,
    cached: bool,
}

/// Returns the stages of one run of a task, all that were announced, as far as they came.
fn stages(steps: &[Entry], task: TaskId, epoch: u64) -> Vec<Stage> {
    let mut stages: Vec<Stage> = vec![];
    let here = steps.iter().filter(|entry| entry.task == Some(task) && entry.epoch == Some(epoch));
    for (entry, event) in here.filter_map(|entry| match &entry.what {
        What::Build(event) => Some((entry, event)),
        What::Farm(_) => None,
    }) {
        let mut of = |kind: StageKind, set: &dyn Fn(&mut Stage)| {
            if let Some(stage) = stages.iter_mut().find(|stage| stage.kind == kind) {
                set(stage);
            }
        };
        match event {
            EventKind::Started { stages: kinds, .. } => {
                let fresh =
                    |kind: &StageKind| Stage { kind: *kind, first: None, began: None, took: None, cached: false };
                let mut kinds = kinds.clone();
                kinds.dedup();
                stages = kinds.iter().map(fresh).collect();
            }
            EventKind::StageStarted { stage, .. } => of(*stage, &|stage| {
                stage.began = stage.began.or(Some(entry.at));
                stage.first = stage.first.or(Some(entry.seq));
            }),
            EventKind::StageRestored { stage, .. } => of(*stage, &|stage| {
                stage.cached = true;
                stage.first = stage.first.or(Some(entry.seq));
            }),
            EventKind::StageFinished { stage, millis, .. } => {
                of(*stage, &|stage| stage.took = Some(stage.took.unwrap_or(0) + millis));
            }
            _ => {}
        }
    }
    stages
}

fn timeline(build: BuildId, task: &Task, stages: &[Stage], now: i64) -> Markup {
    let running = task.state == TaskState::Running;
    // One that waits to be run again has no end.
    let until = if running { Some(now) } else { task.ended };
    let took = |stage: &Stage| stage.took.or_else(|| Some((until? - stage.began?).max(0) as u64));
    let longest = stages.iter().filter_map(took).max().unwrap_or(0).max(1);
    html! {
        @if !stages.is_empty() {
            ol.stages { @for stage in stages {
                @let here = stage.began.is_some() && stage.took.is_none() && running;
                @let width = took(stage).unwrap_or(0) * 100 / longest;
                li class=[here.then_some("running")] {
                    span.name { @match stage.first {
                        Some(seq) => a.line href=(line(build, seq)) title="Show it in the log" { (stage.kind.name()) },
                        None => (stage.kind.name()),
                    } }
                    @if stage.cached { span.took { "from the cache" } }
                    @else if let Some(millis) = took(stage) {
                        meter min="0" max="100" value=(width) { (width) }
                        span.took { (span(millis as i64)) }
                    }
                }
            } }
        }
    }
}

fn artifacts(build: &Build) -> Markup {
    let address = |artifact: &Stored| routes::artifact(build.id, &artifact.name, artifact.task);
    let several = build.tasks.len() > 1;
    let made = |artifact: &Stored| build.tasks.iter().find(|task| Some(task.id) == artifact.task);
    let task = |artifact: &Stored| made(artifact).map(|task| task.order.name.to_string()).unwrap_or_default();
    html! {
        @if !build.artifacts.is_empty() {
            h2 { "Artifacts" }
            table {
                thead { tr { @if several { th { "Task" } } th { "File" } th { "Size" } th { "SHA-256" } } }
                tbody { @for artifact in &build.artifacts {
                    tr {
                        @if several { td { (task(artifact)) } }
                        td {
                            a href=(address(artifact)) download { (artifact.name) }
                            @if let Some((at, words)) = content::look(build.id, artifact) { " · " a href=(at) { (words) } }
                        }
                        td { (size(artifact.size)) }
                        td { code { (artifact.sha256) } }
                    }
                } }
            }
        }
    }
}
