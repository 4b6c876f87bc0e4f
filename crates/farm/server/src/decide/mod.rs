//! What the farm does next: pure functions from what is, and what time it is, to what shall change.
//!
//! Nobody here asks a clock or a database. [`crate::db`] reads what they look at and makes their changes in one transaction, each
//! only if the task still is as they saw it; what was decided on an old picture changes nothing and is decided again.

pub mod assign;
pub mod complete;
pub mod deliver;
pub mod estimate;
pub mod expire;
pub mod hear;
pub mod output;
pub mod park;
pub mod push;
pub mod retain;
pub mod schedule;
pub mod settle;

use std::collections::BTreeSet;

use kiln_farm_api::task::Failure;
use kiln_farm_api::{BuildId, BuildState, Name, NodeId, Resources, TaskId, TaskState};
use kiln_model::Arch;

/// How long things may take, milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How long a node may be silent before its tasks go out again.
    pub lease: i64,
    /// How long a task waits after the farm failed it, the first time; each time it is twice as long.
    pub pause: i64,
    /// How often a task may fail by the farm's fault where it does not say.
    pub attempts: u32,
    /// How long a run of a task may take at most; 0: as long as it takes.
    pub timeout: i64,
    /// Bytes of output that a build's log takes; what comes after them is left out.
    pub output: i64,
    /// How often it is asked whether those who follow a log still may.
    pub watch: i64,
}

impl Default for Terms {
    fn default() -> Self {
        Self { lease: 30_000, pause: 15_000, attempts: 3, timeout: 24 * 3600 * 1000, output: 1 << 30, watch: 15_000 }
    }
}

impl Terms {
    /// Returns how long a run of a task may take, milliseconds, where it asks for so many seconds; 0: as long as it takes.
    pub fn lasts(&self, asked: Option<u64>) -> i64 {
        let asked = asked.map(|seconds| (seconds.clamp(1, i64::MAX as u64 / 1000) * 1000) as i64);
        match (asked, self.timeout) {
            (Some(asked), 0) => asked,
            (Some(asked), most) => asked.min(most),
            (None, most) => most,
        }
    }
}

/// A task as far as it matters who does it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    pub id: TaskId,
    pub build: BuildId,
    pub name: Name,
    pub project: Name,
    pub priority: i64,
    pub arch: Option<Arch>,
    pub capabilities: BTreeSet<String>,
    pub attempts: u32,
    pub epoch: u64,
    /// How often the farm failed it.
    pub losses: u32,
    /// How long a run of it may take, milliseconds.
    pub timeout: i64,
    /// When its lease began; the first renewal moves its end.
    pub began: i64,
    pub queued: i64,
    pub state: State,
}

/// How far a task has come, with what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Waiting,
    Queued,
    /// A node has it until then; `stopping`: somebody wants it stopped.
    Running {
        node: NodeId,
        until: i64,
        stopping: bool,
    },
    Ended(TaskState),
}

/// A node that asks for work.
#[derive(Clone, Debug, PartialEq)]
pub struct Asker {
    pub node: NodeId,
    pub name: Name,
    /// How many tasks it takes.
    pub free: u32,
    pub resources: Resources,
}

/// What shall change. Each names the epoch it was decided under and changes nothing under another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A node gets a queued task; its epoch becomes one more.
    Lease { task: TaskId, epoch: u64, node: NodeId, until: i64 },
    /// A node is still there.
    Renew { task: TaskId, epoch: u64, until: i64 },
    /// A waiting task goes into the queue.
    Queue { task: TaskId },
    /// A running task goes back into the queue, for a node was lost or failed it.
    Again { task: TaskId, epoch: u64, not_before: i64, reason: Reason },
    /// A task comes to rest.
    End { task: TaskId, epoch: u64, state: TaskState, failure: Option<Failure> },
    /// A build comes to rest.
    EndBuild { build: BuildId, state: BuildState },
}

