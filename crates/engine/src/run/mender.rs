//! Updates by Mender: one filesystem of a disk, and what devices compare with themselves.

use kiln_disk::mender::Label;
use kiln_model::action::Compression;
use kiln_model::fault::OrFault as _;
use kiln_model::{Extents, Fault};
use kiln_sandbox::Scratch;

use super::Run;
use super::output::Made;
use crate::image;

impl Run<'_> {
    /// Writes the artifact of a filesystem beside its place.
    pub(super) fn artifact(
        &self,
        name: &str,
        label: &Label<'_>,
        root: Extents,
        compression: Option<Compression>,
    ) -> Result<Made, Fault> {
        let counter = self.counter(name, root.size);
        let scratch = Scratch::new(&self.scratch_root(), "mender")?;
        let data = scratch.path().join("data");
        let artifact = image::artifact(label, root, self.plan.epoch, &data, self.kiln.config.jobs, &counter);
        self.extents(name, "mender", &artifact.farm(|| format!("pack `{name}`"))?, compression)
    }
}
