//! The event log of a build: numbered from 1 without gaps, the same for everyone who reads it.

use kiln_model::EventKind;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{BuildState, Name, NodeId, TaskId, TaskState};

/// One entry of a build's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Entry {
    /// 1, 2, 3, … without gaps: what `Last-Event-ID` and `?after=` name.
    pub seq: u64,
    /// When it happened, by the clock of who told it.
    pub at: i64,
    /// The task it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// Which run of the task told it: the epoch of its lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub what: What,
}

/// What happened; `event` in its JSON says which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum What {
    /// On the farm.
    Farm(FarmEvent),
    /// In the build itself (`kiln build --events json`).
    Build(EventKind),
}

/// What happens to a build besides its building.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum FarmEvent {
    Submitted {
        by: String,
    },
    /// A node took a task.
    TaskLeased {
        task_name: Name,
        node: NodeId,
        node_name: Name,
    },
    /// The node that had a task was not heard of for too long; the task goes out again.
    TaskLost {
        task_name: Name,
        node_name: Name,
    },
    /// A node gave a task back, or never had it; the task goes out again.
    TaskLeft {
        task_name: Name,
        node_name: Name,
    },
    /// A task came to rest.
    TaskEnded {
        task_name: Name,
        state: TaskState,
        reason: Option<String>,
    },
    /// A task that had come to rest is to run again.
    TaskAgain {
        task_name: Name,
        by: String,
    },
    CancelAsked {
        by: String,
    },
    BuildEnded {
        state: BuildState,
    },
}

/// Some of a log's entries, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page {
    pub entries: Vec<Entry>,
    /// The number of the last entry there is.
    pub last: u64,
    /// Whether nothing will come after it.
    pub ended: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_read_back() {
        let log = EventKind::Log { stage: None, source: "dpkg".into(), line: "hello".into() };
        for what in [What::Farm(FarmEvent::Submitted { by: "ann".into() }), What::Build(log)] {
            let entry = Entry { seq: 7, at: 1, task: None, epoch: None, what };
            let text = serde_json::to_string(&entry).unwrap();
            assert_eq!(serde_json::from_str::<Entry>(&text).unwrap(), entry, "{text}");
        }
    }
}
