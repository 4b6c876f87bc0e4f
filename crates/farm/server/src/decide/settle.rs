//! What follows in a build when one of its tasks has come to rest.

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
    while let Some((at, change)) = next(&tasks) {
        tasks[at].state = if matches!(change, Change::Queue { .. }) { TaskState::Queued } else { TaskState::Skipped };
        changes.push(change);
    }
    changes.extend(end(&tasks).map(|state| Change::EndBuild { build, state }));
    changes
}

fn next(tasks: &[Sibling]) -> Option<(usize, Change)> {
    let waiting = tasks.iter().enumerate().filter(|(_, task)| task.state == TaskState::Waiting);
    waiting.filter_map(|(at, task)| Some((at, follows(task, tasks)?))).next()
}

/// Returns what becomes of a waiting task.
fn follows(task: &Sibling, tasks: &[Sibling]) -> Option<Change> {
    let needed = || tasks.iter().filter(|other| task.needs.contains(&other.name));
    if let Some(bad) = needed().find(|other| other.state.is_final() && other.state != TaskState::Done) {
        let message = format!("`{}`, which it needs, is {}", bad.name, bad.state.name());
        let failure = Some(Failure { fault: FaultKind::Package, message, hint: None });
        return Some(Change::End { task: task.id, epoch: task.epoch, state: TaskState::Skipped, failure });
    }
    needed().all(|other| other.state == TaskState::Done).then_some(Change::Queue { task: task.id })
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

/// Returns a circle among the tasks of a submission, or a need that is no task: what to say of it.
pub fn mistake(tasks: &[(Name, Vec<Name>)]) -> Option<String> {
    for (at, (name, needs)) in tasks.iter().enumerate() {
        if tasks[..at].iter().any(|(other, _)| other == name) {
            return Some(format!("two tasks are called `{name}`"));
        }
        if let Some(need) = needs.iter().find(|need| tasks.iter().all(|(other, _)| other != *need)) {
            return Some(format!("`{name}` needs `{need}`, which is no task of this build"));
        }
    }
    let mut left: Vec<&(Name, Vec<Name>)> = tasks.iter().collect();
    loop {
        let open = |name: &Name, left: &[&(Name, Vec<Name>)]| left.iter().any(|(other, _)| other == name);
        let still: Vec<_> =
            left.iter().copied().filter(|(_, needs)| needs.iter().any(|need| open(need, &left))).collect();
        if still.len() == left.len() {
            let names: Vec<String> = left.iter().map(|(name, _)| format!("`{name}`")).collect();
            return (!left.is_empty()).then(|| format!("{} need each other in a circle", names.join(", ")));
        }
        left = still;
    }
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
