//! A recipe from the page: checked here, its mistakes shown where they stand.

use std::io;

use axum::Form;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use bytes::Bytes;
use kiln_farm_api::{Name, Order, Role, Submission, Work};
use kiln_model::{Arch, Digest};
use kiln_recipe::spec::Family;
use kiln_recipe::{Completed, Diagnostic, Local, Options, Rejected, Severity, Sources, complete};
use maud::{Markup, html};
use serde::Deserialize;

use super::layout::page;
use super::{NoPage, Visitor};
use crate::db::holders::Holder;
use crate::error::{Error, Result};
use crate::farm::Farm;
use crate::http::caller::Person;
use crate::recipes;

const RECIPE: &str = "kiln.toml";

const EXAMPLE: &str = "edition = 1\nname = \"edge\"\n\n[base]\ndistribution = \"debian\"\nrelease = \"13\"\nboard = \"generic-x86_64\"\n\n[[output]]\nformat = \"qcow2\"\n";

#[derive(Debug, Deserialize)]
pub struct Wanted {
    project: String,
    recipe: String,
}

pub async fn form(State(farm): State<Farm>, Visitor(person): Visitor) -> Result<Markup, NoPage> {
    show(&farm, &person, "default", EXAMPLE, &[]).await
}

pub async fn submit(
    State(farm): State<Farm>,
    Visitor(person): Visitor,
    Form(wanted): Form<Wanted>,
) -> Result<Response, NoPage> {
    let recipe = wanted.recipe.replace("\r\n", "\n");
    let project: Name =
        wanted.project.parse().map_err(|error: kiln_farm_api::ids::NotAName| Error::bad(error.to_string()))?;
    person.may(&farm, &project, Role::Builder).await?;
    match complete(&Alone(&recipe), RECIPE, &Options::new(here())) {
        Err(Rejected { diagnostics, .. }) => {
            let shown = show(&farm, &person, &wanted.project, &recipe, &diagnostics).await?;
            Ok((StatusCode::UNPROCESSABLE_ENTITY, shown).into_response())
        }
        Ok(completed) => {
            let submission = submission(&farm, project, completed, recipe).await?;
            let id = farm.submit(submission, person.name(), Holder::Server).await?;
            Ok(Redirect::to(&format!("/builds/{id}")).into_response())
        }
    }
}

async fn submission(farm: &Farm, project: Name, completed: Completed, recipe: String) -> Result<Submission> {
    let secrets = recipes::fit(&completed.spec)?;
    let bytes: Bytes = bundle(&recipe).map_err(|error| Error::failed("pack a recipe", error))?.into();
    let bundle = farm.keep(bytes).await?;
    let arch = completed.spec.base.architecture.into();
    let order = Order { arch, ..Order::image(Work::image(bundle, RECIPE).with_secrets(secrets)) };
    Ok(Submission { project, name: completed.spec.name, priority: 0, tasks: vec![order], once: None })
}

/// Packs a recipe that is all by itself.
fn bundle(recipe: &str) -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(zstd::Encoder::new(Vec::new(), 3)?);
    let mut header = tar::Header::new_gnu();
    header.set_size(recipe.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, RECIPE, recipe.as_bytes())?;
    tar.into_inner()?.finish()
}

/// The architecture of this machine, which a recipe that names none is for.
fn here() -> Arch {
    std::env::consts::ARCH.parse().unwrap_or(Arch::Amd64)
}

/// Nothing but the recipe.
struct Alone<'a>(&'a str);

impl Sources for Alone<'_> {
    fn read(&self, path: &str) -> io::Result<String> {
        if path == RECIPE { Ok(self.0.to_owned()) } else { Err(absent()) }
    }

    fn digest(&self, _path: &str) -> io::Result<Local> {
        Err(absent())
    }

    fn tree(&self, _path: &str, _family: Family) -> io::Result<Digest> {
        Err(absent())
    }
}

fn absent() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "a recipe from the page is alone; `kiln submit` takes its files along")
}

async fn show(
    farm: &Farm,
    person: &Person,
    project: &str,
    recipe: &str,
    said: &[Diagnostic],
) -> Result<Markup, NoPage> {
    let mine = person.projects(farm).await?;
    let projects = farm.db.projects().await?;
    let names = projects
        .iter()
        .map(|project| &project.name)
        .filter(|name| mine.as_ref().is_none_or(|mine| mine.contains(name)));
    let body = html! {
        h1 { "Submit" }
        @if !said.is_empty() { (mistakes(recipe, said)) }
        form method="post" action="/submit" {
            label { "Project " select name="project" { @for name in names { option selected[name.as_str() == project] { (name) } } } }
            label for="recipe" { "Recipe" }
            textarea #recipe name="recipe" rows="24" spellcheck="false" required aria-describedby=[(!said.is_empty()).then_some("mistakes")] { (recipe) }
            button { "Build it" }
        }
    };
    Ok(page("Submit", person, body))
}

/// Shows mistakes, each under its line.
fn mistakes(recipe: &str, said: &[Diagnostic]) -> Markup {
    let errors = said.iter().filter(|said| said.severity == Severity::Error).count();
    html! {
        section #mistakes.failure role="alert" {
            h2 { (errors) @if errors == 1 { " mistake" } @else { " mistakes" } }
            ol.mistakes { @for one in said {
                li {
                    a href="#recipe" data-line=(one.place.line) { "line " (one.place.line) ", column " (one.place.column) } ": " (one.message)
                    @if let Some(line) = recipe.lines().nth(one.place.line.saturating_sub(1)) {
                        pre { (line) "\n" (" ".repeat(one.place.column.saturating_sub(1))) "^" @if let Some(label) = &one.label { " " (label) } }
                    }
                    @if let Some(hint) = &one.hint { p.hint { (hint) } }
                }
            } }
        }
    }
}
