//! Who gets what: by priority, then by fair share between projects, then by age.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

use kiln_farm_api::Name;

use super::{Asker, Change, Task, Terms};

/// A project's claim on the farm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// How many of its tasks run now.
    pub running: u32,
    /// Twice the weight is twice as many at once; at least 1.
    pub weight: u32,
}

/// Gives queued tasks to nodes that ask. `ready` are those that may begin now, in any order.
pub fn assign(
    ready: Vec<Task>,
    shares: &BTreeMap<Name, Share>,
    askers: &mut [Asker],
    now: i64,
    terms: &Terms,
) -> Vec<Change> {
    let mut shares = shares.clone();
    let mut queues = queues(ready);
    let mut changes = vec![];
    while let Some(task) = next(&mut queues, &shares) {
        let Some(asker) = best(&task, askers) else { continue };
        asker.free -= 1;
        shares.entry(task.project).or_insert(Share { running: 0, weight: 1 }).running += 1;
        changes.push(Change::Lease { task: task.id, epoch: task.epoch, node: asker.node, until: now + terms.lease });
        if askers.iter().all(|asker| asker.free == 0) {
            break;
        }
    }
    changes
}

type Queues = BTreeMap<Name, VecDeque<Task>>;

fn queues(mut ready: Vec<Task>) -> Queues {
    ready.sort_by_key(|task| (Reverse(task.priority), task.queued, task.id));
    let mut queues = Queues::new();
    for task in ready {
        queues.entry(task.project.clone()).or_default().push_back(task);
    }
    queues
}

/// Takes the task whose turn it is: of the highest priority, of the project that has least for its weight, the oldest.
fn next(queues: &mut Queues, shares: &BTreeMap<Name, Share>) -> Option<Task> {
    let turn = |project: &Name, task: &Task| {
        let share = shares.get(project).copied().unwrap_or(Share { running: 0, weight: 1 });
        // Running per weight, as a whole number.
        let used = u64::from(share.running) * 1_000_000 / u64::from(share.weight.max(1));
        (Reverse(task.priority), used, task.queued, task.id)
    };
    let heads = queues.iter().filter_map(|(project, queue)| Some((turn(project, queue.front()?), project)));
    let project = heads.min().map(|(_, project)| project.clone())?;
    queues.get_mut(&project)?.pop_front()
}

/// Returns the node that suits a task best: one that runs its programs itself, then the one with most room.
fn best<'a>(task: &Task, askers: &'a mut [Asker]) -> Option<&'a mut Asker> {
    let fitting = askers.iter_mut().filter(|asker| asker.free > 0 && fits(task, asker));
    let native = |asker: &Asker| task.arch.is_none() || asker.resources.architectures.first() == task.arch.as_ref();
    fitting.min_by_key(|asker| (!native(asker), Reverse(asker.free), asker.name.clone(), asker.node))
}

fn fits(task: &Task, asker: &Asker) -> bool {
    task.arch.is_none_or(|arch| asker.resources.architectures.contains(&arch))
        && task.capabilities.is_subset(&asker.resources.capabilities)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{name, node, task};
    use super::*;
    use kiln_farm_api::Resources;
    use kiln_model::Arch;

    fn asker(number: u128, free: u32, architectures: &[Arch]) -> Asker {
        let resources = Resources { architectures: architectures.to_vec(), ..Resources::default() };
        Asker { node: node(number), name: name(&format!("n{number}")), free, resources }
    }

    /// Returns who got what, as `task→node`, in the order of the decisions.
    fn given(ready: Vec<Task>, shares: &[(&str, u32, u32)], mut askers: Vec<Asker>) -> String {
        let shares = shares
            .iter()
            .map(|(project, running, weight)| (name(project), Share { running: *running, weight: *weight }));
        let changes = assign(ready, &shares.collect(), &mut askers, 0, &Terms::default());
        let words = changes.iter().map(|change| match change {
            Change::Lease { task, node, .. } => format!("{}→{}", task.0.as_u128(), node.0.as_u128()),
            other => format!("{other:?}"),
        });
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn priority_then_share_then_age() {
        let mut urgent = task(9, "busy");
        urgent.priority = 1;
        let ready = || vec![task(1, "busy"), task(2, "busy"), task(3, "calm"), urgent.clone()];
        let here = || vec![asker(1, 9, &[Arch::Amd64])];
        assert_eq!(given(ready(), &[], here()), "9→1 3→1 1→1 2→1");
        assert_eq!(given(ready(), &[("calm", 5, 1)], here()), "9→1 1→1 2→1 3→1");
        assert_eq!(given(ready(), &[("busy", 5, 10), ("calm", 1, 1)], here()), "9→1 1→1 2→1 3→1");
        assert_eq!(given(ready(), &[], vec![asker(1, 2, &[])]), "9→1 3→1");
    }

    #[test]
    fn a_task_goes_where_it_can_run() {
        let on = |arch, capability: Option<&str>| Task {
            arch: Some(arch),
            capabilities: capability.into_iter().map(str::to_owned).collect(),
            ..task(1, "p")
        };
        let nodes = || vec![asker(1, 9, &[Arch::Amd64, Arch::Arm64]), asker(2, 1, &[Arch::Arm64])];
        assert_eq!(given(vec![on(Arch::Arm64, None)], &[], nodes()), "1→2", "its own before most room");
        assert_eq!(given(vec![on(Arch::Amd64, None)], &[], nodes()), "1→1");
        assert_eq!(given(vec![on(Arch::Riscv64, None)], &[], nodes()), "");
        assert_eq!(given(vec![on(Arch::Amd64, Some("kvm"))], &[], nodes()), "");
    }

    #[test]
    fn what_fits_nowhere_holds_up_nobody() {
        let stuck = Task { arch: Some(Arch::Riscv64), ..task(1, "p") };
        assert_eq!(given(vec![stuck, task(2, "p")], &[], vec![asker(1, 1, &[Arch::Amd64])]), "2→1");
    }
}
