//! The stage list as a value: events in, rows out. Drawing it is the terminal's part.

use kiln_model::{Event, EventKind, StageKind, Unit};

use crate::text;

/// The name of what happens outside of stages: indexes, resolving, downloads.
pub const FETCH: &str = "fetch";

/// What a terminal shows of a build.
#[derive(Default)]
pub struct View {
    /// Empty until the build started.
    pub name: String,
    rows: Vec<Row>,
}

/// One line of the list: the work outside of stages, or a stage.
struct Row {
    stage: Option<StageKind>,
    state: State,
    /// Milliseconds of the stages of this kind that are done.
    spent: u64,
    progress: Vec<Progress>,
    /// The newest line of output.
    said: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    /// Since so many milliseconds of the stream.
    Running(u64),
    Cached,
    /// After so many milliseconds.
    Done(u64),
    Failed(u64),
}

struct Progress {
    what: String,
    unit: Unit,
    done: u64,
    total: Option<u64>,
}

/// A row as it shall be drawn.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    pub mark: Mark,
    pub name: &'static str,
    /// How long it took, or takes so far.
    pub time: String,
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    Waiting,
    Running,
    Cached,
    Done,
    Failed,
}

impl View {
    /// Takes in one event.
    pub fn event(&mut self, event: &Event) {
        let at = event.at;
        match &event.kind {
            EventKind::Started { name, stages } => self.start(name, stages, at),
            EventKind::StageStarted { stage, .. } => self.state(*stage, State::Running(at)),
            EventKind::StageRestored { stage, .. } => self.state(*stage, State::Cached),
            EventKind::StageFinished { stage, millis, .. } => self.state(*stage, State::Done(*millis)),
            EventKind::Progress { stage, what, unit, done, total } => {
                let progress = Progress { what: what.clone(), unit: *unit, done: *done, total: *total };
                self.row(*stage, at).progress(progress, at);
            }
            EventKind::Log { stage, line, .. } => self.row(*stage, at).said = line.trim().to_owned(),
            EventKind::Failed { .. } => self.fail(at),
            EventKind::Finished { .. } => self.fetched(at),
            EventKind::Warning { .. } | EventKind::ArtifactWritten { .. } => {}
        }
    }

    /// Returns the list as it stands `now` milliseconds after the stream began.
    pub fn lines(&self, now: u64) -> Vec<Line> {
        self.rows.iter().map(|row| row.line(now)).collect()
    }

    /// Lists the stages; what was told before they were known keeps its row above them.
    fn start(&mut self, name: &str, stages: &[StageKind], at: u64) {
        self.fetched(at);
        self.name = name.to_owned();
        self.rows.extend(stages.iter().map(|stage| Row::new(Some(*stage), State::Waiting)));
    }

    /// Ends the work outside of stages, for now.
    fn fetched(&mut self, at: u64) {
        let outside = self.rows.iter_mut().filter(|row| row.stage.is_none());
        outside.for_each(|row| row.end(at, State::Done));
    }

    fn fail(&mut self, at: u64) {
        self.rows.iter_mut().for_each(|row| row.end(at, State::Failed));
    }

    /// Stages of one kind (an image per output) share a row, which tells the time of all of them.
    fn state(&mut self, stage: StageKind, state: State) {
        let row = self.row(Some(stage), 0);
        row.state = match (row.state, state) {
            (State::Done(_), State::Cached) | (State::Cached, State::Done(_)) => return,
            (_, State::Done(millis)) => {
                row.spent += millis;
                State::Done(row.spent)
            }
            (_, state) => state,
        };
    }

    /// Returns the row that speaks of `stage`; one is made for work outside of stages, and for a stage nobody announced.
    fn row(&mut self, stage: Option<StageKind>, at: u64) -> &mut Row {
        let found = self.rows.iter().position(|row| row.stage == stage);
        let at = found.unwrap_or_else(|| {
            let place = if stage.is_none() { 0 } else { self.rows.len() };
            self.rows.insert(place, Row::new(stage, State::Running(at)));
            place
        });
        &mut self.rows[at]
    }
}

impl Row {
    fn new(stage: Option<StageKind>, state: State) -> Self {
        Self { stage, state, spent: 0, progress: Vec::new(), said: String::new() }
    }

    /// Fetching has no stage to begin and end it: it runs while something of it is not complete.
    fn progress(&mut self, new: Progress, at: u64) {
        match self.progress.iter_mut().find(|progress| progress.what == new.what) {
            Some(progress) => *progress = new,
            None => self.progress.push(new),
        }
        let complete = self.progress.iter().all(Progress::is_complete);
        match self.state {
            State::Done(_) if self.stage.is_none() && !complete => self.state = State::Running(at),
            State::Running(_) if self.stage.is_none() && complete => self.end(at, State::Done),
            _ => {}
        }
    }

    /// Ends a running row.
    fn end(&mut self, at: u64, state: fn(u64) -> State) {
        if let State::Running(since) = self.state {
            self.spent += at.saturating_sub(since);
            self.state = state(self.spent);
        }
    }

    fn line(&self, now: u64) -> Line {
        let (mark, time) = match self.state {
            State::Waiting => (Mark::Waiting, None),
            State::Running(since) => (Mark::Running, Some(self.spent + now.saturating_sub(since))),
            State::Cached => (Mark::Cached, None),
            State::Done(millis) => (Mark::Done, Some(millis)),
            State::Failed(millis) => (Mark::Failed, Some(millis)),
        };
        let name = self.stage.map_or(FETCH, StageKind::name);
        Line { mark, name, time: time.map(text::time).unwrap_or_default(), detail: self.detail(mark) }
    }

    fn detail(&self, mark: Mark) -> String {
        let mut parts: Vec<String> = self.progress.iter().map(|progress| progress.words(mark)).collect();
        match mark {
            Mark::Waiting => return String::new(),
            Mark::Cached => return "from cache".into(),
            Mark::Running | Mark::Failed if !self.said.is_empty() => parts.push(self.said.clone()),
            Mark::Running | Mark::Failed | Mark::Done => {}
        }
        parts.join(" · ")
    }
}

impl Progress {
    fn is_complete(&self) -> bool {
        self.total.is_none_or(|total| self.done >= total)
    }

    fn words(&self, mark: Mark) -> String {
        let total = if mark == Mark::Done { None } else { self.total };
        format!("{} {}", self.what, amount(self.unit, self.done, total))
    }
}

/// Returns `3.1 MB`, `3.1 of 24.0 MB`, `41 of 118 packages`.
pub fn amount(unit: Unit, done: u64, total: Option<u64>) -> String {
    let known = total.filter(|total| *total != done);
    let noun = match unit {
        Unit::Bytes => {
            let of = known.map(|total| format!(" of {}", text::bytes(total))).unwrap_or_default();
            return text::bytes(done) + &of;
        }
        Unit::Packages => "package",
        Unit::Files => "file",
        Unit::Seconds => "second",
        Unit::Steps => "step",
    };
    match known {
        Some(total) => format!("{done} of {}", text::count(total, noun)),
        None => text::count(done, noun),
    }
}
