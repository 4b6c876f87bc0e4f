//! Webhooks: whom a project tells of its builds, and what became of the telling.
//!
//! A delivery is a POST of JSON ([`Notice`]) with `X-Kiln-Event`, `X-Kiln-Delivery` (its id, the same at every attempt) and
//! `X-Kiln-Signature: sha256=` with the HMAC-SHA256 of the body under the hook's secret, in hexadecimal digits. It is made at least
//! once, in the order of a hook's events, and again with growing pauses until the answer is a 2xx.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{BuildId, BuildState, DeliveryId, HookId, Name, TaskId, TaskState};

/// What a hook can be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HookEvent {
    BuildEnded,
    TaskEnded,
}

impl HookEvent {
    pub const ALL: [Self; 2] = [Self::BuildEnded, Self::TaskEnded];

    /// Returns the name in the API, the database and `X-Kiln-Event`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BuildEnded => "build-ended",
            Self::TaskEnded => "task-ended",
        }
    }
}

/// Somebody who is told of a project's builds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Hook {
    pub id: HookId,
    pub url: String,
    pub events: BTreeSet<HookEvent>,
    pub created: i64,
    /// What bodies are signed with; told when the hook is made, and never again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewHook {
    /// `https://…` or `http://…`, without a name and password in it.
    pub url: String,
    /// The ends of builds where it does not say.
    #[serde(default = "ends_of_builds")]
    pub events: BTreeSet<HookEvent>,
    /// At least 16 characters; the server makes one where it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

fn ends_of_builds() -> BTreeSet<HookEvent> {
    [HookEvent::BuildEnded].into()
}

/// What a hook is told: the body of a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Notice {
    pub event: HookEvent,
    /// When it happened.
    pub at: i64,
    pub project: Name,
    pub build: BuildId,
    /// The build's name.
    pub name: String,
    /// Who submitted the build.
    pub by: String,
    pub build_state: BuildState,
    /// The task that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<NoticeTask>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NoticeTask {
    pub id: TaskId,
    pub name: Name,
    pub state: TaskState,
    /// Why it did not end well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How far a delivery has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveryState {
    /// It is to be tried, or tried again.
    Waiting,
    Delivered,
    /// It was refused too often, or for good.
    GivenUp,
}

impl DeliveryState {
    /// Returns the name in the API and the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::GivenUp => "given-up",
        }
    }
}

/// A line of a hook's delivery log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Delivery {
    pub id: DeliveryId,
    pub event: HookEvent,
    /// What is sent, as it is signed.
    pub body: String,
    pub created: i64,
    pub state: DeliveryState,
    pub attempts: u32,
    /// When it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<i64>,
    /// The HTTP status that the last attempt was answered with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why the last attempt came to nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
