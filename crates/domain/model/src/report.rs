//! What happened, kept beside the artifact as `report.json`.

use serde::{Deserialize, Serialize};

use crate::{Digest, Fault, FaultKind, StageId, StageKind};

/// A finished build.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Version of this document's form.
    pub edition: u32,
    pub name: String,
    pub kiln: String,
    pub outcome: Outcome,
    pub spec: serde_json::Value,
    pub lock: serde_json::Value,
    /// Digest of the plan.
    pub plan: Digest,
    pub stages: Vec<StageOutcome>,
    pub artifacts: Vec<Artifact>,
    /// Milliseconds of the whole build.
    pub millis: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<serde_json::Value>,
}

/// How a build ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "lowercase")]
pub enum Outcome {
    Done,
    Failed { fault: FaultKind, stage: Option<StageKind>, message: String, hint: Option<String> },
}

impl Outcome {
    pub fn failed(stage: Option<StageKind>, fault: &Fault) -> Self {
        Self::Failed { fault: fault.kind(), stage, message: fault.chain(), hint: fault.hint_text().map(str::to_owned) }
    }
}

/// How one stage went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageOutcome {
    pub pipeline: String,
    pub stage: StageKind,
    pub id: StageId,
    /// Whether its tree came from the cache.
    pub cached: bool,
    pub millis: u64,
}

/// A file (or folder) the build made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Name inside the output folder.
    pub name: String,
    /// `raw`, `qcow2`, `tar`, …
    pub format: String,
    /// Length in bytes; for a folder, of its content.
    pub size: u64,
    /// SHA-256 of the bytes; for a folder, of its listing.
    pub sha256: Digest,
}
