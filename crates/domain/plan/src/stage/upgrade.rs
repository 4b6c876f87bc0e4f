//! Upgrading installed packages: a lock already names the newest version of each, so there is nothing left to do.

use kiln_model::Stage;

use crate::Inputs;

pub fn upgrade(_: &Inputs<'_>) -> Option<Stage> {
    None
}
