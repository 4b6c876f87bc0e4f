//! One build's story: each event with what a listener could only guess, and what Pieman would have said.

use std::collections::BTreeMap;

use kiln_model::{Event, EventKind, FaultKind, StageKind};
use serde::Serialize;

use crate::codes::Codes;
use crate::log;
use crate::progress::Progress;
use crate::publish::Post;

/// Progress of one kind is told at most so often, in milliseconds of the stream; its end always.
const PAUSE: u64 = 250;

/// Turns events into what is published.
#[derive(Default)]
pub struct Story {
    codes: Codes,
    progress: Progress,
    /// Bytes of log so far.
    log: u64,
    seq: u64,
    at: u64,
    /// When each kind of progress was last told.
    told: BTreeMap<(Option<StageKind>, String), u64>,
}

/// An event as `kiln:PROJECT:events` carries it.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    event: &'a Event,
    /// Pieman's codes that were spoken with it.
    codes: &'a [u16],
    percent: u8,
    /// Milliseconds until the end, as far as can be guessed.
    left: Option<u64>,
    /// Bytes of log told so far, with this event's.
    log_offset: u64,
}

impl Story {
    /// Returns what to publish of an event; of progress only now and then.
    pub fn tell(&mut self, event: &Event) -> Option<Post> {
        (!self.is_over() && self.due(event)).then(|| self.post(event, log::text(event)))
    }

    /// Ends the story of a build that ended without a word; none when it had its word.
    pub fn cut_off(&mut self) -> Option<Post> {
        let kind = EventKind::Failed {
            stage: None,
            fault: FaultKind::Farm,
            message: "the build ended without a word: its process was killed".into(),
            hint: None,
            detail: None,
            diagnostics: vec![],
        };
        let event = Event { seq: self.seq + 1, at: self.at, kind };
        (!self.is_over()).then(|| self.post(&event, log::interrupted()))
    }

    pub fn is_over(&self) -> bool {
        self.codes.is_over()
    }

    fn post(&mut self, event: &Event, log: String) -> Post {
        (self.seq, self.at) = (event.seq, event.at);
        self.progress.event(event);
        self.log += log.len() as u64;
        let codes = self.codes.translate(&event.kind);
        let told = Told {
            event,
            codes: &codes,
            percent: self.progress.percent(),
            left: self.progress.left(event.at),
            log_offset: self.log,
        };
        let json = serde_json::to_string(&told).expect("events serialise");
        let must = !matches!(event.kind, EventKind::Progress { .. } | EventKind::Log { .. });
        Post { seq: event.seq, codes, event: Some(json), log: Some(log).filter(|log| !log.is_empty()), must }
    }

    fn due(&mut self, event: &Event) -> bool {
        let EventKind::Progress { stage, what, done, total, .. } = &event.kind else { return true };
        let last = self.told.get(&(*stage, what.clone()));
        let due = *total == Some(*done) || last.is_none_or(|last| event.at >= last + PAUSE);
        if due {
            self.told.insert((*stage, what.clone()), event.at);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use kiln_model::{Digest, StageId, Unit};

    use super::*;

    fn event(seq: u64, at: u64, kind: EventKind) -> Event {
        Event { seq, at, kind }
    }

    #[test]
    fn an_event_carries_more_than_the_engine_told() {
        let id = StageId(Digest::of("x"));
        let stages = vec![StageKind::Bootstrap, StageKind::Packages];
        let mut story = Story::default();
        let started = story.tell(&event(1, 0, EventKind::Started { name: "x".into(), stages })).unwrap();
        assert_eq!(
            started.event.unwrap(),
            r#"{"seq":1,"at":0,"event":"started","name":"x","stages":["bootstrap","packages"],"codes":[],"percent":0,"left":null,"log_offset":41}"#
        );
        let kind = EventKind::StageFinished { stage: StageKind::Bootstrap, id, millis: 3000, code: Some(10) };
        let finished = story.tell(&event(2, 3000, kind)).unwrap();
        let json = finished.event.unwrap();
        assert!(
            json.ends_with(r#""millis":3000,"code":10,"codes":[10],"percent":27,"left":8000,"log_offset":41}"#),
            "{json}"
        );
        assert_eq!((finished.codes, finished.log, finished.must), (vec![10], None, true));
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap().seq, 2);
    }

    #[test]
    fn a_story_has_one_end() {
        let mut story = Story::default();
        assert_eq!(story.cut_off().unwrap().codes, [1001]);
        assert!(story.cut_off().is_none() && story.tell(&event(1, 0, EventKind::Finished { millis: 1 })).is_none());
        let mut story = Story::default();
        assert_eq!(story.tell(&event(1, 0, EventKind::Finished { millis: 1 })).unwrap().codes.last(), Some(&1000));
        assert!(story.cut_off().is_none());
    }

    #[test]
    fn progress_is_told_now_and_then() {
        let mut story = Story::default();
        let mut told = |at, done| {
            let (what, unit) = ("unpack".to_owned(), Unit::Packages);
            let kind = EventKind::Progress { stage: None, what, unit, done, total: Some(9) };
            story.tell(&event(1, at, kind)).is_some()
        };
        assert_eq!([told(0, 1), told(100, 2), told(250, 3), told(260, 9)], [true, false, true, true]);
    }
}
