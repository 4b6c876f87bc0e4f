//! What a node says it has, beside what it should have.

use std::collections::BTreeSet;

use kiln_farm_api::{Holding, NodeId};

use super::{Change, Reason, State, Task, Terms, failed_by_farm};

/// What follows from a node's words.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Heard {
    pub changes: Vec<Change>,
    /// What the node is to stop and forget.
    pub stop: Vec<Holding>,
}

/// Compares what `node` holds with the tasks it has by our book. A task that it does not hold is not held against anyone where the
/// answer that gave it may have been lost on the way, or where the node is `leaving` in good order.
pub fn hear(node: NodeId, holding: &[Holding], leaving: bool, running: &[Task], now: i64, terms: &Terms) -> Heard {
    let mut heard = Heard::default();
    let held: BTreeSet<Holding> = holding.iter().copied().collect();
    let mut ours = BTreeSet::new();
    for task in running {
        let State::Running { node: owner, stopping, until } = task.state else { continue };
        let lease = Holding { task: task.id, epoch: task.epoch };
        if owner != node {
            continue;
        }
        if !held.contains(&lease) {
            let renewed = until != task.began + terms.lease;
            let reason = if leaving || !renewed { Reason::Left } else { Reason::Lost };
            heard.changes.push(failed_by_farm(task, now, terms, reason));
            continue;
        }
        // One that is being stopped is still its node's until that says how it ended.
        ours.insert(lease);
        heard.changes.push(Change::Renew { task: task.id, epoch: task.epoch, until: now + terms.lease });
        if stopping {
            heard.stop.push(lease);
        }
    }
    heard.stop.extend(held.difference(&ours));
    heard
}

#[cfg(test)]
mod tests {
    use super::super::tests::{node, running};
    use super::*;

    #[test]
    fn it_is_renewed_lost_or_stopped() {
        let mut stopping = running(3, 1, 50);
        stopping.state = State::Running { node: node(1), until: 50, stopping: true };
        let tasks = [running(1, 1, 50), running(2, 1, 50), stopping, running(4, 2, 50)];
        let holding = |number: usize, epoch| Holding { task: tasks[number - 1].id, epoch };
        // The first is there, of the second it has an older lease, the third is to stop, the fourth is another's.
        let terms = Terms { lease: 10, ..Terms::default() };
        let held = [holding(1, 1), holding(2, 0), holding(3, 1), holding(4, 1)];
        let heard = hear(node(1), &held, false, &tasks, 100, &terms);
        let renew = |number: usize| Change::Renew { task: tasks[number - 1].id, epoch: 1, until: 110 };
        let lost = Change::Again { task: tasks[1].id, epoch: 1, not_before: 100, reason: Reason::Lost };
        assert_eq!(heard.changes, [renew(1), lost, renew(3)]);
        assert_eq!(heard.stop, [holding(3, 1), holding(2, 0), holding(4, 1)]);

        let left = Change::Again { task: tasks[1].id, epoch: 1, not_before: 100, reason: Reason::Left };
        assert!(hear(node(1), &held, true, &tasks, 100, &terms).changes.contains(&left), "it goes in good order");
        let terms = Terms { lease: 50, ..terms };
        assert!(
            hear(node(1), &held, false, &tasks, 100, &terms).changes.contains(&left),
            "it may never have heard of it"
        );
    }
}
