//! Layers become the tree that an overlay of them shows.

use kiln_model::Tree;

use crate::Manifest;

/// Returns the tree that `layers` show together, the lowest first: whiteouts and opaque directories applied, further
/// names of one file as hard links to the name that sorts first. Every file's `place` is in its layer.
pub fn merge(_layers: &[&Manifest]) -> Tree {
    todo!()
}
