//! An EROFS image, by mkfs.erofs.

use kiln_model::action::ImageAction;
use kiln_recipe::spec::Output;

pub fn image(output: &Output) -> ImageAction {
    ImageAction::Erofs { inner: output.inner.clone(), compression: output.compression }
}
