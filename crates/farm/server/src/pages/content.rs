//! What a build made, looked into: its packages, how they differ from the build before, what a guest said when it was booted.

use anstream::adapter::strip_str;
use axum::extract::{Path, Query, State};
use kiln_farm_api::{Build, BuildId, Role, Stored, TaskId, routes};
use maud::{Markup, html};
use serde::Deserialize;

use super::layout::page;
use super::words::{moment, size};
use super::{Page, Visitor};
use crate::bom::{self, Change, Package};
use crate::error::{Error, Result};
use crate::farm::Farm;
use crate::http::builds::seen;

/// Longest document that is read for a page, bytes.
const DOCUMENT: u64 = 64 << 20;
/// How much of a console's end is shown, bytes.
const CONSOLE: usize = 256 << 10;
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
    let here = read(&farm, &stored).await?;
    let before = match farm.db.build_before(&project, &build.name, id).await? {
        Some(before) => earlier(&farm, before, &name).await?,
        None => None,
    };
    let body = html! {
        h1 { "Packages of " a href={ "/builds/" (id) } { (build.name) } }
        @match &before {
            None => p { "There is no earlier build of it that was done, to compare it with." },
            Some((before, packages)) => {
                p { "Against " a href={ "/builds/" (before.id) } { "the build of " (moment(before.created)) } ":" }
                (differences(&bom::changes(packages, &here)))
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

/// Returns an earlier build with its packages; none: it has no such list any more.
async fn earlier(farm: &Farm, id: BuildId, name: &str) -> Result<Option<(Build, Vec<Package>)>> {
    let build = farm.db.build(id, farm.now()).await?;
    let Some(stored) = build.artifacts.iter().find(|artifact| artifact.name == name) else { return Ok(None) };
    let packages = read(farm, stored).await?;
    Ok(Some((build, packages)))
}

async fn read(farm: &Farm, stored: &Stored) -> Result<Vec<Package>> {
    if !stored.name.ends_with(bom::ENDING) {
        return Err(Error::bad(format!("`{}` is no SPDX document", stored.name)));
    }
    bom::packages(&farm.whole(stored.sha256, DOCUMENT).await?)
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
    let bytes = farm.whole(stored.sha256, DOCUMENT).await?;
    let start = bytes.len().saturating_sub(CONSOLE);
    let text = String::from_utf8_lossy(&bytes[start..]);
    let body = html! {
        h1 { "Console of " a href={ "/builds/" (id) } { (build.name) } }
        @if start > 0 { p { "The last " (size(CONSOLE as u64)) " of " (size(stored.size)) "." } }
        pre.console tabindex="0" { (strip_str(&text.replace('\r', ""))) }
        p { a href=(routes::artifact(id, &name, of.task)) download { "Download" } }
    };
    Ok(page(&format!("Console of {}", build.name), &person, body))
}

/// Returns where a page looks into an artifact, and what it is called there.
pub fn look(build: BuildId, artifact: &Stored) -> Option<(String, &'static str)> {
    let (page, words) = match &artifact.name {
        name if name.ends_with(bom::ENDING) => ("packages", "packages"),
        name if name.ends_with(ENDING) => ("console", "console"),
        _ => return None,
    };
    let at = routes::artifact(build, &artifact.name, artifact.task);
    let rest = at.split_once("/artifacts/").map(|(_, rest)| rest).unwrap_or_default();
    Some((format!("/builds/{build}/{page}/{rest}"), words))
}
