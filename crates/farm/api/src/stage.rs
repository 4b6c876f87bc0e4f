//! Stages that nodes share: what one has made, others need not make again.

use kiln_model::Digest;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The bytes of a stage, a packed layer: a blob of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    #[schema(value_type = String)]
    pub sha256: Digest,
    pub size: u64,
}

/// What the server says of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StageFound {
    /// Its bytes; none: no node has given them yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Kept>,
    /// Whether the server keeps stages.
    pub wanted: bool,
}
