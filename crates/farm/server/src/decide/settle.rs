//! What follows in a build when one of its tasks has come to rest.

use std::collections::HashMap;

use kiln_farm_api::task::Failure;
use kiln_farm_api::{BuildId, BuildState, Name, TaskId, TaskState};
use kiln_model::FaultKind;

use super::Change;

/// A task among those of its build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sibling {
    pub id: TaskId,
    pub name: Name,
    pub needs: Vec<Name>,
    pub state: TaskState,
    pub epoch: u64,
}

/// Returns what follows in a build, all at once: what is skipped may let others be skipped.
pub fn settle(build: BuildId, mut tasks: Vec<Sibling>) -> Vec<Change> {
    let mut changes = vec![];
    let mut states: HashMap<Name, TaskState> = tasks.iter().map(|task| (task.name.clone(), task.state)).collect();
    loop {
        let before = changes.len();
        for task in tasks.iter_mut().filter(|task| task.state == TaskState::Waiting) {
            let Some(change) = follows(task, &states) else { continue };
            task.state = if matches!(change, Change::Queue { .. }) { TaskState::Queued } else { TaskState::Skipped };
            states.insert(task.name.clone(), task.state);
            changes.push(change);
        }
        if changes.len() == before {
            break;
        }
    }
    changes.extend(end(&tasks).map(|state| Change::EndBuild { build, state }));
    changes
}

/// Returns what becomes of a waiting task.
fn follows(task: &Sibling, states: &HashMap<Name, TaskState>) -> Option<Change> {
    let needed = || task.needs.iter().filter_map(|need| Some((need, *states.get(need)?)));
    if let Some((name, state)) = needed().find(|(_, state)| state.is_final() && *state != TaskState::Done) {
        let message = format!("`{name}`, which it needs, is {}", state.name());
        let failure = Some(Failure { fault: FaultKind::Package, message, hint: None });
        return Some(Change::End { task: task.id, epoch: task.epoch, state: TaskState::Skipped, failure });
    }
    needed().all(|(_, state)| state == TaskState::Done).then_some(Change::Queue { task: task.id })
}

/// Returns how a build ended whose tasks have all come to rest.
fn end(tasks: &[Sibling]) -> Option<BuildState> {
    let any = |state| tasks.iter().any(|task| task.state == state);
    match tasks {
        _ if tasks.iter().any(|task| !task.state.is_final()) => None,
        _ if any(TaskState::Failed) || any(TaskState::Parked) => Some(BuildState::Failed),
        _ if any(TaskState::Cancelled) => Some(BuildState::Cancelled),
        _ => Some(BuildState::Done),
    }
}

/// Most needs of all tasks of a submission together.
const NEEDS: usize = 10_000;

/// Returns a circle among the tasks of a submission, or a need that is no task: what to say of it.
pub fn mistake(tasks: &[(Name, Vec<Name>)]) -> Option<String> {
    let mut numbers = HashMap::new();
    for (at, (name, _)) in tasks.iter().enumerate() {
        if numbers.insert(name, at).is_some() {
            return Some(format!("two tasks are called `{name}`"));
        }
    }
    let count: usize = tasks.iter().map(|(_, needs)| needs.len()).sum();
    if count > NEEDS {
        return Some(format!("the tasks of a build have {NEEDS} needs at most, not {count}"));
    }
    // How many needs each has that were not put before it, and who waits for it.
    let mut open = vec![0; tasks.len()];
    let mut waiting: Vec<Vec<usize>> = vec![vec![]; tasks.len()];
    for (at, (name, needs)) in tasks.iter().enumerate() {
        for need in needs {
            let Some(other) = numbers.get(need) else {
                return Some(format!("`{name}` needs `{need}`, which is no task of this build"));
            };
            open[at] += 1;
            waiting[*other].push(at);
        }
    }
    let mut ready: Vec<usize> = (0..tasks.len()).filter(|at| open[*at] == 0).collect();
    while let Some(at) = ready.pop() {
        for other in std::mem::take(&mut waiting[at]) {
            open[other] -= 1;
            if open[other] == 0 {
                ready.push(other);
            }
        }
    }
    let left = tasks.iter().zip(&open).filter(|(_, open)| **open > 0).map(|((name, _), _)| format!("`{name}`"));
    let left: Vec<String> = left.collect();
    (!left.is_empty()).then(|| format!("{} need each other in a circle", left.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::super::tests::name;
    use super::*;
    use uuid::Uuid;

    fn build() -> BuildId {
        BuildId(Uuid::from_u128(1))
    }

    /// Reads `a:done b:waiting<a,c`.
    fn tasks(text: &str) -> Vec<Sibling> {
        let one = |(number, word): (usize, &str)| {
            let (task, rest) = word.split_once(':').unwrap();
            let (state, needs) = rest.split_once('<').unwrap_or((rest, ""));
            let state = TaskState::ALL.into_iter().find(|one| one.name() == state).unwrap();
            let needs = needs.split(',').filter(|need| !need.is_empty()).map(name).collect();
            Sibling { id: TaskId(Uuid::from_u128(number as u128)), name: name(task), needs, state, epoch: 0 }
        };
        text.split(' ').enumerate().map(one).collect()
    }

    #[test]
    fn what_follows() {
        let cases = [
            ("a:running b:waiting<a", ""),
            ("a:done b:waiting<a c:waiting<a,b", "queue b"),
            ("a:failed b:waiting<a c:waiting<b d:running", "skipped b, skipped c"),
            ("a:failed b:waiting<a c:waiting<b", "skipped b, skipped c, failed"),
            ("a:cancelled b:waiting<a", "skipped b, cancelled"),
            ("a:done b:done", "done"),
            ("a:parked b:done", "failed"),
            ("a:failed b:cancelled", "failed"),
        ];
        for (text, wanted) in cases {
            let tasks = tasks(text);
            let name = |id: TaskId| tasks.iter().find(|task| task.id == id).unwrap().name.clone();
            let words = settle(build(), tasks.clone()).into_iter().map(|change| match change {
                Change::Queue { task } => format!("queue {}", name(task)),
                Change::End { task, state, .. } => format!("{} {}", state.name(), name(task)),
                Change::EndBuild { state, .. } => state.name().to_owned(),
                other => format!("{other:?}"),
            });
            assert_eq!(words.collect::<Vec<_>>().join(", "), wanted, "{text}");
        }
    }

    #[test]
    fn mistakes_of_a_submission() {
        let cases = [
            ("a:waiting b:waiting<a", None),
            ("a:waiting a:waiting", Some("two tasks are called `a`")),
            ("a:waiting<x", Some("`a` needs `x`, which is no task of this build")),
            ("a:waiting<b b:waiting<a c:waiting", Some("`a`, `b` need each other in a circle")),
            ("a:waiting<a", Some("`a` need each other in a circle")),
        ];
        for (text, wanted) in cases {
            let tasks: Vec<_> = tasks(text).into_iter().map(|task| (task.name, task.needs)).collect();
            assert_eq!(mistake(&tasks).as_deref(), wanted, "{text}");
        }
    }
}
