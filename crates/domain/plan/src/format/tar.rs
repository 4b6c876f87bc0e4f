//! A POSIX tar archive, compressed or not.

use kiln_model::action::ImageAction;
use kiln_recipe::spec::Output;

pub fn image(output: &Output) -> ImageAction {
    ImageAction::Tar { compression: output.compression }
}
