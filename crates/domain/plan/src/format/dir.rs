//! A plain directory.

use kiln_model::action::ImageAction;

pub fn image() -> ImageAction {
    ImageAction::Dir
}
