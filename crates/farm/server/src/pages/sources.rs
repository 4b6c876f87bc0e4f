//! A project's sources, and what became of what they were told.

use axum::Form;
use axum::extract::{Path, State};
use axum::response::Redirect;
use kiln_farm_api::schedule::Schedule;
use kiln_farm_api::source::{NewSource, Push, PushedRecipe, Source};
use kiln_farm_api::{Name, Role, SourceId, routes};
use maud::{Markup, html};
use serde::Deserialize;

use super::layout::page;
use super::schedules;
use super::words::{moment, state};
use super::{NoPage, Page, Visitor};
use crate::farm::Farm;

/// How many pushes of each source are shown.
const SHOWN: u32 = 20;

pub async fn show(State(farm): State<Farm>, Visitor(person): Visitor, Path(project): Path<Name>) -> Page {
    person.may(&farm, &project, Role::Owner).await?;
    Ok(page("Sources", &person, body(&farm, &project, html! {}).await?))
}

async fn body(farm: &Farm, project: &Name, told: Markup) -> Result<Markup, NoPage> {
    let mut sources = vec![];
    for source in farm.db.sources(project).await? {
        let pushes = farm.db.pushes(source.id, SHOWN).await?;
        let schedules = farm.db.schedules(source.id).await?;
        sources.push((source, pushes, schedules));
    }
    Ok(html! {
        h1 { "Sources of " (project) }
        p { "Git repositories whose recipes are built when they change." }
        (told)
        @for (source, pushes, schedules) in &sources { (shown(farm, project, source, pushes, schedules)) }
        h2 { "A new one" }
        form method="post" action={ "/projects/" (project) "/sources" } {
            label { "Repository " input name="url" type="url" required placeholder="https://git.example.org/images.git"; }
            label { "Branches " input name="branches" required value="main"; }
            label { "Recipes " input name="recipes" required value="kiln.toml"; }
            label { "For a private one, NAME:TOKEN " input name="credential" type="password" autocomplete="off"; }
            button { "Build it" }
        }
    })
}

fn shown(farm: &Farm, project: &Name, source: &Source, pushes: &[Push], schedules: &[Schedule]) -> Markup {
    let branch = source.branches.first().map_or("", String::as_str);
    let at = format!("/projects/{project}/sources/{}", source.id);
    html! {
        section {
            h2 { (source.url) }
            p { "Branches " (source.branches.join(", ")) "; recipes " (source.recipes.join(", ")) "; builds are " (source.owner) "'s, since "
                (moment(source.created)) "." }
            p { "Let the forge tell of pushes: " code { (farm.address) (routes::push(project, source.id)) } }
            form method="post" action={ (at) "/build" } {
                label { "Branch " input name="branch" required value=(branch); }
                button { "Build all" }
            }
            form method="post" action={ (at) "/drop" } { button { "Remove" } }
            (schedules::shown(&at, branch, schedules))
            @if !pushes.is_empty() {
                table {
                    thead { tr { th { "Told" } th { "Why" } th { "Branch" } th { "Commit" } th { "State" } th { "Recipes" } } }
                    tbody { @for push in pushes { (row(push)) } }
                }
            }
        }
    }
}

fn row(push: &Push) -> Markup {
    html! {
        tr {
            td { (moment(push.created)) }
            td { (push.origin.name()) }
            td { (push.branch) }
            td { @if let Some(commit) = &push.commit { code { (commit.get(..12).unwrap_or(commit)) } } }
            td { (state(push.state.name())) @if let Some(next) = push.next { br; "again " (moment(next)) } }
            td {
                @if let Some(error) = &push.error { p.failure { (error) @if let Some(hint) = &push.hint { br; span.hint { (hint) } } } }
                @else if push.recipes.is_empty() && push.ended.is_some() { "nothing changed" }
                @for recipe in &push.recipes { (pushed(recipe)) }
            }
        }
    }
}

fn pushed(recipe: &PushedRecipe) -> Markup {
    let word = |said: &serde_json::Value, name: &str| said[name].as_str().unwrap_or_default().to_owned();
    html! {
        @if let Some(build) = recipe.build { p { a href={ "/builds/" (build) } { (recipe.path) } } }
        @if let Some(error) = &recipe.error {
            div.failure {
                p { (recipe.path) ": " (error) @if let Some(hint) = &recipe.hint { br; span.hint { (hint) } } }
                @if !recipe.diagnostics.is_empty() {
                    ol.mistakes { @for said in &recipe.diagnostics {
                        li {
                            (word(said, "file")) ", line " (said["line"]) ", column " (said["column"]) ": " (word(said, "message"))
                            @if said["hint"].is_string() { p.hint { (word(said, "hint")) } }
                        }
                    } }
                }
            }
        }
    }
}

#[derive(Deserialize)]
pub struct Wanted {
    url: String,
    branches: String,
    recipes: String,
    #[serde(default)]
    credential: String,
}

pub async fn make(
    State(farm): State<Farm>,
    Visitor(person): Visitor,
    Path(project): Path<Name>,
    Form(wanted): Form<Wanted>,
) -> Page {
    person.may(&farm, &project, Role::Owner).await?;
    let words = |text: &str| text.split([',', ' ']).filter(|word| !word.is_empty()).map(str::to_owned).collect();
    let credential = Some(wanted.credential.trim().to_owned()).filter(|text| !text.is_empty());
    let (branches, recipes) = (words(&wanted.branches), words(&wanted.recipes));
    let new = NewSource { url: wanted.url.trim().to_owned(), branches, recipes, secret: None, credential };
    let source = farm.make_source(project.clone(), new, person.id(), &person.0.name).await?;
    let told = html! {
        div.told role="status" {
            p { "The forge signs what it says with this secret, which is shown once:" }
            pre { (source.secret.unwrap_or_default()) }
            p { "It tells of pushes as JSON:" }
            pre { (farm.address) (routes::push(&project, source.id)) }
        }
    };
    Ok(page("Sources", &person, body(&farm, &project, told).await?))
}

pub async fn forget(
    State(farm): State<Farm>,
    Visitor(person): Visitor,
    Path((project, source)): Path<(Name, SourceId)>,
) -> Result<Redirect, NoPage> {
    person.may(&farm, &project, Role::Owner).await?;
    farm.drop_source(project.clone(), source, person.name()).await?;
    Ok(Redirect::to(&format!("/projects/{project}/sources")))
}

#[derive(Deserialize)]
pub struct Branch {
    branch: String,
}

pub async fn build(
    State(farm): State<Farm>,
    Visitor(person): Visitor,
    Path((project, source)): Path<(Name, SourceId)>,
    Form(Branch { branch }): Form<Branch>,
) -> Result<Redirect, NoPage> {
    person.may(&farm, &project, Role::Owner).await?;
    let kept = farm.db.source_of(&project, source).await?;
    farm.build_source(kept.source.id, branch.trim().to_owned(), person.name()).await?;
    Ok(Redirect::to(&format!("/projects/{project}/sources")))
}
