//! Builds: what somebody submitted, and what came of it.

use kiln_model::Digest;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{BuildId, Name, Order, Task, TaskId};

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Submission {
    pub project: Name,
    /// What people call it; the recipe's name as a rule.
    pub name: String,
    /// Higher goes first; 0 as a rule.
    #[serde(default)]
    pub priority: i32,
    pub tasks: Vec<Order>,
    /// A word of the client's own: a submission with a word that was taken before returns that build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub once: Option<String>,
}

/// How far a build has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum BuildState {
    Queued,
    Running,
    Done,
    Failed,
    Cancelled,
}

impl BuildState {
    /// Every state, in the order of a build's life.
    pub const ALL: [Self; 5] = [Self::Queued, Self::Running, Self::Done, Self::Failed, Self::Cancelled];

    /// Returns the name in the API and the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether it has ended.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

/// A build as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Build {
    pub id: BuildId,
    pub project: Name,
    pub name: String,
    pub priority: i32,
    /// Who submitted it.
    pub by: String,
    pub state: BuildState,
    pub created: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<i64>,
    /// Its tasks; empty in lists of builds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<Task>,
    /// What it made; empty in lists of builds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<Stored>,
    /// The number of its last event.
    pub events: u64,
    /// Whether it stays whatever its project's rules say.
    #[serde(default)]
    pub pinned: bool,
}

/// A page of builds, the newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Builds {
    pub builds: Vec<Build>,
    /// Where the next page begins: `?before=`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<BuildId>,
}

/// A file that a task made, whose bytes are a blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Stored {
    /// Path under the task's output folder.
    pub name: String,
    pub size: u64,
    #[schema(value_type = String)]
    pub sha256: Digest,
    /// The task that made it; the server says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
}
