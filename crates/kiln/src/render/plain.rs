//! One line per event, for pipes and build logs.

use std::collections::BTreeMap;
use std::io::Write;

use kiln_engine::events::Sink;
use kiln_model::{Event, EventKind, StageKind};

use crate::render::view::{FETCH, amount};
use crate::text;

/// Progress of one kind is told at most so often, in milliseconds of the stream; its end always.
const PAUSE: u64 = 5000;

/// Prints events as lines; nothing is ever redrawn.
pub struct Plain<W> {
    to: W,
    /// When each kind of progress was last told.
    told: BTreeMap<(Option<StageKind>, String), u64>,
}

impl<W: Write> Plain<W> {
    pub fn new(to: W) -> Self {
        Self { to, told: BTreeMap::new() }
    }

    fn words(&mut self, event: &Event) -> Option<String> {
        Some(match &event.kind {
            EventKind::Started { name, stages } => format!("{name}: {}", text::count(stages.len() as u64, "stage")),
            EventKind::StageStarted { stage, .. } => format!("{stage}: started"),
            EventKind::StageRestored { stage, .. } => format!("{stage}: from cache"),
            EventKind::Progress { stage, what, unit, done, total } => {
                self.due(*stage, what, event.at, total.is_some_and(|total| *done >= total))?;
                format!("{}: {what} {}", place(*stage), amount(*unit, *done, *total))
            }
            EventKind::Log { stage, source, line } => format!("{}: {source}: {line}", place(*stage)),
            EventKind::Warning { message } => format!("warning: {message}"),
            EventKind::StageFinished { stage, millis, .. } => format!("{stage}: done in {}", text::time(*millis)),
            EventKind::ArtifactWritten { artifact } => {
                format!("wrote {} ({}, sha256 {})", artifact.name, text::bytes(artifact.size), artifact.sha256)
            }
            // The message itself is said once, at the end, by whoever reports the failure.
            EventKind::Failed { stage, .. } => format!("{}: failed", place(*stage)),
            EventKind::Finished { millis } => format!("done in {}", text::time(*millis)),
        })
    }

    /// Some when this progress shall be told now.
    fn due(&mut self, stage: Option<StageKind>, what: &str, at: u64, complete: bool) -> Option<()> {
        let last = self.told.entry((stage, what.to_owned())).or_insert(0);
        (complete || at >= *last + PAUSE).then(|| *last = at)
    }
}

fn place(stage: Option<StageKind>) -> &'static str {
    stage.map_or(FETCH, StageKind::name)
}

impl<W: Write + Send> Sink for Plain<W> {
    fn event(&mut self, event: &Event) {
        if let Some(words) = self.words(event) {
            let seconds = event.at as f64 / 1000.0;
            let _ = writeln!(self.to, "[{seconds:7.1}] {words}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::{golden, recorded};

    fn plain_of(recording: &str) -> String {
        let mut bytes = Vec::new();
        let mut plain = Plain::new(&mut bytes);
        recorded(recording).iter().for_each(|event| plain.event(event));
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn one_line_per_event() {
        golden("build.plain", &plain_of("build.ndjson"));
        golden("failed.plain", &plain_of("failed.ndjson"));
    }
}
