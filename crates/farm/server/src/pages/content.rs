//! What a build made, looked into: its packages, how they differ from the build before, what a guest said when it was booted.

use std::fmt::Display;
use std::io::Read as _;

use anstream::adapter::strip_str;
use axum::extract::{Path, Query, State};
use kiln_farm_api::{Build, BuildId, Name, Role, Stored, TaskId, routes};
use kiln_model::diff;
use kiln_model::diff::text::{self, Group};
use kiln_model::{View, view};
use maud::{Markup, html};
use serde::Deserialize;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::spawn_blocking;

use super::layout::page;
use super::words::{moment, size};
use super::{Page, Visitor};
use crate::bom::{self, Change};
use crate::error::{Error, Result};
use crate::farm::Farm;
use crate::http::builds::seen;

/// Longest document that is read for a page, bytes.
const DOCUMENT: u64 = 64 << 20;
/// How much of a console's end is shown, bytes.
const CONSOLE: u64 = 256 << 10;
/// Documents are large: only one page at a time has some in memory.
static READING: Semaphore = Semaphore::const_new(1);
/// What ends the name of what a guest said.
const ENDING: &str = ".console.log";

/// Which of a build's artifacts is looked into.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Of {
    task: Option<TaskId>,
}

pub async fn packages(
    State(farm): State<Farm>,
    Visitor(person): Visitor,
    Path((id, name)): Path<(BuildId, String)>,
    Query(of): Query<Of>,
) -> Page {
    let project = seen(&farm, &person, id, Role::Viewer).await?;
    let build = farm.db.build(id, farm.now()).await?;
    let stored = farm.db.artifact(id, &name, of.task).await?;
    let before = earlier(&farm, &project, &build, &stored).await?;
    let turn = turn().await;
    let here = document(&farm, &stored).await?;
    let old = match &before {
        Some((_, stored)) => Some(document(&farm, stored).await),
        None => None,
    };
    let read = spawn_blocking(move || {
        let _turn = turn;
        Ok::<_, Error>((bom::packages(&here)?, old.map(|old| bom::packages(&old?))))
    });
    let (here, old) = read.await.map_err(|error| Error::failed("read the packages", error))??;
    let body = html! {
        h1 { "Packages of " a href={ "/builds/" (id) } { (build.name) } }
        @match before.as_ref().zip(old.as_ref()) {
            None => (alone()),
            Some(((before, _), old)) => {
                (against(before))
                @match old {
                    Err(why) => p.failure { (why.to_string()) },
                    Ok(old) => (differences(&bom::changes(old, &here))),
                }
                (sizes(before, &build))
            }
        }
        h2 { "All " (here.len()) }
        table {
            thead { tr { th { "Package" } th { "Version" } th { "Architecture" } } }
            tbody { @for package in &here { tr { td { (package.name) } td { (package.version) } td { (package.architecture) } } } }
        }
        p { a href=(routes::artifact(id, &name, of.task)) download { "SPDX" } }
    };
    Ok(page(&format!("Packages of {}", build.name), &person, body))
}

/// Whoever goes away in the middle leaves what is under way to its end, and the turn with it.
async fn turn() -> SemaphorePermit<'static> {
    READING.acquire().await.expect("it is never closed")
}

/// Returns the build before a build with its artifact of the same name, of the task that is called the same if there is one; none: there is
/// none, or it has no such artifact any more.
async fn earlier(farm: &Farm, project: &Name, build: &Build, now: &Stored) -> Result<Option<(Build, Stored)>> {
    let Some(before) = farm.db.build_before(project, &build.name, build.id).await? else { return Ok(None) };
    let before = farm.db.build(before, farm.now()).await?;
    let of = |build: &Build, stored: &Stored| {
        build.tasks.iter().find(|task| Some(task.id) == stored.task).map(|task| task.order.name.clone())
    };
    let called = || before.artifacts.iter().filter(|artifact| artifact.name == now.name);
    let same = called().find(|artifact| of(&before, artifact) == of(build, now)).or_else(|| called().next()).cloned();
    Ok(same.map(|stored| (before, stored)))
}

fn alone() -> Markup {
    html! { p { "There is no earlier build of it that was done and has such a document, to compare it with." } }
}

