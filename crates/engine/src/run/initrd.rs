//! The initrd of every kernel, made once after all packages are configured.

use std::collections::BTreeMap;

use kiln_model::fault::OrFault as _;
use kiln_model::{Fault, StageKind};
use kiln_plan::context::path;
use kiln_sandbox::Command;

use super::Run;
use crate::target::Target;

impl Run<'_> {
    /// Makes the initrd of every kernel that has an image, with the target's own tool.
    pub fn initrd(&self, stage: StageKind, env: &BTreeMap<String, String>, target: &Target) -> Result<(), Fault> {
        let bootable = kernels(target)?.into_iter();
        let bootable = bootable.filter(|version| target.exists(&path(&format!("/boot/vmlinuz-{version}"))));
        bootable.into_iter().try_for_each(|version| {
            let mut command = Command::new(target.root(), ["update-initramfs", "-c", "-k", version.as_str()]);
            command.env.extend(env.clone().into_iter().filter(|(name, _)| name != "INITRD"));
            self.command(stage, "update-initramfs", command)
        })
    }
}

/// Returns the versions of the kernels whose modules are in the tree, sorted by name.
pub fn kernels(target: &Target) -> Result<Vec<String>, Fault> {
    let names = target.names(&path("/usr/lib/modules")).farm(|| "list `/usr/lib/modules` of the tree".into())?;
    let names = names.into_iter().filter_map(|name| String::from_utf8(name).ok());
    Ok(names.collect())
}
