//! Layers: the trees that stages left.

use std::path::PathBuf;

use kiln_model::{StageId, StageKind};
use serde::{Deserialize, Serialize};

use crate::Manifest;

/// A stage's own files, ready to be the lower of an overlay.
#[derive(Clone, Debug)]
pub struct Layer {
    pub id: StageId,
    pub path: PathBuf,
    pub manifest: Manifest,
    pub meta: Meta,
}

/// What is said about a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    pub kind: StageKind,
    /// Bytes on disk; counted when the layer is published.
    #[serde(default)]
    pub size: u64,
    /// For people: the image's name, say.
    pub note: String,
    /// The stage whose layer lies below.
    pub parent: Option<StageId>,
}
