//! Retention: what a project keeps, and what a gc took away.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Name;

/// Which ended builds a project keeps; without a rule for them, all. Pinned builds stay whatever it says and count for nothing here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Of those that ended well the last so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub builds: Option<u32>,
    /// Those that ended well for so many days; with `builds` too, whatever either of the two keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    /// Those that failed or were cancelled for so many days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_days: Option<u32>,
}

/// What a gc removed, or would remove.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Swept {
    /// Whether nothing was touched.
    pub dry_run: bool,
    /// Of each project that loses something.
    pub projects: Vec<SweptProject>,
    /// Blobs in the store that no build had any more before this, and pieces of uploads that nobody went on with.
    pub unused: u64,
    /// The bytes of those.
    pub unused_bytes: u64,
    /// Stages of nodes that were used longest ago, beyond what the server keeps.
    #[serde(default)]
    pub stages: u64,
    /// The bytes of theirs that go now.
    #[serde(default)]
    pub stages_bytes: u64,
}

impl Swept {
    /// Returns all bytes that are free now.
    pub fn bytes(&self) -> u64 {
        self.projects.iter().map(|project| project.bytes).sum::<u64>() + self.unused_bytes + self.stages_bytes
    }
}

/// What a project loses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SweptProject {
    pub project: Name,
    pub builds: u64,
    /// Bytes that only builds which go had; what another build has too stays.
    pub bytes: u64,
}
