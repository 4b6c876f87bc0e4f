//! OpenRC: what starts, and on which consoles somebody can log in.

use kiln_model::Action;

use crate::Inputs;
use crate::context::write;

/// Adds services to a runlevel.
pub fn starts(level: &str, services: &[&str]) -> Action {
    let services = services.iter().map(|&name| name.to_owned()).collect();
    Action::Runlevels { services: [(level.to_owned(), services)].into() }
}

/// What OpenRC starts on every image of the release, where the image has it.
pub fn usual(inputs: &Inputs<'_>) -> Option<Action> {
    let services = inputs.spec.base.runlevels.clone();
    (inputs.has("openrc") && !services.is_empty()).then_some(Action::Runlevels { services })
}

/// Where somebody can log in: `/etc/inittab` of busybox, with OpenRC's runlevels and a getty on every console that the kernel has,
/// and `/etc/securetty`, without which root is turned away from a port that it does not name.
pub fn consoles(cmdline: &str) -> [Action; 2] {
    let consoles = cmdline.split(' ').filter_map(|word| word.strip_prefix("console="));
    let ports: Vec<_> =
        consoles.filter(|console| !console.starts_with("tty0") && !console.starts_with("tty1")).collect();
    let serial: String = ports.iter().map(|port| getty(port)).collect();
    let screens: String =
        (1..=6).map(|number| format!("tty{number}::respawn:/sbin/getty 38400 tty{number}\n")).collect();
    let text = format!(
        "# Read by init, which is busybox.\n::sysinit:/sbin/openrc sysinit\n::sysinit:/sbin/openrc boot\n\
         ::wait:/sbin/openrc default\n\n{screens}{serial}\n::ctrlaltdel:/sbin/reboot\n::shutdown:/sbin/openrc shutdown\n"
    );
    let screens = (1..=12).map(|number| format!("tty{number}\n"));
    let ports = ports.iter().map(|port| format!("{}\n", port.split(',').next().unwrap_or(port)));
    let secure: String = std::iter::once("console\n".to_owned()).chain(screens).chain(ports).collect();
    [write("/etc/inittab", text), write("/etc/securetty", secure)]
}

/// `ttyS0,115200n8`: 9600 is what the kernel takes where nothing is said.
fn getty(console: &str) -> String {
    let (port, mode) = console.split_once(',').unwrap_or((console, "9600"));
    let digits = mode.find(|c: char| !c.is_ascii_digit()).unwrap_or(mode.len());
    format!("{port}::respawn:/sbin/getty -L {} {port} vt100\n", &mode[..digits])
}
