//! Blobs: bytes under their SHA-256, uploaded in pieces that may be broken off and gone on with.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How far an upload has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Upload {
    /// Bytes the server has; the next piece begins there.
    pub offset: u64,
    /// Whether the blob is whole and its digest was found right.
    pub complete: bool,
}
