//! What a build tells while it runs: append-only, numbered from 1, the same for every watcher.

use serde::{Deserialize, Serialize};

use crate::{Artifact, Fault, FaultKind, StageId, StageKind};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Position in the stream: 1, 2, 3, … without gaps.
    pub seq: u64,
    /// Milliseconds since the stream began.
    pub at: u64,
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum EventKind {
    /// The build began; `stages` are all it will go through, in order.
    Started { name: String, stages: Vec<StageKind> },
    /// A stage began.
    StageStarted { stage: StageKind, id: StageId },
    /// A stage's tree came from the cache.
    StageRestored { stage: StageKind, id: StageId },
    /// How far the work in hand has come; `stage` is none before the first stage (indexes, resolving).
    Progress { stage: Option<StageKind>, what: String, unit: Unit, done: u64, total: Option<u64> },
    /// A line of output.
    Log { stage: Option<StageKind>, source: String, line: String },
    /// Something the user should know that does not stop the build.
    Warning { message: String },
    /// A stage ended well, after so many milliseconds; `code` is its status code.
    StageFinished { stage: StageKind, id: StageId, millis: u64, code: Option<u16> },
    /// An artifact is in place.
    ArtifactWritten { artifact: Artifact },
    /// The build failed; a recipe with mistakes before it began, each with its place.
    Failed {
        stage: Option<StageKind>,
        fault: FaultKind,
        message: String,
        hint: Option<String>,
        detail: Option<String>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        diagnostics: Vec<serde_json::Value>,
    },
    /// The build ended well.
    Finished { millis: u64 },
}

/// What a progress counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    Bytes,
    Packages,
    Files,
    Seconds,
    Steps,
}

impl EventKind {
    /// Tells of a fault.
    pub fn failed(stage: Option<StageKind>, fault: &Fault) -> Self {
        Self::Failed {
            stage,
            fault: fault.kind(),
            message: fault.chain(),
            hint: fault.hint_text().map(str::to_owned),
            detail: fault.detail_text().map(str::to_owned),
            diagnostics: Vec::new(),
        }
    }
}
