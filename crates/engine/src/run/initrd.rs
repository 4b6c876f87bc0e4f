//! The initrd of every kernel, made once after all packages are configured.

use std::collections::BTreeMap;

use kiln_family::deb::install::lend::DRACUT_INSTALL;
use kiln_model::fault::OrFault as _;
use kiln_model::{Fault, GuestPath, StageKind};
use kiln_plan::context::path;
use kiln_sandbox::Command;

use super::Run;
use crate::target::Target;

impl Run<'_> {
    /// Makes the initrd of every kernel that has an image, with the target's own tool.
    pub fn initrd(&self, stage: StageKind, env: &BTreeMap<String, String>, target: &Target) -> Result<(), Fault> {
        if !self.is_sound(stage, DRACUT_INSTALL, target)? {
            let fault = Fault::farm(format!(
                "make an initrd for `{}`: an emulated `{DRACUT_INSTALL}` finds no modules",
                self.plan.arch
            ));
            return Err(
                fault.hint("its native build could not be lent: `KILN_NATIVE_HELPERS=no` is set, or the log says why")
            );
        }
        let bootable = kernels(target)?.into_iter().filter(|version| image(target, version).is_some());
        bootable.into_iter().try_for_each(|version| {
            let mut command = Command::new(target.root(), ["update-initramfs", "-c", "-k", version.as_str()]);
            command.env.extend(env.clone().into_iter().filter(|(name, _)| name != "INITRD"));
            self.command(stage, "update-initramfs", command)
        })
    }
}

/// Returns where a kernel's image is; those for RISC-V are not compressed, and say so by their name.
pub fn image(target: &Target, version: &str) -> Option<GuestPath> {
    let paths = ["vmlinuz", "vmlinux"].map(|name| path(&format!("/boot/{name}-{version}")));
    paths.into_iter().find(|path| target.exists(path))
}

/// Returns the versions of the kernels whose modules are in the tree, sorted by name.
pub fn kernels(target: &Target) -> Result<Vec<String>, Fault> {
    let names = target.names(&path("/usr/lib/modules")).farm(|| "list `/usr/lib/modules` of the tree".into())?;
    let names = names.into_iter().filter_map(|name| String::from_utf8(name).ok());
    Ok(names.collect())
}
