//! Builds: submit, look, cancel, retry, fetch what they made.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use kiln_farm_api::{Build, BuildId, BuildState, Builds, Name, Problem, Role, Submission, Task, TaskId};
use serde::Deserialize;
use utoipa::IntoParams;

use super::caller::Person;
use super::range;
use crate::db::builds::Wanted;
use crate::error::{Error, Result};
use crate::farm::Farm;

/// Submits a build.
#[utoipa::path(post, path = "/builds", tag = "builds", request_body = Submission, responses(
    (status = 201, body = Build), (status = 400, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem)))]
pub async fn submit(
    State(farm): State<Farm>,
    person: Person,
    Json(submission): Json<Submission>,
) -> Result<(StatusCode, Json<Build>)> {
    // To go before everybody else's is for who answers for the project.
    let role = if submission.priority > 0 { Role::Owner } else { Role::Builder };
    person.may(&farm, &submission.project, role).await?;
    let id = farm.submit(submission, person.name(), person.holder()).await?;
    Ok((StatusCode::CREATED, Json(farm.db.build(id, farm.now()).await?)))
}

/// Which builds are listed.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct Filter {
    pub project: Option<Name>,
    pub state: Option<BuildState>,
    /// A part of the name, whatever its case.
    pub q: Option<String>,
    /// Builds older than this one.
    pub before: Option<BuildId>,
    /// 50 where it does not say, 500 at most.
    pub limit: Option<u32>,
}

/// Returns the builds a filter lets through, of what this person may see.
pub async fn listed(farm: &Farm, person: &Person, filter: Filter) -> Result<Builds> {
    let Filter { project, state, q, before, limit } = filter;
    let limit = limit.unwrap_or(50).clamp(1, 500);
    let projects = person.projects(farm).await?;
    farm.db.builds(&Wanted { project, state, search: q, before, limit, projects }).await
}

/// Lists builds, the newest first.
#[utoipa::path(get, path = "/builds", tag = "builds", params(Filter), responses((status = 200, body = Builds)))]
pub async fn list(State(farm): State<Farm>, person: Person, Query(filter): Query<Filter>) -> Result<Json<Builds>> {
    Ok(Json(listed(&farm, &person, filter).await?))
}

/// Returns a build that this person may do something with.
pub async fn seen(farm: &Farm, person: &Person, id: BuildId, role: Role) -> Result<Name> {
    let project = farm.db.project_of(id).await?;
    match person.may(farm, &project, role).await {
        // Of a project that is hidden its builds are hidden too.
        Err(Error::Refused(problem)) if problem.status == 404 => Err(Error::missing("build", id)),
        other => other.map(|()| project),
    }
}

/// Shows a build with its tasks and artifacts.
#[utoipa::path(get, path = "/builds/{build}", tag = "builds", params(("build" = BuildId, Path)),
    responses((status = 200, body = Build), (status = 404, body = Problem)))]
pub async fn show(State(farm): State<Farm>, person: Person, Path(id): Path<BuildId>) -> Result<Json<Build>> {
    seen(&farm, &person, id, Role::Viewer).await?;
    Ok(Json(farm.db.build(id, farm.now()).await?))
}

/// Cancels what has not ended of a build.
#[utoipa::path(post, path = "/builds/{build}/cancel", tag = "builds", params(("build" = BuildId, Path)),
    responses((status = 200, body = Build), (status = 404, body = Problem)))]
pub async fn cancel(State(farm): State<Farm>, person: Person, Path(id): Path<BuildId>) -> Result<Json<Build>> {
    seen(&farm, &person, id, Role::Builder).await?;
    farm.cancel(id, person.name()).await?;
    Ok(Json(farm.db.build(id, farm.now()).await?))
}

/// Lets the tasks of a build that did not end well run again.
#[utoipa::path(post, path = "/builds/{build}/retry", tag = "builds", params(("build" = BuildId, Path)),
    responses((status = 200, body = Build), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn retry(State(farm): State<Farm>, person: Person, Path(id): Path<BuildId>) -> Result<Json<Build>> {
    seen(&farm, &person, id, Role::Builder).await?;
    farm.retry(id, person.name()).await?;
    Ok(Json(farm.db.build(id, farm.now()).await?))
}

/// Whose artifact is wanted.
#[derive(Clone, Copy, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct Of {
    /// The task that made it, where several made one of this name.
    pub task: Option<TaskId>,
}

/// Downloads an artifact; `Range` is honoured.
#[utoipa::path(get, path = "/builds/{build}/artifacts/{name}", tag = "builds",
    params(("build" = BuildId, Path), ("name" = String, Path), Of),
    responses((status = 200, content_type = "application/octet-stream"), (status = 206), (status = 404, body = Problem), (status = 409, body = Problem), (status = 503, body = Problem)))]
pub async fn artifact(
    State(farm): State<Farm>,
    person: Person,
    Path((id, name)): Path<(BuildId, String)>,
    Query(of): Query<Of>,
    headers: HeaderMap,
) -> Result<Response> {
    seen(&farm, &person, id, Role::Viewer).await?;
    let stored = farm.db.artifact(id, &name, of.task).await?;
    let file = name.rsplit('/').next().unwrap_or(&name).replace(['"', '\\'], "_");
    let mut response = range::blob(&farm, stored.sha256, &headers).await?;
    let shown = if file.is_ascii() { format!("attachment; filename=\"{file}\"") } else { "attachment".to_owned() };
    if let Ok(value) = shown.parse() {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response.into_response())
}

/// Shows the queue, in the order of priority and age.
#[utoipa::path(get, path = "/queue", tag = "builds", responses((status = 200, body = Vec<Task>)))]
pub async fn queue(State(farm): State<Farm>, person: Person) -> Result<Json<Vec<Task>>> {
    person.administers()?;
    Ok(Json(farm.db.queue().await?))
}
