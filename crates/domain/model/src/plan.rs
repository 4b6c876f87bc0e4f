//! A plan: ordered pipelines of stages with nothing left to decide.

use serde::{Deserialize, Serialize};

use crate::{Arch, Digest, Stage, StageId};

/// What a build will do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The image's name: the stem of its artifacts.
    pub name: String,
    pub arch: Arch,
    /// SOURCE_DATE_EPOCH of the build, in seconds since 1970.
    pub epoch: i64,
    /// Digest of the spec and of the lock this plan was made from.
    pub spec: Digest,
    pub lock: Digest,
    pub pipelines: Vec<Pipeline>,
}

/// Stages that work on one tree, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pipeline {
    /// `tools`, `tree`, or an output's name.
    pub name: String,
    /// The pipeline whose last tree this one starts from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    pub stages: Vec<Stage>,
}

impl Plan {
    /// Returns the pipeline called `name`.
    pub fn pipeline(&self, name: &str) -> Option<&Pipeline> {
        self.pipelines.iter().find(|pipeline| pipeline.name == name)
    }

    /// Returns the ids of a pipeline's stages, in order, chained from the pipeline it starts from.
    pub fn ids(&self, pipeline: &Pipeline) -> Vec<StageId> {
        let mut before = pipeline.from.as_deref().and_then(|name| self.ids(self.pipeline(name)?).last().copied());
        pipeline
            .stages
            .iter()
            .map(|stage| {
                let id = stage.id(before);
                before = Some(id);
                id
            })
            .collect()
    }

    /// Returns the plan's digest.
    pub fn digest(&self) -> Digest {
        Digest::of(serde_json::to_vec(self).expect("plans serialise"))
    }
}
