//! One file of the tree, such as a package or a kernel that was made in it.

use kiln_model::action::ImageAction;
use kiln_recipe::spec::Output;

pub fn image(output: &Output) -> ImageAction {
    let path = output.path.clone().expect("an output that is a file has its path");
    ImageAction::File { path, compression: output.compression }
}
