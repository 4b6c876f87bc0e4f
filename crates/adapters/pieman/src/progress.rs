//! How far a build is as one number, and how long the rest may take. Guesses, and never backwards.

use kiln_model::{Event, EventKind, StageKind};

/// Follows one build.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// The build's stages with their weights.
    stages: Vec<Share>,
    running: Option<StageKind>,
    /// What of the running stage is done, 0 to 1.
    part: f64,
    began: u64,
    percent: u8,
    over: bool,
}

#[derive(Clone, Copy, Debug)]
struct Share {
    stage: StageKind,
    weight: u32,
    done: bool,
    cached: bool,
}

/// Below this much of the work done, nobody knows how long the rest takes.
const ENOUGH: f64 = 0.05;

impl Progress {
    pub fn event(&mut self, event: &Event) {
        match &event.kind {
            EventKind::Started { stages, .. } => self.start(stages, event.at),
            EventKind::StageStarted { stage, .. } => (self.running, self.part) = (Some(*stage), 0.0),
            EventKind::StageRestored { stage, .. } => self.done(*stage, true),
            EventKind::StageFinished { stage, .. } => self.done(*stage, false),
            EventKind::Progress { stage, done, total: Some(total), .. } if *total > 0 && *stage == self.running => {
                self.part = self.part.max((*done as f64 / *total as f64).min(1.0) * 0.9);
            }
            EventKind::Finished { .. } | EventKind::Failed { .. } => self.over = true,
            EventKind::Progress { .. }
            | EventKind::Log { .. }
            | EventKind::Warning { .. }
            | EventKind::ArtifactWritten { .. } => {}
        }
        let now = if matches!(event.kind, EventKind::Finished { .. }) { 100 } else { self.whole().min(99) };
        self.percent = self.percent.max(now);
    }

    /// Returns how much is done; 100 only when all went well.
    pub fn percent(&self) -> u8 {
        self.percent
    }

    /// Returns how many milliseconds the rest may take, once that can be guessed: what comes from the cache took no time.
    pub fn left(&self, at: u64) -> Option<u64> {
        if self.over {
            return Some(0);
        }
        let work = self.weigh(|share| !share.cached);
        let done = self.made() / work;
        let spent = at.saturating_sub(self.began) as f64;
        (work > 0.0 && done >= ENOUGH).then(|| (spent * (1.0 - done).max(0.0) / done) as u64)
    }

    fn start(&mut self, stages: &[StageKind], at: u64) {
        let share = |stage: &StageKind| Share { stage: *stage, weight: weight(*stage), done: false, cached: false };
        self.stages = stages.iter().map(share).collect();
        self.began = at;
    }

    fn done(&mut self, stage: StageKind, cached: bool) {
        if let Some(share) = self.stages.iter_mut().find(|share| share.stage == stage) {
            share.done = true;
            share.cached |= cached;
        }
        if self.running == Some(stage) {
            (self.running, self.part) = (None, 0.0);
        }
    }

    fn weigh(&self, which: impl Fn(&Share) -> bool) -> f64 {
        self.stages.iter().filter(|share| which(share)).map(|share| f64::from(share.weight)).sum()
    }

    /// The weight of what this build did itself.
    fn made(&self) -> f64 {
        let running = self.running.map_or(0.0, |stage| self.weigh(|share| share.stage == stage && !share.done));
        self.weigh(|share| share.done && !share.cached) + running * self.part
    }

    fn whole(&self) -> u8 {
        let all = self.weigh(|_| true);
        let done = self.made() + self.weigh(|share| share.cached);
        if all > 0.0 { (100.0 * done / all) as u8 } else { 0 }
    }
}

/// Returns a stage's usual share of the time.
fn weight(stage: StageKind) -> u32 {
    match stage {
        StageKind::Packages => 40,
        StageKind::Bootstrap => 15,
        StageKind::Kernel | StageKind::Image => 15,
        StageKind::Tools | StageKind::Upgrade => 4,
        StageKind::Boot | StageKind::Sync => 2,
        StageKind::Locale
        | StageKind::Timezone
        | StageKind::Indexes
        | StageKind::Network
        | StageKind::Users
        | StageKind::Cleanup
        | StageKind::Partitions => 1,
    }
}

#[cfg(test)]
mod tests {
    use kiln_model::{Digest, StageId, Unit};

    use super::*;

    #[test]
    fn a_build_goes_forward() {
        use StageKind::{Bootstrap, Image, Packages};
        let id = StageId(Digest::of("x"));
        let half = |stage, done| EventKind::Progress {
            stage: Some(stage),
            what: "unpack".into(),
            unit: Unit::Packages,
            done,
            total: Some(10),
        };
        let kinds = [
            EventKind::Started { name: "x".into(), stages: vec![Bootstrap, Packages, Image] },
            EventKind::StageRestored { stage: Bootstrap, id },
            EventKind::StageStarted { stage: Packages, id },
            half(Packages, 5),
            half(Packages, 2),
            EventKind::StageFinished { stage: Packages, id, millis: 1, code: None },
            EventKind::StageStarted { stage: Image, id },
            EventKind::Finished { millis: 1 },
        ];
        let mut progress = Progress::default();
        let mut told = vec![];
        for (at, kind) in kinds.into_iter().enumerate() {
            let at = at as u64 * 1000;
            progress.event(&Event { seq: 1, at, kind });
            told.push((progress.percent(), progress.left(at)));
        }
        let wanted = [
            (0, None),
            (21, None),
            (21, None),
            (47, Some(6166)),
            (47, Some(8222)),
            (78, Some(1874)),
            (78, Some(2250)),
            (100, Some(0)),
        ];
        assert_eq!(told, wanted);
    }
}
