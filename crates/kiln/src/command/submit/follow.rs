//! A build on the farm, shown as one that runs here.

use kiln_engine::Sink;
use kiln_farm_api::{BuildId, Client, Entry, FarmEvent, What};
use kiln_model::{Event, EventKind, Fault};

use crate::farm;
use crate::render::Display;

/// Shows a build until it has ended, whatever becomes of the line meanwhile.
pub async fn follow(client: &Client, id: BuildId, display: &Display) -> Result<(), Fault> {
    let mut show = Show { sinks: display.sinks(None)?, display, seq: 0, began: None, epoch: None };
    let mut tell = |entry| {
        show.entry(entry);
        Ok(())
    };
    farm::follow(client, id, 0, &[], &mut tell).await
}

/// The renderers of a build, fed from the farm's log.
struct Show<'a> {
    sinks: Vec<Box<dyn Sink>>,
    display: &'a Display,
    /// Events so far: they are numbered anew.
    seq: u64,
    /// When the first entry was.
    began: Option<i64>,
    /// Which run of the task is shown.
    epoch: Option<u64>,
}

impl Show<'_> {
    fn entry(&mut self, entry: Entry) {
        let began = *self.began.get_or_insert(entry.at);
        let at = u64::try_from(entry.at - began).unwrap_or(0);
        if let (Some(old), Some(new)) = (self.epoch, entry.epoch)
            && old != new
            && let Ok(sinks) = self.display.sinks(None)
        {
            // It begins again on another node: so does its table.
            self.sinks = sinks;
        }
        self.epoch = entry.epoch.or(self.epoch);
        let kind = match entry.what {
            What::Build(kind) => Some(kind),
            What::Farm(event) => words(event).map(|line| EventKind::Log { stage: None, source: "farm".into(), line }),
        };
        if let Some(kind) = kind {
            self.seq += 1;
            let event = Event { seq: self.seq, at, kind };
            self.sinks.iter_mut().for_each(|sink| sink.event(&event));
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
