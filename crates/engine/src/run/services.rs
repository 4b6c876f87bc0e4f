//! Units: `systemctl` of the target works on its own tree without a running systemd; init scripts by `update-rc.d`.

use kiln_model::fault::OrFault as _;
use kiln_model::{Fault, StageKind};
use kiln_plan::context::path;
use kiln_sandbox::Command;

use super::Run;
use super::install::start;
use crate::target::Target;

impl Run<'_> {
    /// Enables, disables and masks units, in this order.
    pub fn services(&self, stage: StageKind, units: [&Vec<String>; 3], target: &Target) -> Result<(), Fault> {
        if target.exists(&path("/sbin/openrc")) {
            return openrc(units, target);
        }
        let systemd = target.exists(&path("/usr/bin/systemctl"));
        for (verb, units) in ["enable", "disable", "mask"].into_iter().zip(units) {
            if units.is_empty() {
                continue;
            }
            if systemd {
                let words = ["systemctl", "--no-pager", verb, "--"].map(str::to_owned);
                let command = Command::new(target.root(), words.into_iter().chain(units.iter().cloned()));
                self.command(stage, &format!("systemctl {verb}"), command.env("SYSTEMD_OFFLINE", "1"))?;
            } else {
                self.init_scripts(stage, verb, units, target)?;
            }
        }
        Ok(())
    }

    fn init_scripts(&self, stage: StageKind, verb: &str, units: &[String], target: &Target) -> Result<(), Fault> {
        if !target.exists(&path("/usr/sbin/update-rc.d")) {
            let what =
                format!("cannot {verb} `{}`: the image has neither systemd nor init scripts", units.join("`, `"));
            return Err(Fault::recipe(what).hint("add `systemd-sysv` to `packages.include`"));
        }
        let verb = if verb == "mask" { "disable" } else { verb };
        units.iter().try_for_each(|unit| {
            let unit = unit.strip_suffix(".service").unwrap_or(unit);
            self.command(stage, "update-rc.d", Command::new(target.root(), ["update-rc.d", unit, verb]))
        })
    }
}

/// OpenRC starts what is linked into a runlevel: what is enabled, in `default`.
fn openrc([enable, disable, mask]: [&Vec<String>; 3], target: &Target) -> Result<(), Fault> {
    let bare = |unit: &String| unit.strip_suffix(".service").unwrap_or(unit).to_owned();
    for service in enable.iter().map(bare) {
        if !target.exists(&path(&format!("/etc/init.d/{service}"))) {
            let fault = Fault::recipe(format!("cannot enable `{service}`: the image has no service of that name"));
            return Err(fault.hint("its package may keep it apart: `packages.include` with `NAME-openrc`"));
        }
        start("default", &service, target)?;
    }
    for service in disable.iter().chain(mask).map(bare) {
        let links = target.glob(&format!("/etc/runlevels/*/{service}")).farm(|| "look for runlevels".into())?;
        links.iter().try_for_each(|link| target.remove(link).farm(|| format!("remove `{link}` from the tree")))?;
    }
    Ok(())
}
