//! A build on the farm, shown as one that runs here.

use std::collections::BTreeMap;

use kiln_engine::Sink;
use kiln_farm_api::{Build, Client, Entry, FarmEvent, TaskId, What};
use kiln_model::{Event, EventKind, Fault};

use crate::farm;
use crate::render::Display;

/// Shows a build until it has ended, whatever becomes of the line meanwhile.
pub async fn follow(client: &Client, build: &Build, display: &Display) -> Result<(), Fault> {
    let mut show = Show::new(build, display, display.for_programs()?);
    let mut tell = |entry| {
        show.entry(entry);
        Ok(())
    };
    farm::follow(client, build.id, 0, &[], &mut tell).await
}

/// The renderers of a build, fed from the farm's log.
struct Show<'a> {
    build: &'a Build,
    display: &'a Display,
    /// All of it in one stream.
    programs: Option<Box<dyn Sink>>,
    /// By task, where there are several; what is of none has a renderer of its own then.
    people: BTreeMap<Option<TaskId>, Shown>,
    /// Events so far: they are numbered anew.
    seq: u64,
    /// When the first entry was.
    began: Option<i64>,
}

/// A renderer, and which run of a task it shows.
struct Shown {
    sink: Box<dyn Sink>,
    epoch: Option<u64>,
}

impl<'a> Show<'a> {
    fn new(build: &'a Build, display: &'a Display, programs: Option<Box<dyn Sink>>) -> Self {
        Self { build, display, programs, people: BTreeMap::new(), seq: 0, began: None }
    }

    fn entry(&mut self, entry: Entry) {
        let began = *self.began.get_or_insert(entry.at);
        let at = u64::try_from(entry.at - began).unwrap_or(0);
        let kind = match entry.what {
            What::Build(kind) => Some(kind),
            What::Farm(event) => words(event).map(|line| EventKind::Log { stage: None, source: "farm".into(), line }),
        };
        self.turn(entry.task, entry.epoch);
        if let Some(kind) = kind {
            self.seq += 1;
            let event = Event { seq: self.seq, at, kind };
            let people = self.people.get_mut(&self.key(entry.task)).map(|shown| &mut shown.sink);
            people.into_iter().chain(&mut self.programs).for_each(|sink| sink.event(&event));
        }
    }

    fn key(&self, task: Option<TaskId>) -> Option<TaskId> {
        task.filter(|_| self.build.tasks.len() > 1)
    }

    /// Sees to it that there is a renderer for a task's run: one that begins again on another node begins a table of its own.
    fn turn(&mut self, task: Option<TaskId>, epoch: Option<u64>) {
        let key = self.key(task);
        let shown = self.people.get(&key);
        let again = shown.is_some_and(|shown| shown.epoch.zip(epoch).is_some_and(|(old, new)| old != new));
        if shown.is_none() || again {
            let sink = self.renderer(key);
            self.people.insert(key, Shown { sink, epoch });
        } else if let Some(shown) = self.people.get_mut(&key) {
            shown.epoch = epoch.or(shown.epoch);
        }
    }

    /// Tables of several tasks would draw over each other: they are told in lines.
    fn renderer(&self, key: Option<TaskId>) -> Box<dyn Sink> {
        let tasks = &self.build.tasks;
        match tasks.iter().find(|task| Some(task.id) == key) {
            Some(task) => Display::of_task(task.order.name.as_str()),
            None if tasks.len() > 1 => Display::of_task(&self.build.name),
            None => self.display.for_people(),
        }
    }
}

/// Returns what people are told of the farm's own doings.
fn words(event: FarmEvent) -> Option<String> {
    Some(match event {
        FarmEvent::Submitted { by } => format!("submitted by {by}"),
        FarmEvent::TaskLeased { task_name, node_name, .. } => format!("{task_name} goes to {node_name}"),
        FarmEvent::TaskLost { task_name, node_name } => format!("{node_name} was lost; {task_name} goes out again"),
        FarmEvent::TaskLeft { task_name, node_name } => {
            format!("{node_name} does not have {task_name}, which goes out again")
        }
        FarmEvent::TaskEnded { task_name, state, reason } => {
            let why = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("{task_name} {}{why}", state.name())
        }
        FarmEvent::TaskAgain { task_name, by } => format!("{by} lets {task_name} run again"),
        FarmEvent::CancelAsked { by } => format!("{by} cancels it"),
        FarmEvent::BuildEnded { .. } => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_farms_doings_are_lines() {
        let lost = FarmEvent::TaskLost { task_name: "image".parse().unwrap(), node_name: "n1".parse().unwrap() };
        assert_eq!(words(lost).as_deref(), Some("n1 was lost; image goes out again"));
    }
}
