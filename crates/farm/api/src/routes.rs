//! Where things lie on the server.

use kiln_model::Digest;

use crate::{BuildId, DeliveryId, HookId, Name, NodeId, TaskId};

pub const API: &str = "/api/v1";

pub fn builds() -> String {
    format!("{API}/builds")
}

pub fn build(id: BuildId) -> String {
    format!("{API}/builds/{id}")
}

pub fn cancel(id: BuildId) -> String {
    format!("{API}/builds/{id}/cancel")
}

pub fn retry(id: BuildId) -> String {
    format!("{API}/builds/{id}/retry")
}

/// Lets a build stay whatever the rules say.
pub fn pin(id: BuildId) -> String {
    format!("{API}/builds/{id}/pin")
}

pub fn unpin(id: BuildId) -> String {
    format!("{API}/builds/{id}/unpin")
}

pub fn retention(project: &Name) -> String {
    format!("{API}/projects/{project}/retention")
}

pub fn hooks(project: &Name) -> String {
    format!("{API}/projects/{project}/hooks")
}

pub fn hook(project: &Name, hook: HookId) -> String {
    format!("{API}/projects/{project}/hooks/{hook}")
}

pub fn deliveries(project: &Name, hook: HookId) -> String {
    format!("{API}/projects/{project}/hooks/{hook}/deliveries")
}

pub fn redeliver(project: &Name, hook: HookId, delivery: DeliveryId) -> String {
    format!("{API}/projects/{project}/hooks/{hook}/deliveries/{delivery}/again")
}

pub fn gc(dry_run: bool) -> String {
    format!("{API}/gc?dry_run={dry_run}")
}

/// The event log: a page as JSON, or a stream where the client accepts `text/event-stream`.
pub fn events(id: BuildId) -> String {
    format!("{API}/builds/{id}/events")
}

/// The log as plain text.
pub fn log(id: BuildId) -> String {
    format!("{API}/builds/{id}/log")
}

pub fn artifact(id: BuildId, name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encoded = |byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    format!("{API}/builds/{id}/artifacts/{}", name.bytes().map(encoded).collect::<String>())
}

pub fn blob(digest: Digest) -> String {
    format!("{API}/blobs/{digest}")
}

/// An upload under way; pieces go there by PATCH with `Upload-Offset`.
pub fn upload(digest: Digest) -> String {
    format!("{API}/uploads/{digest}")
}

/// A stage that nodes share, by its id.
pub fn stage(id: Digest) -> String {
    format!("{API}/stages/{id}")
}

pub fn nodes() -> String {
    format!("{API}/nodes")
}

pub fn revoke(id: NodeId) -> String {
    format!("{API}/nodes/{id}/revoke")
}

pub fn poll() -> String {
    format!("{API}/node/poll")
}

pub fn tell(task: TaskId) -> String {
    format!("{API}/node/tasks/{task}/events")
}

pub fn complete(task: TaskId) -> String {
    format!("{API}/node/tasks/{task}/complete")
}
