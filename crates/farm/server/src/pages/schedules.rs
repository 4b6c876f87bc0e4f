//! The schedules of a source, on the page of sources.

use axum::Form;
use axum::extract::{Path, State};
use axum::response::Redirect;
use kiln_farm_api::schedule::{NewSchedule, Schedule};
use kiln_farm_api::{Name, Role, ScheduleId, SourceId};
use maud::{Markup, html};
use serde::Deserialize;

use super::words::moment;
use super::{NoPage, Visitor};
use crate::farm::Farm;

/// Returns a source's schedules; `at` is where it lies.
pub fn shown(at: &str, branch: &str, schedules: &[Schedule]) -> Markup {
    html! {
        @if !schedules.is_empty() {
            table {
                thead { tr { th { "Builds" } th { "At" } th { "Zone" } th { "Next" } th { "Last" } th {} } }
                tbody { @for schedule in schedules { (row(at, schedule)) } }
            }
        }
        form method="post" action={ (at) "/schedules" } {
            label { "Build branch " input name="branch" required value=(branch); }
            label { "at " input name="cron" required placeholder="30 4 * * mon-fri"; }
            label { "in the time zone " input name="zone" required value="UTC"; }
            button { "Add it" }
        }
    }
}

fn row(at: &str, schedule: &Schedule) -> Markup {
    let at = format!("{at}/schedules/{}", schedule.id);
    html! {
        tr {
            td { (schedule.branch) }
            td { code { (schedule.cron) } }
            td { (schedule.zone) }
            td { (next(schedule.next, schedule.enabled)) }
            td { @if let Some(last) = schedule.last { (moment(last)) } }
            td { (buttons(&at, schedule.enabled)) }
        }
    }
}

/// Returns when a schedule's next time is.
pub fn next(next: Option<i64>, enabled: bool) -> Markup {
    html! { @if let Some(next) = next { (moment(next)) } @else if enabled { "never" } @else { "disabled" } }
}

/// Returns what stops the schedule at `at` for a while, or for ever.
pub fn buttons(at: &str, enabled: bool) -> Markup {
    html! {
        form method="post" action={ (at) "/enable" } {
            @if !enabled { input type="hidden" name="enabled" value="yes"; }
            button { @if enabled { "Disable" } @else { "Enable" } }
        }
        form method="post" action={ (at) "/drop" } { button { "Remove" } }
    }
}

fn back(project: &Name) -> Redirect {
    Redirect::to(&format!("/projects/{project}/sources"))
}

#[derive(Deserialize)]
pub struct Wanted {
    branch: String,
    cron: String,
    zone: String,
}

pub async fn make(
    State(farm): State<Farm>,
    Visitor(person): Visitor,
    Path((project, source)): Path<(Name, SourceId)>,
    Form(wanted): Form<Wanted>,
) -> Result<Redirect, NoPage> {
    person.may(&farm, &project, Role::Owner).await?;
    let kept = farm.db.source_of(&project, source).await?;
    let [branch, cron, zone] = [wanted.branch, wanted.cron, wanted.zone].map(|text| text.trim().to_owned());
    farm.make_schedule(kept.source.id, NewSchedule { branch, cron, zone }, person.name()).await?;
    Ok(back(&project))
}

#[derive(Deserialize)]
pub struct Enabled {
    #[serde(default)]
    enabled: String,
}

impl Enabled {
    pub fn is(&self) -> bool {
        !self.enabled.is_empty()
    }
}

pub async fn enable(
    State(farm): State<Farm>,
    Visitor(person): Visitor,
    Path((project, source, schedule)): Path<(Name, SourceId, ScheduleId)>,
    Form(wanted): Form<Enabled>,
) -> Result<Redirect, NoPage> {
    person.may(&farm, &project, Role::Owner).await?;
    let kept = farm.db.source_of(&project, source).await?;
    farm.enable_schedule(kept.source.id, schedule, wanted.is(), person.name()).await?;
    Ok(back(&project))
}

pub async fn forget(
    State(farm): State<Farm>,
    Visitor(person): Visitor,
    Path((project, source, schedule)): Path<(Name, SourceId, ScheduleId)>,
) -> Result<Redirect, NoPage> {
    person.may(&farm, &project, Role::Owner).await?;
    let kept = farm.db.source_of(&project, source).await?;
    farm.drop_schedule(kept.source.id, schedule, person.name()).await?;
    Ok(back(&project))
}
