//! One project: who works in it, what its builds use, which are made again, which of them stay.

use axum::Form;
use axum::extract::{Path, State};
use axum::response::Redirect;
use kiln_farm_api::access::ChangedProject;
use kiln_farm_api::schedule::Repeat;
use kiln_farm_api::{Name, Project, Retention, Role, Secret};
use maud::{Markup, html};
use serde::Deserialize;

use super::farm::name;
use super::layout::page;
use super::{NoPage, Page, Visitor, repeats, secrets};
use crate::error::Error;
use crate::farm::Farm;
use crate::http::access::changed;

pub async fn show(State(farm): State<Farm>, Visitor(person): Visitor, Path(project): Path<Name>) -> Page {
    person.may(&farm, &project, Role::Owner).await?;
    let found = farm.db.projects().await?.into_iter().find(|one| one.name == project);
    let project = found.ok_or_else(|| Error::missing("project", project))?;
    let secrets = farm.secrets(&project.name).await?;
    let repeats = farm.db.repeats(&project.name).await?;
    Ok(page(project.name.as_str(), &person, body(&project, &secrets, &repeats, person.is_admin())))
}

fn body(project: &Project, secrets: &[Secret], repeats: &[Repeat], admin: bool) -> Markup {
    let at = format!("/projects/{}", project.name);
    let Retention { builds, days, failed_days } = project.retention;
    let number = |label: &str, name: &str, value: Option<u32>| {
        html! { label { (label) " " input name=(name) type="number" min="1" value=[value]; } }
    };
    html! {
        h1 { (project.name) }
        p { a href={ "/?project=" (project.name) } { "Builds" } " · " a href={ (at) "/hooks" } { "Webhooks" } }
        form method="post" action=(at) {
            label { input name="open" type="checkbox" value="yes" checked[project.open]; " everyone who is logged in sees it" }
            @if admin { label { "Its share beside the others " input name="weight" type="number" min="1" max="1000" required value=(project.weight); } }
            button { "Have it so" }
        }
        h2 { "Members" }
        table {
            thead { tr { th { "Name" } th { "Role" } th {} } }
            tbody { @for member in &project.members { tr {
                td { (member.user) }
                td { (member.role.name()) }
                td { form method="post" action={ (at) "/members/" (member.user) "/leave" } { button { "Remove" } } }
            } } }
        }
        form method="post" action={ (at) "/members" } {
            label { "User " input name="user" required; }
            label { "Role " select name="role" { @for role in Role::ALL { option value=(role.name()) { (role.name()) } } } }
            button { "Let in" }
        }
        (secrets::shown(&at, secrets))
        (repeats::shown(&at, repeats))
        h2 { "Builds that stay" }
        p { "Where nothing is said all of them stay. Pinned ones always do, and the newest of a name that a schedule builds again." }
        form method="post" action={ (at) "/retention" } {
            (number("Of those that were done the last", "builds", builds))
            (number("and those of the last days:", "days", days))
            (number("Failed ones for days:", "failed_days", failed_days))
            button { "Keep it so" }
        }
    }
}

/// The fields of a form; a box that is not ticked says nothing.
#[derive(Debug, Deserialize)]
pub struct Seen {
    #[serde(default)]
    open: Option<String>,
    #[serde(default)]
    weight: String,
}

pub async fn change(
    State(farm): State<Farm>,
    Visitor(person): Visitor,
    Path(project): Path<Name>,
    Form(seen): Form<Seen>,
) -> Result<Redirect, NoPage> {
    let change = ChangedProject { open: Some(seen.open.is_some()), weight: number(&seen.weight)? };
    changed(&farm, &person, project.clone(), change).await?;
    Ok(Redirect::to(&format!("/projects/{project}")))
}

#[derive(Debug, Deserialize)]
pub struct Joining {
    user: String,
    role: String,
}

pub async fn join(
    State(farm): State<Farm>,
    Visitor(person): Visitor,
    Path(project): Path<Name>,
    Form(joining): Form<Joining>,
) -> Result<Redirect, NoPage> {
    let role = Role::ALL.into_iter().find(|role| role.name() == joining.role);
    let role = role.ok_or_else(|| Error::bad(format!("there is no role `{}`", joining.role)))?;
    crate::http::access::change_member(&farm, &person, project.clone(), &name(&joining.user)?, Some(role)).await?;
    Ok(Redirect::to(&format!("/projects/{project}")))
}

pub async fn leave(
    State(farm): State<Farm>,
    Visitor(person): Visitor,
    Path((project, user)): Path<(Name, Name)>,
) -> Result<Redirect, NoPage> {
    crate::http::access::change_member(&farm, &person, project.clone(), &user, None).await?;
    Ok(Redirect::to(&format!("/projects/{project}")))
}

/// The fields of a form; an empty one says nothing.
#[derive(Debug, Deserialize)]
pub struct Rules {
    builds: String,
    days: String,
    failed_days: String,
}

pub async fn keep(
    State(farm): State<Farm>,
    Visitor(person): Visitor,
    Path(project): Path<Name>,
    Form(rules): Form<Rules>,
) -> Result<Redirect, NoPage> {
    person.may(&farm, &project, Role::Owner).await?;
    let (builds, days) = (number(&rules.builds)?, number(&rules.days)?);
    let rules = Retention { builds, days, failed_days: number(&rules.failed_days)? };
    farm.set_retention(project.clone(), rules, person.name()).await?;
    Ok(Redirect::to(&format!("/projects/{project}")))
}

fn number(text: &str) -> Result<Option<u32>, Error> {
    match text.trim() {
        "" => Ok(None),
        text => match text.parse() {
            Ok(number) if number > 0 => Ok(Some(number)),
            _ => Err(Error::bad(format!("`{text}` is no number from 1 on"))),
        },
    }
}
