//! Tasks: what one node does, once, for a build.

use std::collections::BTreeSet;

use kiln_model::{Arch, Digest, FaultKind};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{BuildId, Name, NodeId, TaskId, Variable};

/// A task as it is ordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Its name in the build.
    pub name: Name,
    pub work: Work,
    /// The tasks of the same build that must end well before this one begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Name>,
    /// The architecture that a node must be able to run programs of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub arch: Option<Arch>,
    /// Words that a node must have among its capabilities, as `kvm`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub capabilities: BTreeSet<String>,
    /// How many nodes may be lost over it before it is parked; the server's default where it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// How long a run of it may take, seconds; it is stopped and fails then. The server's limit where it does not say or says more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// Redis hears of it as of a build at home with `--channel`: Pieman's codes in `bscd-CHANNEL`. The server must know a Redis.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Work {
    /// An image from a recipe.
    Image {
        /// The blob with the recipe, its lock where there is one, and the files it names: a tar packed with zstd.
        #[schema(value_type = String)]
        bundle: Digest,
        /// The recipe's path in the bundle.
        recipe: String,
        /// Profiles to apply, in order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        profiles: Vec<String>,
        /// Settings that win over the recipe: dotted key and value.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        set: Vec<(String, String)>,
        /// SOURCE_DATE_EPOCH, seconds since 1970.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epoch: Option<i64>,
        /// Not to boot the image, whatever the recipe says.
        #[serde(default)]
        no_verify: bool,
        /// To take the packages of the day: a lock in the bundle is made anew. What else it pins, stays.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        update: bool,
        /// The environment variables that its secrets come from: the project's secrets of these names stand in their place.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        secrets: BTreeSet<Variable>,
        /// Files that its recipe takes from other tasks of the build.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        given: Vec<Given>,
    },
}

/// A file that another task makes, one of those that the order needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Given {
    pub task: Name,
    /// The name of what it makes.
    pub artifact: String,
    /// Where the recipe looks for it: a path in the bundle, where nothing is yet.
    pub path: String,
}

impl Order {
    /// A task that needs nothing but a node.
    pub fn new(name: Name, work: Work) -> Self {
        Self {
            name,
            work,
            needs: vec![],
            arch: None,
            capabilities: BTreeSet::new(),
            attempts: None,
            timeout: None,
            channel: None,
        }
    }

    /// The only task of a build that is one image.
    pub fn image(work: Work) -> Self {
        Self::new("image".parse().expect("it is a name"), work)
    }
}

impl Work {
    /// An image from a recipe of a bundle, as the recipe says it.
    pub fn image(bundle: Digest, recipe: impl Into<String>) -> Self {
        let recipe = recipe.into();
        Self::Image {
            bundle,
            recipe,
            profiles: vec![],
            set: vec![],
            epoch: None,
            no_verify: false,
            update: false,
            secrets: BTreeSet::new(),
            given: vec![],
        }
    }

    /// Returns the blobs that it is made from.
    pub fn inputs(&self) -> Vec<Digest> {
        match self {
            Self::Image { bundle, .. } => vec![*bundle],
        }
    }

    /// The same with secrets of its project's.
    #[must_use]
    pub fn with_secrets(mut self, wanted: BTreeSet<Variable>) -> Self {
        let Self::Image { secrets, .. } = &mut self;
        *secrets = wanted;
        self
    }

    /// The same with the packages of the day, or with those of its lock.
    #[must_use]
    pub fn updated(mut self, anew: bool) -> Self {
        let Self::Image { update, .. } = &mut self;
        *update = anew;
        self
    }

    /// Returns the files that it takes from other tasks of its build.
    pub fn given(&self) -> &[Given] {
        match self {
            Self::Image { given, .. } => given,
        }
    }

    /// Returns the names of the secrets that it uses.
    pub fn secrets(&self) -> &BTreeSet<Variable> {
        match self {
            Self::Image { secrets, .. } => secrets,
        }
    }
}

/// How far a task has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TaskState {
    /// Other tasks come first.
    Waiting,
    /// The next node that fits may take it.
    Queued,
    Running,
    Done,
    Failed,
    /// Given up after so many lost nodes, until somebody asks for it again.
    Parked,
    Cancelled,
    /// A task it needs did not end well.
    Skipped,
}

impl TaskState {
    /// Every state, in the order of a task's life.
    pub const ALL: [Self; 8] = [
        Self::Waiting,
        Self::Queued,
        Self::Running,
        Self::Done,
        Self::Failed,
        Self::Parked,
        Self::Cancelled,
        Self::Skipped,
    ];

    /// Returns the name in the API and the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Parked => "parked",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
        }
    }

    /// Whether nothing comes after it unless somebody asks for it.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Waiting | Self::Queued | Self::Running)
    }
}

/// A task as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Task {
    pub id: TaskId,
    pub build: BuildId,
    #[serde(flatten)]
    pub order: Order,
    pub state: TaskState,
    /// How often it was begun; with each the epoch of its lease, so an older one's words are refused.
    pub epoch: u64,
    /// The node that has it, or had it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// Why it did not end well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<i64>,
    /// How many are before it in the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// When it may begin and end, judged by tasks like it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Expected>,
}

/// When a task may begin and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Expected {
    pub start: i64,
    pub end: i64,
}

/// Why a task did not end well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// Whose fault it is: `recipe`, `package`, `upstream`, `farm`, `again`, `interrupted`.
    #[schema(value_type = String)]
    pub fault: FaultKind,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}
