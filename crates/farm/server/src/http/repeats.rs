//! Schedules by which projects submit builds again.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use kiln_farm_api::schedule::{Enabled, NewRepeat, Repeat};
use kiln_farm_api::{Name, Problem, Role, ScheduleId};

use super::caller::Person;
use crate::error::Result;
use crate::farm::Farm;

/// Lists the schedules by which a project submits builds again.
#[utoipa::path(get, path = "/projects/{project}/schedules", tag = "schedules", params(("project" = Name, Path)),
    responses((status = 200, body = Vec<Repeat>), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn list(State(farm): State<Farm>, person: Person, Path(project): Path<Name>) -> Result<Json<Vec<Repeat>>> {
    person.may(&farm, &project, Role::Viewer).await?;
    Ok(Json(farm.db.repeats(&project).await?))
}

/// Lets a project's newest build of a name be submitted again at times.
#[utoipa::path(post, path = "/projects/{project}/schedules", tag = "schedules", params(("project" = Name, Path)), request_body = NewRepeat,
    responses((status = 201, body = Repeat), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn make(
    State(farm): State<Farm>,
    person: Person,
    Path(project): Path<Name>,
    Json(new): Json<NewRepeat>,
) -> Result<(StatusCode, Json<Repeat>)> {
    person.may(&farm, &project, Role::Owner).await?;
    Ok((StatusCode::CREATED, Json(farm.make_repeat(project, new, person.id(), &person.0.name).await?)))
}

/// Lets a schedule submit, or rest; what it missed meanwhile is not made up for.
#[utoipa::path(put, path = "/projects/{project}/schedules/{schedule}", tag = "schedules",
    params(("project" = Name, Path), ("schedule" = ScheduleId, Path)), request_body = Enabled,
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn enable(
    State(farm): State<Farm>,
    person: Person,
    Path((project, schedule)): Path<(Name, ScheduleId)>,
    Json(Enabled { enabled }): Json<Enabled>,
) -> Result<StatusCode> {
    person.may(&farm, &project, Role::Owner).await?;
    farm.enable_repeat(project, schedule, enabled, person.name()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a schedule.
#[utoipa::path(delete, path = "/projects/{project}/schedules/{schedule}", tag = "schedules",
    params(("project" = Name, Path), ("schedule" = ScheduleId, Path)),
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn forget(
    State(farm): State<Farm>,
    person: Person,
    Path((project, schedule)): Path<(Name, ScheduleId)>,
) -> Result<StatusCode> {
    person.may(&farm, &project, Role::Owner).await?;
    farm.drop_repeat(project, schedule, person.name()).await?;
    Ok(StatusCode::NO_CONTENT)
}
