//! The dialect: what Pieman's numbered build status codes say of kiln's events.
//!
//! Listeners know two sequences by heart, that of a tree (10 … 32) and that of an image (10 … 82), each closed by 1000. So
//! a code that kiln has no stage for is spoken with the next one it has, and every build ends with 1000 or 1001.

use kiln_model::{EventKind, StageKind};

/// The build ended well.
pub const SUCCESSFUL: u16 = 1000;
/// The build ended in any other way.
pub const FAILED: u16 = 1001;

/// What Pieman speaks on the way, in order.
pub const STEPS: [u16; 14] = [10, 20, 21, 30, 31, 32, 33, 40, 50, 60, 70, 80, 81, 82];

/// Steps that belong to a tree; those after them belong to an image.
const TREE: usize = 6;
/// Stages that only what starts has.
const OF_IMAGES: [StageKind; 3] = [StageKind::Kernel, StageKind::Boot, StageKind::Partitions];

/// Translates the events of one build; each code is spoken once.
#[derive(Clone, Debug, Default)]
pub struct Codes {
    /// How many of the steps are spoken.
    spoken: usize,
    /// Whether it makes a tree and no image.
    tree: bool,
    over: bool,
}

impl Codes {
    /// Returns the codes that an event speaks, in order; mostly none.
    pub fn translate(&mut self, event: &EventKind) -> Vec<u16> {
        if self.over {
            return vec![];
        }
        match event {
            EventKind::StageRestored { stage, .. } | EventKind::StageFinished { stage, .. } => self.reach(*stage),
            EventKind::Finished { .. } => self.succeed(),
            EventKind::Failed { .. } => self.end(FAILED),
            EventKind::Started { stages, .. } => {
                self.tree = !stages.iter().any(|stage| OF_IMAGES.contains(stage));
                vec![]
            }
            EventKind::StageStarted { .. }
            | EventKind::Progress { .. }
            | EventKind::Log { .. }
            | EventKind::Warning { .. }
            | EventKind::ArtifactWritten { .. } => vec![],
        }
    }

    /// Whether 1000 or 1001 is spoken.
    pub fn is_over(&self) -> bool {
        self.over
    }

    fn reach(&mut self, stage: StageKind) -> Vec<u16> {
        let step = stage.code().and_then(|code| STEPS.iter().position(|step| *step == code));
        step.map(|step| self.up_to(step + 1)).unwrap_or_default()
    }

    /// Speaks what is missing of the first `count` steps.
    fn up_to(&mut self, count: usize) -> Vec<u16> {
        let count = if self.tree { count.min(TREE) } else { count };
        let missing = STEPS.get(self.spoken..count).unwrap_or_default().to_vec();
        self.spoken = self.spoken.max(count);
        missing
    }

    /// Completes the sequence that was begun.
    fn succeed(&mut self) -> Vec<u16> {
        let mut codes = self.up_to(if self.spoken <= TREE { TREE } else { STEPS.len() });
        codes.extend(self.end(SUCCESSFUL));
        codes
    }

    fn end(&mut self, code: u16) -> Vec<u16> {
        self.over = true;
        vec![code]
    }
}

/// Returns the stage whose end a code speaks of; none for 1000, 1001 and what is no code.
pub fn stage(code: u16) -> Option<StageKind> {
    StageKind::ALL.into_iter().find(|stage| stage.code() == Some(code))
}

/// Whether a payload is one of Pieman's codes.
pub fn is_code(code: u16) -> bool {
    STEPS.contains(&code) || code == SUCCESSFUL || code == FAILED
}

#[cfg(test)]
mod tests {
    use kiln_model::{Digest, FaultKind, StageId};

    use super::*;

    fn id() -> StageId {
        StageId(Digest::of("x"))
    }

    fn finished(stage: StageKind) -> EventKind {
        EventKind::StageFinished { stage, id: id(), millis: 1, code: stage.code() }
    }

