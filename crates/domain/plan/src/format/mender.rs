//! An update by Mender: the root filesystem alone, for the slot that does not run.

use kiln_model::action::ImageAction;
use kiln_recipe::spec::Output;

use super::disk;
use crate::Inputs;

pub fn image(inputs: &Inputs<'_>, output: &Output) -> ImageAction {
    let spec = inputs.spec;
    let (disk, mender) = spec.disk.as_ref().zip(spec.mender.as_ref()).expect("a spec with an artifact has both");
    let root = disk.root().expect("a disk has a root");
    ImageAction::Mender {
        disk: disk::layout(inputs, disk),
        partition: root.name.clone(),
        artifact_name: mender.artifact_name.clone(),
        device_type: mender.device_type.clone(),
        compression: output.compression,
    }
}
