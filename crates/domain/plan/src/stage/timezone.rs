//! The time zone.

use kiln_model::{Stage, StageKind};

use super::of;
use crate::Inputs;
use crate::context::{symlink, write};

pub fn timezone(inputs: &Inputs<'_>) -> Option<Stage> {
    let zone = &inputs.spec.system.timezone;
    let plain = zone == "Etc/UTC" && !inputs.has_kernel();
    let actions = vec![
        write("/etc/timezone", format!("{zone}\n")),
        symlink("/etc/localtime", format!("/usr/share/zoneinfo/{zone}")),
    ];
    if plain { None } else { of(StageKind::Timezone, actions) }
}