    fn restored(stage: StageKind) -> EventKind {
        EventKind::StageRestored { stage, id: id() }
    }

    fn failed() -> EventKind {
        EventKind::Failed {
            stage: None,
            fault: FaultKind::Package,
            message: String::new(),
            hint: None,
            detail: None,
            diagnostics: vec![],
        }
    }

    /// Payloads as a subscriber reads them, with spaces between.
    fn spoken(events: impl IntoIterator<Item = EventKind>) -> String {
        let mut codes = Codes::default();
        let spoken: Vec<String> =
            events.into_iter().flat_map(|event| codes.translate(&event)).map(|code| code.to_string()).collect();
        spoken.join(" ")
    }

    const IMAGE: &str = "10 20 21 30 31 32 33 40 50 60 70 80 81 82 1000";

    #[test]
    fn a_whole_image_speaks_every_code_once() {
        let every = || StageKind::ALL.into_iter().map(finished);
        assert_eq!(spoken(every().chain([EventKind::Finished { millis: 1 }])), IMAGE);
        // An image per output: their stages come again.
        let again = [finished(StageKind::Tools), finished(StageKind::Image), finished(StageKind::Partitions)];
        assert_eq!(spoken(every().chain(again).chain([EventKind::Finished { millis: 1 }])), IMAGE);
    }

    #[test]
    fn what_comes_from_the_cache_speaks_too() {
        let every = StageKind::ALL.into_iter().flat_map(|stage| [restored(stage), finished(stage)]);
        assert_eq!(spoken(every.chain([EventKind::Finished { millis: 1 }])), IMAGE);
        let only = StageKind::ALL.into_iter().map(restored);
        assert_eq!(spoken(only.chain([EventKind::Finished { millis: 1 }])), IMAGE);
    }

    #[test]
    fn a_code_without_a_stage_is_spoken_with_the_next() {
        use StageKind::{Bootstrap, Image, Kernel, Packages, Sync};
        let some = [Bootstrap, Packages, Kernel].map(finished);
        assert_eq!(spoken(some.clone()), "10 20 21 30 31 32 33");
        let image = some.into_iter().chain([Image, Sync].map(finished)).chain([EventKind::Finished { millis: 1 }]);
        assert_eq!(spoken(image), IMAGE);
    }

    #[test]
    fn a_tree_ends_after_32() {
        // Those of crates/domain/plan/tests/plans/tar.plan.
        use StageKind::{Bootstrap, Cleanup, Image, Indexes, Network, Packages, Sync};
        let stages = [Bootstrap, Indexes, Packages, Network, Cleanup, Image, Sync];
        let started = EventKind::Started { name: "x".into(), stages: stages.into() };
        let all = [started].into_iter().chain(stages.map(finished)).chain([EventKind::Finished { millis: 1 }]);
        assert_eq!(spoken(all), "10 20 21 30 31 32 1000");
        let short = [Bootstrap, Packages].map(finished);
        assert_eq!(spoken(short.into_iter().chain([EventKind::Finished { millis: 1 }])), "10 20 21 30 31 32 1000");
    }

    #[test]
    fn a_failure_is_the_last_word() {
        use StageKind::{Bootstrap, Locale, Timezone};
        let stages = || [Bootstrap, Locale, Timezone].map(finished).into_iter();
        let end = [failed(), failed(), EventKind::Finished { millis: 1 }, finished(StageKind::Indexes)];
        assert_eq!(spoken(stages().chain(end)), "10 20 21 1001");
        assert_eq!(spoken([failed()]), "1001");
    }

    #[test]
    fn the_steps_are_those_of_the_stages() {
        let stages: Vec<u16> = StageKind::ALL.iter().filter_map(|stage| stage.code()).collect();
        assert_eq!(stages, STEPS);
        STEPS.iter().for_each(|code| assert_eq!(stage(*code).and_then(StageKind::code), Some(*code)));
        assert!(is_code(1000) && is_code(1001) && !is_code(11) && stage(1000).is_none());
    }
}
