//! Time that is over: tasks of nodes that are not heard of go out again, those that run for too long fail.

use kiln_farm_api::TaskState;
use kiln_farm_api::task::Failure;
use kiln_model::FaultKind;

use super::{Change, Reason, State, Task, Terms, failed_by_farm};

/// Returns what becomes of tasks whose lease is over.
pub fn expire(running: &[Task], now: i64, terms: &Terms) -> Vec<Change> {
    let over = running.iter().filter(|task| matches!(task.state, State::Running { until, .. } if until <= now));
    over.map(|task| failed_by_farm(task, now, terms, Reason::Lost)).collect()
}

/// Returns what becomes of tasks that run for longer than they may: their nodes are told to stop when they poll.
pub fn too_long(running: &[Task], now: i64) -> Vec<Change> {
    let over = running.iter().filter(|task| now.saturating_sub(task.began) >= task.timeout);
    let end = |task: &Task| match task.state {
        // Somebody wants it stopped; that it will be, and by its own name.
        State::Running { stopping: false, .. } => {
            let failure = Some(took_too_long(task.timeout));
            Some(Change::End { task: task.id, epoch: task.epoch, state: TaskState::Failed, failure })
        }
        _ => None,
    };
    over.filter_map(end).collect()
}

fn took_too_long(timeout: i64) -> Failure {
    let seconds = timeout / 1000;
    let (hours, minutes) = (seconds / 3600, seconds % 3600 / 60);
    let words = match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, _) => format!("{minutes} min"),
        (_, 0) => format!("{hours} h"),
        _ => format!("{hours} h {minutes} min"),
    };
    Failure {
        fault: FaultKind::Recipe,
        message: format!("it ran for longer than {words} and was stopped"),
        hint: Some(
            "its log says where it stood; `kiln submit --timeout` or `kiln serve --task-timeout` allow more".into(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{running, task};
    use super::*;

    #[test]
    fn too_long_is_too_long() {
        let run = |number, began, timeout| Task { began, timeout, ..running(number, 1, 0) };
        let mut tasks = [run(1, 100, 50), run(2, 101, 50), run(3, 0, i64::MAX), run(4, 0, 1)];
        tasks[3].state = State::Running { node: super::super::tests::node(1), until: 0, stopping: true };
        let failure = Some(took_too_long(50));
        let end = Change::End { task: tasks[0].id, epoch: 1, state: TaskState::Failed, failure };
        assert_eq!(too_long(&tasks, 150), [end]);
        for (timeout, words) in [(59_000, "59 s"), (90 * 60_000, "1 h 30 min"), (3_600_000, "1 h"), (120_000, "2 min")]
        {
            assert!(took_too_long(timeout).message.contains(words), "{timeout}");
        }
    }

    #[test]
    fn only_what_is_over() {
        let tasks = [running(1, 1, 100), running(2, 1, 101), task(3, "p")];
        let lost = Change::Again { task: tasks[0].id, epoch: 1, not_before: 100, reason: Reason::Lost };
        assert_eq!(expire(&tasks, 100, &Terms::default()), [lost]);
    }
}
