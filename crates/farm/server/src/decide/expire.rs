//! Nodes that are not heard of: their tasks go out again.

use super::{Change, Reason, State, Task, Terms, failed_by_farm};

/// Returns what becomes of tasks whose lease is over.
pub fn expire(running: &[Task], now: i64, terms: &Terms) -> Vec<Change> {
    let over = running.iter().filter(|task| matches!(task.state, State::Running { until, .. } if until <= now));
    over.map(|task| failed_by_farm(task, now, terms, Reason::Lost)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{running, task};
    use super::*;

    #[test]
    fn only_what_is_over() {
        let tasks = [running(1, 1, 100), running(2, 1, 101), task(3, "p")];
        let lost = Change::Again { task: tasks[0].id, epoch: 1, not_before: 100, reason: Reason::Lost };
        assert_eq!(expire(&tasks, 100, &Terms::default()), [lost]);
    }
}