fn against(before: &Build) -> Markup {
    html! { p { "Against " a href={ "/builds/" (before.id) } { "the build of " (moment(before.created)) } ":" } }
}

async fn document(farm: &Farm, stored: &Stored) -> Result<Vec<u8>> {
    if !stored.name.ends_with(bom::ENDING) {
        return Err(Error::bad(format!("`{}` is no SPDX document", stored.name)));
    }
    farm.whole(stored.sha256, DOCUMENT).await
}

fn differences(changes: &[Change]) -> Markup {
    html! {
        @if changes.is_empty() { p { "The packages are the same." } } @else {
            table #changes {
                thead { tr { th { "Package" } th { "Before" } th { "Now" } } }
                tbody { @for change in changes {
                    @let (before, now) = match change {
                        Change::Added { package } => ("", package.version.as_str()),
                        Change::Removed { package } => (package.version.as_str(), ""),
                        Change::Changed { package, before } => (before.as_str(), package.version.as_str()),
                    };
                    tr { td { (change.package().name) } td { (before) } td { (now) } }
                } }
            }
        }
    }
}

/// Returns how large artifacts of the same name were and are.
fn sizes(before: &Build, now: &Build) -> Markup {
    let pair =
        |new: &Stored| before.artifacts.iter().find(|old| old.name == new.name).map(|old| (old.clone(), new.clone()));
    let pairs: Vec<(Stored, Stored)> = now.artifacts.iter().filter_map(pair).collect();
    html! {
        table {
            thead { tr { th { "File" } th { "Before" } th { "Now" } th {} } }
            tbody { @for (old, new) in pairs { tr {
                td { (new.name) }
                td { (size(old.size)) }
                td { (size(new.size)) }
                td { @if old.sha256 == new.sha256 { "the same bytes" } }
            } } }
        }
    }
}

/// Lines of a list that are shown at most.
const LINES: usize = 5000;
/// How much of a line is, characters.
const LINE: usize = 1000;
/// Longest document of contents when it is unpacked, bytes.
const UNPACKED: u64 = 256 << 20;

pub async fn contents(
    State(farm): State<Farm>,
    Visitor(person): Visitor,
    Path((id, name)): Path<(BuildId, String)>,
    Query(of): Query<Of>,
) -> Page {
    let project = seen(&farm, &person, id, Role::Viewer).await?;
    let build = farm.db.build(id, farm.now()).await?;
    let stored = farm.db.artifact(id, &name, of.task).await?;
    let before = earlier(&farm, &project, &build, &stored).await?;
    let turn = turn().await;
    let here = packed(&farm, &stored).await?;
    let old = match &before {
        Some((_, stored)) => Some(packed(&farm, stored).await),
        None => None,
    };
    let compared = spawn_blocking(move || {
        let _turn = turn;
        compare(old, &here)
    });
    let Compared { files, bytes, format, changes } =
        compared.await.map_err(|error| Error::failed("compare", error))??;
    let body = html! {
        h1 { "Contents of " a href={ "/builds/" (id) } { (build.name) } }
        p { (files) " names and " (size(bytes)) " of content in a " code { (format) } "." }
        @match before.as_ref().zip(changes.as_ref()) {
            None => (alone()),
            Some(((before, _), changes)) => {
                (against(before))
                @match changes {
                    Err(why) => p.failure { (why.to_string()) },
                    Ok(changes) => {
                        @if let Some(formats) = &changes.formats { p { "Format: " (formats) } }
                        @if changes.groups.is_empty() { p { "Nothing differs." } }
                        @for group in &changes.groups { (grouped(group)) }
                    }
                }
            }
        }
        p { a href=(routes::artifact(id, &name, of.task)) download { "All of it, for " code { "kiln diff" } } }
    };
    Ok(page(&format!("Contents of {}", build.name), &person, body))
}

/// What a page says of an image's contents.
struct Compared {
    files: usize,
    bytes: u64,
    format: String,
    /// Against the build before, if there is one; or why that one's are not read.
    changes: Option<Result<Changes>>,
}

struct Changes {
    formats: Option<String>,
    groups: Vec<Group>,
}

