//! Schedules of sources.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use kiln_farm_api::schedule::{Enabled, NewSchedule, Schedule};
use kiln_farm_api::{Name, Problem, Role, ScheduleId, SourceId};

use super::caller::Person;
use crate::error::Result;
use crate::farm::Farm;

/// Lists a source's schedules.
#[utoipa::path(get, path = "/projects/{project}/sources/{source}/schedules", tag = "sources",
    params(("project" = Name, Path), ("source" = SourceId, Path)),
    responses((status = 200, body = Vec<Schedule>), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn list(
    State(farm): State<Farm>,
    person: Person,
    Path((project, source)): Path<(Name, SourceId)>,
) -> Result<Json<Vec<Schedule>>> {
    person.may(&farm, &project, Role::Viewer).await?;
    let kept = farm.db.source_of(&project, source).await?;
    Ok(Json(farm.db.schedules(kept.source.id).await?))
}

/// Lets a source be built at times.
#[utoipa::path(post, path = "/projects/{project}/sources/{source}/schedules", tag = "sources",
    params(("project" = Name, Path), ("source" = SourceId, Path)), request_body = NewSchedule,
    responses((status = 201, body = Schedule), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn make(
    State(farm): State<Farm>,
    person: Person,
    Path((project, source)): Path<(Name, SourceId)>,
    Json(new): Json<NewSchedule>,
) -> Result<(StatusCode, Json<Schedule>)> {
    person.may(&farm, &project, Role::Owner).await?;
    let kept = farm.db.source_of(&project, source).await?;
    Ok((StatusCode::CREATED, Json(farm.make_schedule(kept.source.id, new, person.name()).await?)))
}

/// Lets a schedule build, or rest; what it missed meanwhile is not made up for.
#[utoipa::path(put, path = "/projects/{project}/sources/{source}/schedules/{schedule}", tag = "sources",
    params(("project" = Name, Path), ("source" = SourceId, Path), ("schedule" = ScheduleId, Path)), request_body = Enabled,
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn enable(
    State(farm): State<Farm>,
    person: Person,
    Path((project, source, schedule)): Path<(Name, SourceId, ScheduleId)>,
    Json(Enabled { enabled }): Json<Enabled>,
) -> Result<StatusCode> {
    person.may(&farm, &project, Role::Owner).await?;
    let kept = farm.db.source_of(&project, source).await?;
    farm.enable_schedule(kept.source.id, schedule, enabled, person.name()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a schedule.
#[utoipa::path(delete, path = "/projects/{project}/sources/{source}/schedules/{schedule}", tag = "sources",
    params(("project" = Name, Path), ("source" = SourceId, Path), ("schedule" = ScheduleId, Path)),
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn forget(
    State(farm): State<Farm>,
    person: Person,
    Path((project, source, schedule)): Path<(Name, SourceId, ScheduleId)>,
) -> Result<StatusCode> {
    person.may(&farm, &project, Role::Owner).await?;
    let kept = farm.db.source_of(&project, source).await?;
    farm.drop_schedule(kept.source.id, schedule, person.name()).await?;
    Ok(StatusCode::NO_CONTENT)
}
