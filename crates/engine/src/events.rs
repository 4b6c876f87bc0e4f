//! The event stream: numbered once, handed to every sink in order.

use std::sync::Mutex;
use std::time::Instant;

use kiln_model::{Event, EventKind, StageKind, Unit};

/// Takes events as they happen: a terminal, a file, a server.
pub trait Sink: Send {
    fn event(&mut self, event: &Event);
}

/// The one place where events are numbered.
pub struct Events {
    state: Mutex<State>,
    began: Instant,
}

struct State {
    seq: u64,
    sinks: Vec<Box<dyn Sink>>,
}

impl Events {
    pub fn new(sinks: Vec<Box<dyn Sink>>) -> Self {
        Self { state: Mutex::new(State { seq: 0, sinks }), began: Instant::now() }
    }

    /// Adds a sink that hears what comes from now on.
    pub fn add(&self, sink: Box<dyn Sink>) {
        self.state.lock().expect("no sink panics").sinks.push(sink);
    }

    /// Tells every sink.
    pub fn tell(&self, kind: EventKind) {
        let at = self.began.elapsed().as_millis() as u64;
        let mut state = self.state.lock().expect("no sink panics");
        state.seq += 1;
        let event = Event { seq: state.seq, at, kind };
        state.sinks.iter_mut().for_each(|sink| sink.event(&event));
    }

    /// Tells a line of output.
    pub fn log(&self, stage: Option<StageKind>, source: &str, line: impl Into<String>) {
        self.tell(EventKind::Log { stage, source: source.to_owned(), line: line.into() });
    }

    pub fn warn(&self, message: impl Into<String>) {
        self.tell(EventKind::Warning { message: message.into() });
    }

    /// Tells how far the work in hand has come.
    pub fn progress(&self, stage: Option<StageKind>, what: &str, unit: Unit, done: u64, total: Option<u64>) {
        self.tell(EventKind::Progress { stage, what: what.to_owned(), unit, done, total });
    }

    /// Returns milliseconds since the stream began.
    pub fn millis(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }
}
