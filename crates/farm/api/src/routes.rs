//! Where things lie on the server.

use kiln_model::Digest;

use crate::{BuildId, DeliveryId, HookId, Name, NodeId, ScheduleId, SourceId, TaskId, Variable};

pub const API: &str = "/api/v1";

/// Returns an address with fields to ask by.
pub fn asking<'a>(at: String, said: impl IntoIterator<Item = &'a (&'a str, String)>) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    said.into_iter().for_each(|(name, value)| {
        query.append_pair(name, value);
    });
    let query = query.finish();
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{at}{mark}{query}")
}

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

pub fn sources(project: &Name) -> String {
    format!("{API}/projects/{project}/sources")
}

pub fn source(project: &Name, source: SourceId) -> String {
    format!("{API}/projects/{project}/sources/{source}")
}

/// Where a forge tells of pushes.
pub fn push(project: &Name, source: SourceId) -> String {
    format!("{API}/projects/{project}/sources/{source}/push")
}

/// What a source was told.
pub fn pushes(project: &Name, source: SourceId) -> String {
    format!("{API}/projects/{project}/sources/{source}/pushes")
}

pub fn schedules(project: &Name, source: SourceId) -> String {
    format!("{API}/projects/{project}/sources/{source}/schedules")
}

pub fn schedule(project: &Name, source: SourceId, schedule: ScheduleId) -> String {
    format!("{API}/projects/{project}/sources/{source}/schedules/{schedule}")
}

/// The schedules by which a project submits builds again.
pub fn repeats(project: &Name) -> String {
    format!("{API}/projects/{project}/schedules")
}

pub fn repeat(project: &Name, schedule: ScheduleId) -> String {
    format!("{API}/projects/{project}/schedules/{schedule}")
}

pub fn secrets(project: &Name) -> String {
    format!("{API}/projects/{project}/secrets")
}

pub fn secret(project: &Name, name: &Variable) -> String {
    format!("{API}/projects/{project}/secrets/{name}")
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

pub fn artifact(id: BuildId, name: &str, task: Option<TaskId>) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encoded = |byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    let of = task.map(|task| format!("?task={task}")).unwrap_or_default();
    format!("{API}/builds/{id}/artifacts/{}{of}", name.bytes().map(encoded).collect::<String>())
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

/// The secrets that a task's recipe uses.
pub fn values(task: TaskId) -> String {
    format!("{API}/node/tasks/{task}/secrets")
}

/// The files that a task takes from others of its build.
pub fn handed(task: TaskId) -> String {
    format!("{API}/node/tasks/{task}/given")
}

pub fn complete(task: TaskId) -> String {
    format!("{API}/node/tasks/{task}/complete")
}
