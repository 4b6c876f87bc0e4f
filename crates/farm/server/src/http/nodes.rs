//! Nodes: what they say, and what is said of them.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use kiln_farm_api::secret::Wanted;
use kiln_farm_api::{
    Complete, Enrolled, Handed, Kept, NewNode, Node, NodeId, Orders, Poll, Problem, StageFound, Taken, TaskId, Tell,
};
use kiln_model::Digest;

use super::caller::{Machine, Person};
use crate::error::Result;
use crate::farm::Farm;

/// Lists the nodes.
#[utoipa::path(get, path = "/nodes", tag = "nodes", responses((status = 200, body = Vec<Node>)))]
pub async fn list(State(farm): State<Farm>, _: Person) -> Result<Json<Vec<Node>>> {
    Ok(Json(farm.db.nodes(farm.now()).await?))
}

/// Lets a node in; its credential is told here and never again.
#[utoipa::path(post, path = "/nodes", tag = "nodes", request_body = NewNode,
    responses((status = 201, body = Enrolled), (status = 403, body = Problem), (status = 409, body = Problem)))]
pub async fn enrol(
    State(farm): State<Farm>,
    person: Person,
    Json(new): Json<NewNode>,
) -> Result<(StatusCode, Json<Enrolled>)> {
    person.administers()?;
    Ok((StatusCode::CREATED, Json(farm.enrol(new.name, person.name()).await?)))
}

/// Makes a node's credential worth nothing; what it has goes out again.
#[utoipa::path(post, path = "/nodes/{node}/revoke", tag = "nodes", params(("node" = NodeId, Path)),
    responses((status = 204), (status = 404, body = Problem)))]
pub async fn revoke(State(farm): State<Farm>, person: Person, Path(node): Path<NodeId>) -> Result<StatusCode> {
    person.administers()?;
    farm.revoke(node, person.name()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Forgets a node that was revoked or never came; its name is free again.
#[utoipa::path(delete, path = "/nodes/{node}", tag = "nodes", params(("node" = NodeId, Path)),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn forget(State(farm): State<Farm>, person: Person, Path(node): Path<NodeId>) -> Result<StatusCode> {
    person.administers()?;
    farm.forget(node, person.name()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Renews a node's leases and gives it orders, waiting for them as long as it says.
#[utoipa::path(post, path = "/node/poll", tag = "node", request_body = Poll, responses((status = 200, body = Orders)))]
pub async fn poll(State(farm): State<Farm>, node: Machine, Json(poll): Json<Poll>) -> Result<Json<Orders>> {
    Ok(Json(farm.dispatch.poll(node.id, node.name, poll).await?))
}

/// Takes events of a task.
#[utoipa::path(post, path = "/node/tasks/{task}/events", tag = "node", params(("task" = TaskId, Path)), request_body = Tell,
    responses((status = 200, body = Taken), (status = 409, body = Problem)))]
pub async fn tell(
    State(farm): State<Farm>,
    node: Machine,
    Path(task): Path<TaskId>,
    Json(tell): Json<Tell>,
) -> Result<Json<Taken>> {
    Ok(Json(farm.tell(node.id, task, tell).await?))
}

/// Says what there is of a stage that nodes share; its bytes are a blob.
#[utoipa::path(get, path = "/stages/{stage}", tag = "node", params(("stage" = String, Path, description = "id of the stage")),
    responses((status = 200, body = StageFound)))]
pub async fn stage(State(farm): State<Farm>, _: Machine, Path(stage): Path<Digest>) -> Result<Json<StageFound>> {
    Ok(Json(farm.stage(stage).await?))
}

/// Takes a stage that this node has made; its bytes are uploaded before.
#[utoipa::path(put, path = "/stages/{stage}", tag = "node", params(("stage" = String, Path, description = "id of the stage")),
    request_body = Kept, responses((status = 204), (status = 403, body = Problem), (status = 409, body = Problem)))]
pub async fn keep_stage(
    State(farm): State<Farm>,
    node: Machine,
    Path(stage): Path<Digest>,
    Json(kept): Json<Kept>,
) -> Result<StatusCode> {
    farm.keep_stage(stage, kept, node.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Forgets the bytes of a stage that a node could not unpack, so that it takes others.
#[utoipa::path(delete, path = "/stages/{stage}", tag = "node", params(("stage" = String, Path, description = "id of the stage")),
    request_body = Kept, responses((status = 204)))]
pub async fn drop_stage(
    State(farm): State<Farm>,
    node: Machine,
    Path(stage): Path<Digest>,
    Json(kept): Json<Kept>,
) -> Result<StatusCode> {
    farm.drop_stage(stage, kept, &node.name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tells which files of other tasks a task takes, to the node that has its lease and may download them then.
#[utoipa::path(post, path = "/node/tasks/{task}/given", tag = "node", params(("task" = TaskId, Path)), request_body = Wanted,
    responses((status = 200, body = Vec<Handed>), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn handed(
    State(farm): State<Farm>,
    node: Machine,
    Path(task): Path<TaskId>,
    Json(wanted): Json<Wanted>,
) -> Result<Json<Vec<Handed>>> {
    Ok(Json(farm.handed(node, task, wanted.epoch).await?))
}

/// Takes a task's result.
#[utoipa::path(post, path = "/node/tasks/{task}/complete", tag = "node", params(("task" = TaskId, Path)), request_body = Complete,
    responses((status = 204), (status = 409, body = Problem)))]
pub async fn complete(
    State(farm): State<Farm>,
    node: Machine,
    Path(task): Path<TaskId>,
    Json(result): Json<Complete>,
) -> Result<StatusCode> {
    farm.complete(node.id, task, result).await?;
    Ok(StatusCode::NO_CONTENT)
}
