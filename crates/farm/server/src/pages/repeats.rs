//! The schedules of a project, by which builds are submitted again.

use axum::Form;
use axum::extract::{Path, State};
use axum::response::Redirect;
use kiln_farm_api::schedule::{NewRepeat, Repeat};
use kiln_farm_api::{Name, Role, ScheduleId};
use maud::{Markup, html};
use serde::Deserialize;

use super::schedules::{Enabled, buttons, next};
use super::words::moment;
use super::{NoPage, Visitor};
use crate::farm::Farm;

/// The part of the project's page at `at`.
pub fn shown(at: &str, repeats: &[Repeat]) -> Markup {
    html! {
        h2 #schedules { "Schedules" }
        p { "The newest build of a name is submitted again: its recipe and its files as they were sent. Each build takes the packages of its day, \
            unless the lock stays." }
        @if !repeats.is_empty() {
            table {
                thead { tr { th { "Builds" } th { "At" } th { "Zone" } th { "Packages" } th { "For" } th { "Next" } th { "Last" } th {} } }
                tbody { @for repeat in repeats { (row(at, repeat)) } }
            }
        }
        form method="post" action={ (at) "/schedules" } {
            label { "Build " input name="name" required placeholder="edge"; }
            label { "at " input name="cron" required placeholder="30 4 * * mon-fri"; }
            label { "in the time zone " input name="zone" required value="UTC"; }
            label { input type="checkbox" name="keep_lock" value="yes"; " with the packages of its lock" }
            button { "Add it" }
        }
    }
}

fn row(at: &str, repeat: &Repeat) -> Markup {
    html! {
        tr {
            td { (repeat.name) }
            td { code { (repeat.cron) } }
            td { (repeat.zone) }
            td { @if repeat.keep_lock { "of its lock" } @else { "of the day" } }
            td { (repeat.owner) }
            td { (next(repeat.next, repeat.enabled)) }
            td {
                @if let Some(last) = repeat.last { (moment(last)) }
                @if let Some(error) = &repeat.error { p.failure { (error) @if let Some(hint) = &repeat.hint { br; span.hint { (hint) } } } }
                @else if let Some(build) = repeat.build { br; a href={ "/builds/" (build) } { "the build" } }
            }
            td { (buttons(&format!("{at}/schedules/{}", repeat.id), repeat.enabled)) }
        }
    }
}

fn back(project: &Name) -> Redirect {
    Redirect::to(&format!("/projects/{project}#schedules"))
}

#[derive(Deserialize)]
pub struct Wanted {
    name: String,
    cron: String,
    zone: String,
    #[serde(default)]
    keep_lock: String,
}

pub async fn make(
    State(farm): State<Farm>,
    Visitor(person): Visitor,
    Path(project): Path<Name>,
    Form(wanted): Form<Wanted>,
) -> Result<Redirect, NoPage> {
    person.may(&farm, &project, Role::Owner).await?;
    let keep_lock = !wanted.keep_lock.is_empty();
    let [name, cron, zone] = [wanted.name, wanted.cron, wanted.zone].map(|text| text.trim().to_owned());
    let new = NewRepeat { name, keep_lock, cron, zone };
    farm.make_repeat(project.clone(), new, person.id(), &person.0.name).await?;
    Ok(back(&project))
}

pub async fn enable(
    State(farm): State<Farm>,
    Visitor(person): Visitor,
    Path((project, schedule)): Path<(Name, ScheduleId)>,
    Form(wanted): Form<Enabled>,
) -> Result<Redirect, NoPage> {
    person.may(&farm, &project, Role::Owner).await?;
    farm.enable_repeat(project.clone(), schedule, wanted.is(), person.name()).await?;
    Ok(back(&project))
}

pub async fn forget(
    State(farm): State<Farm>,
    Visitor(person): Visitor,
    Path((project, schedule)): Path<(Name, ScheduleId)>,
) -> Result<Redirect, NoPage> {
    person.may(&farm, &project, Role::Owner).await?;
    farm.drop_repeat(project.clone(), schedule, person.name()).await?;
    Ok(back(&project))
}
