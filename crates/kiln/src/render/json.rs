//! One JSON object per event and line.

use std::io::Write;

use kiln_engine::events::Sink;
use kiln_model::Event;

/// Writes events as JSON lines; a reader that went away is not written to again.
pub struct Json<W> {
    to: Option<W>,
}

impl<W> Json<W> {
    pub fn new(to: W) -> Self {
        Self { to: Some(to) }
    }
}

impl<W: Write + Send> Sink for Json<W> {
    fn event(&mut self, event: &Event) {
        let Some(to) = &mut self.to else { return };
        let line = serde_json::to_string(event).expect("events serialise");
        if writeln!(to, "{line}").is_err() {
            self.to = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::recorded;

    #[test]
    fn what_is_written_reads_back() {
        let events = recorded("build.ndjson");
        let mut bytes = Vec::new();
        let mut json = Json::new(&mut bytes);
        events.iter().for_each(|event| json.event(event));
        let lines = std::str::from_utf8(&bytes).unwrap().lines();
        assert_eq!(lines.map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Event>>(), events);
    }
}
