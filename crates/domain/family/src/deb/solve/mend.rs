//! Mending what marking left broken.

use super::mark::Marker;

/// Tries to mend everything; says whether nothing is broken any more.
pub(super) fn mend(marker: &mut Marker<'_>) -> bool {
    marker.states.broken().is_empty()
}
