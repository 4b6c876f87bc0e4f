//! A node says how a task ended: accepted once, refused when somebody else has it.

use kiln_farm_api::task::Failure;
use kiln_farm_api::{NodeId, TaskState};
use kiln_model::FaultKind;

use super::{Change, Reason, State, Task, Terms, failed_by_farm};

/// What follows from a node's result.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It counts.
    Accept(Change),
    /// It was told before.
    Known,
    /// Its lease was over.
    Refuse,
}

/// Judges a result of `task` that `node` tells under the lease with `epoch`.
pub fn complete(
    task: &Task,
    owner: Option<NodeId>,
    node: NodeId,
    epoch: u64,
    failure: Option<Failure>,
    now: i64,
    terms: &Terms,
) -> Verdict {
    if task.epoch != epoch || owner != Some(node) {
        return Verdict::Refuse;
    }
    match task.state {
        State::Running { .. } => Verdict::Accept(change(task, failure, now, terms)),
        State::Ended(TaskState::Done | TaskState::Failed | TaskState::Cancelled) => Verdict::Known,
        // Sent out again by this very result, or lost meanwhile: either way it is not this lease's any more.
        State::Queued | State::Waiting if task.losses > 0 => Verdict::Known,
        State::Queued | State::Waiting | State::Ended(_) => Verdict::Refuse,
    }
}

fn change(task: &Task, failure: Option<Failure>, now: i64, terms: &Terms) -> Change {
    let stopping = matches!(task.state, State::Running { stopping: true, .. });
    let end = |state, failure| Change::End { task: task.id, epoch: task.epoch, state, failure };
    match failure {
        // It was done before the word to stop came.
        None => end(TaskState::Done, None),
        Some(_) if stopping => end(TaskState::Cancelled, None),
        // A node that is told to end stops its builds: another one may do them.
        Some(failure) if matches!(failure.fault, FaultKind::Farm | FaultKind::Again | FaultKind::Interrupted) => {
            failed_by_farm(task, now, terms, Reason::Failed(failure))
        }
        Some(failure) => end(TaskState::Failed, Some(failure)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{node, running};
    use super::*;

    fn failure(fault: FaultKind) -> Option<Failure> {
        Some(Failure { fault, message: "no".into(), hint: None })
    }

    fn judged(task: &Task, by: u128, epoch: u64, failure: Option<Failure>) -> Verdict {
        complete(task, Some(node(1)), node(by), epoch, failure, 100, &Terms::default())
    }

    #[test]
    fn only_the_lease_that_holds_it_counts() {
        let task = running(1, 1, 50);
        assert_eq!(judged(&task, 2, 1, None), Verdict::Refuse);
        assert_eq!(judged(&task, 1, 0, None), Verdict::Refuse);
        let done = Change::End { task: task.id, epoch: 1, state: TaskState::Done, failure: None };
        assert_eq!(judged(&task, 1, 1, None), Verdict::Accept(done));
        let ended = Task { state: State::Ended(TaskState::Done), ..task.clone() };
        assert_eq!(judged(&ended, 1, 1, None), Verdict::Known);
        assert_eq!(judged(&ended, 1, 2, None), Verdict::Refuse);
        let parked = Task { state: State::Ended(TaskState::Parked), ..task };
        assert_eq!(judged(&parked, 1, 1, None), Verdict::Refuse);
    }

    #[test]
    fn whose_fault_it_is_decides() {
        let task = running(1, 1, 50);
        let state = |fault| match judged(&task, 1, 1, failure(fault)) {
            Verdict::Accept(Change::End { state, .. }) => Some(state),
            Verdict::Accept(Change::Again { .. }) => None,
            other => panic!("{other:?}"),
        };
        for fault in [FaultKind::Recipe, FaultKind::Package, FaultKind::Upstream] {
            assert_eq!(state(fault), Some(TaskState::Failed));
        }
        for fault in [FaultKind::Farm, FaultKind::Again, FaultKind::Interrupted] {
            assert_eq!(state(fault), None);
        }
        let stopping = Task { state: State::Running { node: node(1), until: 50, stopping: true }, ..task.clone() };
        let cancelled = Change::End { task: task.id, epoch: 1, state: TaskState::Cancelled, failure: None };
        assert_eq!(judged(&stopping, 1, 1, failure(FaultKind::Interrupted)), Verdict::Accept(cancelled));
    }
}
