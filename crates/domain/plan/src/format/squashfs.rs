//! A squashfs image, by mksquashfs.

use kiln_model::action::ImageAction;
use kiln_recipe::spec::Output;

pub fn image(output: &Output) -> ImageAction {
    let inner = output.inner.clone().unwrap_or_else(|| "zstd".into());
    ImageAction::Squashfs { inner, compression: output.compression }
}
