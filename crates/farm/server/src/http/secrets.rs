//! Secrets of projects; what they are no answer says but the one to the node that builds with them.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use kiln_farm_api::secret::{Values, Wanted};
use kiln_farm_api::{Name, NewSecret, Problem, Role, Secret, TaskId, Variable};

use super::caller::{Machine, Person};
use crate::error::Result;
use crate::farm::Farm;

/// Lists a project's secrets by name; their values are shown to nobody.
#[utoipa::path(get, path = "/projects/{project}/secrets", tag = "secrets", params(("project" = Name, Path)),
    responses((status = 200, body = Vec<Secret>), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn list(State(farm): State<Farm>, person: Person, Path(project): Path<Name>) -> Result<Json<Vec<Secret>>> {
    person.may(&farm, &project, Role::Builder).await?;
    Ok(Json(farm.secrets(&project).await?))
}

/// Gives a project a secret, or gives the one of this name another value.
#[utoipa::path(put, path = "/projects/{project}/secrets/{name}", tag = "secrets", request_body = NewSecret,
    params(("project" = Name, Path), ("name" = Variable, Path, description = "the environment variable in whose place it stands")),
    responses((status = 204), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn set(
    State(farm): State<Farm>,
    person: Person,
    Path((project, name)): Path<(Name, Variable)>,
    Json(new): Json<NewSecret>,
) -> Result<StatusCode> {
    person.may(&farm, &project, Role::Owner).await?;
    farm.set_secret(project, name, new.value, person.name()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a secret; builds that still want it fail.
#[utoipa::path(delete, path = "/projects/{project}/secrets/{name}", tag = "secrets",
    params(("project" = Name, Path), ("name" = Variable, Path)),
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn forget(
    State(farm): State<Farm>,
    person: Person,
    Path((project, name)): Path<(Name, Variable)>,
) -> Result<StatusCode> {
    person.may(&farm, &project, Role::Owner).await?;
    farm.drop_secret(project, name, person.name()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives the secrets of a task to the node that has its lease.
#[utoipa::path(post, path = "/node/tasks/{task}/secrets", tag = "node", params(("task" = TaskId, Path)), request_body = Wanted,
    responses((status = 200, body = Values), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn values(
    State(farm): State<Farm>,
    node: Machine,
    Path(task): Path<TaskId>,
    Json(wanted): Json<Wanted>,
) -> Result<Response> {
    let values = farm.values(node, task, wanted.epoch).await?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(values)).into_response())
}
