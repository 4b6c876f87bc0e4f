//! How a finished tree becomes an artifact: one file a format.

mod dir;
mod disk;
mod erofs;
mod file;
mod mender;
mod squashfs;
mod tar;

use kiln_model::action::ImageAction;
use kiln_model::{Action, Stage, StageKind};
use kiln_recipe::spec::{Format, Output};

use crate::Inputs;

/// Returns the image stage of an output.
pub fn image(inputs: &Inputs<'_>, output: &Output) -> Stage {
    Stage { kind: StageKind::Image, actions: vec![Action::Image(action(inputs, output))] }
}

fn action(inputs: &Inputs<'_>, output: &Output) -> ImageAction {
    match output.format {
        Format::Dir => dir::image(),
        Format::File => file::image(output),
        Format::Tar => tar::image(output),
        Format::Squashfs => squashfs::image(output),
        Format::Erofs => erofs::image(output),
        Format::Raw | Format::Qcow2 => disk::image(inputs, output),
        Format::Mender => mender::image(inputs, output),
    }
}

/// Returns the stage that puts the artifact and its companions in place.
pub fn sync(inputs: &Inputs<'_>, output: &Output) -> Stage {
    let mut companions: Vec<String> =
        ["SHA256SUMS", "spdx.json", "cdx.json", "provenance.json", "report.json"].map(str::to_owned).into();
    if output.format == Format::Raw {
        companions.push("bmap".into());
        let imager = inputs.spec.base.board.as_ref().and_then(|board| board.imager.as_ref());
        companions.extend(imager.map(|_| "os_list.json".to_owned()));
    }
    Stage { kind: StageKind::Sync, actions: vec![Action::Publish { companions }] }
}
