//! Webhooks of projects.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use kiln_farm_api::hook::{Delivery, Hook, NewHook};
use kiln_farm_api::{DeliveryId, HookId, Name, Problem, Role};

use super::caller::Person;
use crate::error::Result;
use crate::farm::Farm;

/// How many deliveries are shown.
pub const SHOWN: u32 = 100;

/// Lists a project's webhooks.
#[utoipa::path(get, path = "/projects/{project}/hooks", tag = "hooks", params(("project" = Name, Path)),
    responses((status = 200, body = Vec<Hook>), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn list(State(farm): State<Farm>, person: Person, Path(project): Path<Name>) -> Result<Json<Vec<Hook>>> {
    person.may(&farm, &project, Role::Owner).await?;
    Ok(Json(farm.db.hooks(&project).await?))
}

/// Makes a webhook; its secret is in the answer and nowhere else.
#[utoipa::path(post, path = "/projects/{project}/hooks", tag = "hooks", params(("project" = Name, Path)), request_body = NewHook,
    responses((status = 201, body = Hook), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub async fn make(
    State(farm): State<Farm>,
    person: Person,
    Path(project): Path<Name>,
    Json(new): Json<NewHook>,
) -> Result<(StatusCode, Json<Hook>)> {
    person.may(&farm, &project, Role::Owner).await?;
    Ok((StatusCode::CREATED, Json(farm.make_hook(project, new, person.name()).await?)))
}

/// Removes a webhook with its deliveries.
#[utoipa::path(delete, path = "/projects/{project}/hooks/{hook}", tag = "hooks", params(("project" = Name, Path), ("hook" = HookId, Path)),
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn forget(
    State(farm): State<Farm>,
    person: Person,
    Path((project, hook)): Path<(Name, HookId)>,
) -> Result<StatusCode> {
    person.may(&farm, &project, Role::Owner).await?;
    farm.drop_hook(project, hook, person.name()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Shows a webhook's last deliveries, the newest first.
#[utoipa::path(get, path = "/projects/{project}/hooks/{hook}/deliveries", tag = "hooks",
    params(("project" = Name, Path), ("hook" = HookId, Path)),
    responses((status = 200, body = Vec<Delivery>), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn deliveries(
    State(farm): State<Farm>,
    person: Person,
    Path((project, hook)): Path<(Name, HookId)>,
) -> Result<Json<Vec<Delivery>>> {
    person.may(&farm, &project, Role::Owner).await?;
    Ok(Json(farm.db.deliveries(&project, hook, SHOWN).await?))
}

/// Delivers something once more: the same body, as a new delivery at the end of the queue.
#[utoipa::path(post, path = "/projects/{project}/hooks/{hook}/deliveries/{delivery}/again", tag = "hooks",
    params(("project" = Name, Path), ("hook" = HookId, Path), ("delivery" = DeliveryId, Path)),
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub async fn again(
    State(farm): State<Farm>,
    person: Person,
    Path((project, hook, delivery)): Path<(Name, HookId, DeliveryId)>,
) -> Result<StatusCode> {
    person.may(&farm, &project, Role::Owner).await?;
    farm.redeliver(project, hook, delivery, person.name()).await?;
    Ok(StatusCode::NO_CONTENT)
}
