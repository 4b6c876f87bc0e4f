//! What a node and its server say to each other. A node does all the calling.

use std::collections::BTreeSet;

use kiln_model::{Arch, Digest, Event};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::task::Failure;
use crate::{BuildId, Name, NodeId, Stored, TaskId, Work};

/// A node that is to be let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewNode {
    pub name: Name,
}

/// A node's credential, told once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Enrolled {
    pub id: NodeId,
    pub name: Name,
    pub credential: String,
}

/// A node as the server knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Node {
    pub id: NodeId,
    pub name: Name,
    pub state: NodeState,
    /// When it was last heard of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// The tasks it has.
    pub holding: Vec<TaskId>,
}

/// Whether a node works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// It was let in and never heard of.
    New,
    Ready,
    /// It ends what it has and takes nothing new.
    Draining,
    /// It was not heard of for too long.
    Lost,
    /// Its credential is worth nothing any more.
    Revoked,
}

impl NodeState {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::New, Self::Ready, Self::Draining, Self::Lost, Self::Revoked];

    /// Returns the name in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Lost => "lost",
            Self::Revoked => "revoked",
        }
    }
}

/// What a node has and can do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Resources {
    /// kiln's version.
    pub version: String,
    /// Architectures whose programs it runs, its own first.
    #[schema(value_type = Vec<String>)]
    pub architectures: Vec<Arch>,
    /// Words such as `kvm`.
    pub capabilities: BTreeSet<String>,
    /// Builds at once.
    pub slots: u32,
    pub processors: u32,
    /// The load of the last minute.
    pub load: f64,
    /// Bytes.
    pub memory: u64,
    pub memory_free: u64,
    /// Bytes free where it builds.
    pub disk_free: u64,
    /// Why it takes nothing now, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusing: Option<String>,
}

/// What a node says again and again: it is there, this it has, so much it could take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Poll {
    pub resources: Resources,
    /// All it has, also what is done and not taken by the server yet.
    pub holding: Vec<Holding>,
    /// What of it the node is stopping already, so that it is not told again.
    #[serde(default)]
    pub stopping: Vec<Holding>,
    /// How many more it takes now.
    pub free: u32,
    /// Whether it takes no more because it is to end.
    #[serde(default)]
    pub draining: bool,
    /// How long the server may wait for something to say, milliseconds; it waits no longer than its own limit.
    #[serde(default)]
    pub wait: u64,
}

/// A lease a node holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
pub struct Holding {
    pub task: TaskId,
    pub epoch: u64,
}

/// What the server answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Orders {
    /// Tasks to begin. A node that does not hold one of them in its next poll has not got it, and it goes out again.
    pub begin: Vec<Lease>,
    /// Tasks to stop and forget: cancelled, or somebody else's by now.
    pub stop: Vec<Holding>,
}

/// A task for a node, until it is not heard of any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Lease {
    pub task: TaskId,
    pub epoch: u64,
    pub build: BuildId,
    pub project: Name,
    pub name: Name,
    pub work: Work,
}

/// Events of a task, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Tell {
    pub epoch: u64,
    /// Unix time of the stream's beginning, which the events' own times count from.
    pub began: i64,
    /// Numbered as `kiln build --events json` does, from 1 in each epoch; those that were taken before are skipped.
    #[schema(value_type = Vec<Object>)]
    pub events: Vec<Event>,
}

/// A file that another task of the build made, for the node that needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Handed {
    /// Where it belongs in the bundle.
    pub path: String,
    pub size: u64,
    #[schema(value_type = String)]
    pub sha256: Digest,
}

/// How far the server has taken a task's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Taken {
    /// The number of the last one it has.
    pub seq: u64,
}

/// How a task ended, told once its artifacts are blobs on the server. Telling it again changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Complete {
    pub epoch: u64,
    /// None: it ended well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What it made; also what a failed one left that may help.
    #[serde(default)]
    pub artifacts: Vec<Stored>,
}
