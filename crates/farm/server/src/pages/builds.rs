//! The list of builds.

use axum::extract::{Query, State};
use kiln_farm_api::{Build, BuildState};
use maud::{Markup, html};
use serde::Deserialize;

use super::layout::page;
use super::words::{moment, span, state};
use super::{NoPage, Page, Visitor};
use crate::farm::Farm;
use crate::http::builds::{Filter, listed};

/// The filter as a form sends it: what is left empty is an empty text.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Form {
    project: String,
    state: String,
    q: String,
    before: String,
}

pub async fn list(State(farm): State<Farm>, Visitor(person): Visitor, Query(form): Query<Form>) -> Page {
    let filter = Filter {
        project: form.project.parse().ok(),
        state: BuildState::ALL.into_iter().find(|state| state.name() == form.state),
        q: Some(form.q.clone()).filter(|text| !text.is_empty()),
        before: form.before.parse().ok(),
        limit: None,
    };
    let found = listed(&farm, &person, filter).await?;
    let projects = farm.db.projects().await.map_err(NoPage::from)?;
    let mine = person.projects(&farm).await?;
    let names = projects
        .iter()
        .map(|project| &project.name)
        .filter(|name| mine.as_ref().is_none_or(|mine| mine.contains(name)));
    let body = html! {
        h1 { "Builds" }
        form.filter method="get" role="search" {
            label { "Name " input name="q" value=(form.q) type="search"; }
            label { "Project " select name="project" {
                option value="" { "all" }
                @for name in names { option value=(name) selected[name.as_str() == form.project] { (name) } }
            } }
            label { "State " select name="state" {
                option value="" { "all" }
                @for one in BuildState::ALL { option value=(one.name()) selected[one.name() == form.state] { (one.name()) } }
            } }
            button { "Show" }
        }
        (table(&found.builds, farm.now()))
        @if let Some(before) = found.before {
            p { a rel="next" href={ "/?before=" (before) "&q=" (encoded(&form.q)) "&project=" (encoded(&form.project)) "&state=" (encoded(&form.state)) } { "Older" } }
        }
    };
    Ok(page("Builds", &person, body))
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn table(builds: &[Build], now: i64) -> Markup {
    html! {
        @if builds.is_empty() {
            p { "No build here. " a href="/submit" { "Submit a recipe" } ", or run " code { "kiln submit RECIPE" } "." }
        } @else {
            table {
                thead { tr { th { "Build" } th { "State" } th { "Project" } th { "By" } th { "Submitted" } th { "Took" } } }
                tbody { @for build in builds {
                    tr {
                        td { a href={ "/builds/" (build.id) } { (build.name) } }
                        td { (state(build.state.name())) }
                        td { (build.project) }
                        td { (build.by) }
                        td { (moment(build.created)) }
                        td { @if let Some(began) = build.began { (span(build.ended.unwrap_or(now) - began)) } }
                    }
                } }
            }
        }
    }
}