/// Why a task goes out again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nothing was heard of its node, or the node forgot it.
    Lost,
    /// Its node never had it, or left it in good order: nobody is to blame.
    Left,
    /// The node says that it is not the task's fault.
    Failed(Failure),
}

/// Returns what becomes of a task that the farm failed: once more, or parked.
fn failed_by_farm(task: &Task, now: i64, terms: &Terms, reason: Reason) -> Change {
    let (id, epoch) = (task.id, task.epoch);
    if let State::Running { stopping: true, .. } = task.state {
        return Change::End { task: id, epoch, state: TaskState::Cancelled, failure: None };
    }
    let losses = task.losses + 1;
    if losses < task.attempts || reason == Reason::Left {
        // A lost node is no reason to wait; a mirror in the middle of its update is.
        let waits = matches!(reason, Reason::Failed(_));
        let pause = if waits { terms.pause << task.losses.min(8) } else { 0 };
        return Change::Again { task: id, epoch, not_before: now + pause, reason };
    }
    let (state, failure) = match reason {
        Reason::Lost | Reason::Left => (TaskState::Parked, parked(losses)),
        Reason::Failed(failure) => (TaskState::Failed, failure),
    };
    Change::End { task: id, epoch, state, failure: Some(failure) }
}

fn parked(losses: u32) -> Failure {
    let times = if losses == 1 { "once".to_owned() } else { format!("{losses} times") };
    Failure {
        fault: kiln_model::FaultKind::Farm,
        message: format!("its node was lost {times} while it ran"),
        hint: Some("look at what the nodes say of it; `retry` lets it run again".into()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use uuid::Uuid;

    pub fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    pub fn node(number: u128) -> NodeId {
        NodeId(Uuid::from_u128(number))
    }

    pub fn task(number: u128, project: &str) -> Task {
        Task {
            id: TaskId(Uuid::from_u128(number)),
            build: BuildId(Uuid::from_u128(number)),
            name: name("image"),
            project: name(project),
            priority: 0,
            arch: None,
            capabilities: BTreeSet::new(),
            attempts: 3,
            epoch: 0,
            losses: 0,
            timeout: i64::MAX,
            began: 0,
            queued: number as i64,
            state: State::Queued,
        }
    }

    pub fn running(number: u128, on: u128, until: i64) -> Task {
        let state = State::Running { node: node(on), until, stopping: false };
        Task { epoch: 1, state, ..task(number, "p") }
    }

    #[test]
    fn what_the_farm_fails_goes_out_again_and_then_is_parked() {
        let terms = Terms { pause: 10, ..Terms::default() };
        let failure = Failure { fault: kiln_model::FaultKind::Again, message: "busy".into(), hint: None };
        let failed = || Reason::Failed(failure.clone());
        let mut task = running(1, 1, 0);
        let again = |reason, not_before| Change::Again { task: task.id, epoch: 1, not_before, reason };
        assert_eq!(failed_by_farm(&task, 100, &terms, Reason::Lost), again(Reason::Lost, 100));
        assert_eq!(failed_by_farm(&task, 100, &terms, failed()), again(failed(), 110));
        let second = Task { losses: 1, ..task.clone() };
        assert_eq!(failed_by_farm(&second, 100, &terms, failed()), again(failed(), 120));
        task.losses = 2;
        let end = |state, failure| Change::End { task: task.id, epoch: 1, state, failure: Some(failure) };
        assert_eq!(failed_by_farm(&task, 100, &terms, Reason::Lost), end(TaskState::Parked, parked(3)));
        assert_eq!(failed_by_farm(&task, 100, &terms, failed()), end(TaskState::Failed, failure.clone()));
        task.state = State::Running { node: node(1), until: 0, stopping: true };
        let cancelled = Change::End { task: task.id, epoch: 1, state: TaskState::Cancelled, failure: None };
        assert_eq!(failed_by_farm(&task, 100, &terms, Reason::Lost), cancelled);
    }
}