async fn packed(farm: &Farm, stored: &Stored) -> Result<Vec<u8>> {
    if !stored.name.ends_with(view::ENDING) {
        return Err(Error::bad(format!("`{}` is no document of contents", stored.name)));
    }
    farm.whole(stored.sha256, DOCUMENT).await
}

fn compare(before: Option<Result<Vec<u8>>>, here: &[u8]) -> Result<Compared> {
    let here = unpack(here)?;
    let changes = |before: View| {
        let diff = diff::diff(&before, &here);
        let mut groups = text::groups(&diff, false);
        for lines in groups.iter_mut().flat_map(|group| &mut group.lists).filter(|lines| lines.len() > LINES) {
            let more = lines.len() - LINES;
            lines.truncate(LINES);
            lines.push(format!("… and {more} more"));
        }
        Changes { formats: text::format(&diff), groups }
    };
    let changes = before.map(|before| unpack(&before?).map(changes));
    Ok(Compared { files: here.tree.entries.len(), bytes: here.tree.content_size(), changes, format: here.format })
}

/// Reads a document that some node sent.
fn unpack(packed: &[u8]) -> Result<View> {
    let bad = |why: &dyn Display| Error::bad(format!("the document of contents cannot be read: {why}"));
    let mut json = vec![];
    let decoder = zstd::Decoder::with_buffer(packed).map_err(|error| bad(&error))?;
    decoder.take(UNPACKED + 1).read_to_end(&mut json).map_err(|error| bad(&error))?;
    if json.len() as u64 > UNPACKED {
        return Err(bad(&format!("it is longer than {UNPACKED} bytes")));
    }
    View::from_json(&json).map_err(|error| bad(&error))?.ok_or_else(|| bad(&"it is of another kind"))
}

fn grouped(group: &Group) -> Markup {
    html! {
        h2 { (group.title) }
        @if !group.counts.is_empty() { p { (group.counts) } }
        @for lines in group.lists.iter().filter(|lines| !lines.is_empty()) {
            @let (short, rest) = lines.split_at(group.short.min(lines.len()));
            (listed(short))
            @if !rest.is_empty() { details { summary { (rest.len()) " more" } (listed(rest)) } }
        }
    }
}

fn listed(lines: &[String]) -> Markup {
    let cut = |line: &str| {
        line.char_indices().nth(LINE).map_or_else(|| line.to_owned(), |(at, _)| format!("{}…", &line[..at]))
    };
    html! { ul.changes { @for line in lines { li { code { (cut(line)) } } } } }
}

pub async fn console(
    State(farm): State<Farm>,
    Visitor(person): Visitor,
    Path((id, name)): Path<(BuildId, String)>,
    Query(of): Query<Of>,
) -> Page {
    seen(&farm, &person, id, Role::Viewer).await?;
    let build = farm.db.build(id, farm.now()).await?;
    let stored = farm.db.artifact(id, &name, of.task).await?;
    if !name.ends_with(ENDING) {
        return Err(Error::bad(format!("`{name}` is not what a guest said")).into());
    }
    let _turn = turn().await;
    let bytes = farm.end(stored.sha256, CONSOLE).await?;
    let text = String::from_utf8_lossy(&bytes);
    let body = html! {
        h1 { "Console of " a href={ "/builds/" (id) } { (build.name) } }
        @if stored.size > CONSOLE { p { "The last " (size(CONSOLE)) " of " (size(stored.size)) "." } }
        pre.console tabindex="0" { (strip_str(&text.replace('\r', ""))) }
        p { a href=(routes::artifact(id, &name, of.task)) download { "Download" } }
    };
    Ok(page(&format!("Console of {}", build.name), &person, body))
}

/// Returns where a page looks into an artifact, and what it is called there.
pub fn look(build: BuildId, artifact: &Stored) -> Option<(String, &'static str)> {
    let (page, words) = match &artifact.name {
        name if name.ends_with(bom::ENDING) => ("packages", "packages"),
        name if name.ends_with(view::ENDING) => ("contents", "files"),
        name if name.ends_with(ENDING) => ("console", "console"),
        _ => return None,
    };
    let at = routes::artifact(build, &artifact.name, artifact.task);
    let rest = at.split_once("/artifacts/").map(|(_, rest)| rest).unwrap_or_default();
    Some((format!("/builds/{build}/{page}/{rest}"), words))
}
