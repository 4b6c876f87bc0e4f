//! The commands that finish an installation, as values: the engine runs them in the sandbox, in this order.

use std::collections::BTreeMap;

use kiln_model::GuestPath;

use super::preinst::{Class, class};
use super::{Phase, Step};
use crate::deb::package::Control;

/// Options of every dpkg call. The tree is thrown away when anything fails, so nothing is synced; conffiles that lie in
/// the tree already were put there on purpose and stay.
const OPTIONS: [&str; 4] = ["--force-unsafe-io", "--force-confdef", "--force-confold", "--no-triggers"];

/// Packages that others use without saying so, in the order in which a base comes to life.
pub const FIRST: [&str; 6] = ["base-passwd", "base-files", "libc6", "perl-base", "debconf", "dpkg"];

/// Returns the environment that maintainer scripts get, before the plan's own additions.
pub fn environment() -> BTreeMap<String, String> {
    let pairs = [
        ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
        ("DEBIAN_FRONTEND", "noninteractive"),
        ("DEBIAN_PRIORITY", "critical"),
        ("HOME", "/root"),
        ("LC_ALL", "C.UTF-8"),
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("SHELL", "/bin/sh"),
        ("TERM", "dumb"),
        ("UCF_FORCE_CONFFOLD", "1"),
    ];
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Returns all that is left to do after `controls` were unpacked natively and while the archives `real` wait in the tree
/// (each with the path it has there).
pub fn steps(
    controls: &[&Control],
    real: &[(&Control, GuestPath)],
    phase: Phase,
    env: &BTreeMap<String, String>,
) -> Vec<Step> {
    let mut environment = environment();
    environment.extend(env.clone());
    let mut steps = Vec::new();
    steps.extend(preinst(controls, phase, &environment));
    steps.extend(unpack(real, &environment));
    if phase == Phase::Base {
        steps.extend(first(controls, &environment));
    }
    steps.push(Step { name: "configure packages".into(), argv: dpkg(&["--configure", "-a"]), env: environment });
    steps
}

fn dpkg(arguments: &[&str]) -> Vec<String> {
    let options = OPTIONS.iter().filter(|&&option| option != "--no-triggers" || arguments.contains(&"--force-depends"));
    ["dpkg"].iter().chain(options).chain(arguments).map(|&word| word.to_owned()).collect()
}

/// Runs the `preinst` scripts of natively unpacked packages in one shell, and names the one that fails.
///
/// `base-passwd` goes first in a base: its script makes `/etc/passwd`, which others ask.
fn preinst(controls: &[&Control], phase: Phase, env: &BTreeMap<String, String>) -> Option<Step> {
    let mut scripts: Vec<&&Control> = controls.iter().filter(|control| class(control, phase) == Class::After).collect();
    scripts.sort_by_key(|control| (rank(control.name()), control.name().to_owned(), control.architecture().to_owned()));
    if scripts.is_empty() {
        return None;
    }
    let mut text = String::from(
        "set -e\nexport DPKG_ADMINDIR=/var/lib/dpkg DPKG_ROOT= DPKG_MAINTSCRIPT_NAME=preinst DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1\n",
    );
    for control in scripts {
        let (name, arch, filed) = (control.name(), control.architecture(), control.filed_as());
        text.push_str(&format!(
            "DPKG_MAINTSCRIPT_PACKAGE={name} DPKG_MAINTSCRIPT_ARCH={arch} /var/lib/dpkg/info/{filed}.preinst install </dev/null || \
             {{ echo \"preinst of \\`{name}\\` failed with exit status $?\" >&2; exit 1; }}\n"
        ));
    }
    Some(Step { name: "run preinst scripts".into(), argv: vec!["/bin/sh".into(), "-c".into(), text], env: env.clone() })
}

fn rank(name: &str) -> usize {
    FIRST.iter().position(|first| *first == name).unwrap_or(FIRST.len())
}

/// Lets dpkg unpack what kiln may not, those that others of them need before the others.
fn unpack(real: &[(&Control, GuestPath)], env: &BTreeMap<String, String>) -> Option<Step> {
    if real.is_empty() {
        return None;
    }
    let paths: Vec<String> = in_order(real).iter().map(|(_, path)| path.to_string()).collect();
    let mut argv = dpkg(&["--force-depends", "--auto-deconfigure", "--unpack"]);
    argv.extend(paths);
    Some(Step { name: "unpack packages that prepare the tree first".into(), argv, env: env.clone() })
}

/// Orders by Pre-Depends and Depends among the packages themselves; circles are cut where they are found.
fn in_order<'a>(real: &'a [(&'a Control, GuestPath)]) -> Vec<&'a (&'a Control, GuestPath)> {
    let mut order = Vec::new();
    let mut seen = vec![false; real.len()];
    for at in 0..real.len() {
        visit(real, at, &mut seen, &mut order);
    }
    order
}

fn visit<'a>(
    real: &'a [(&'a Control, GuestPath)],
    at: usize,
    seen: &mut [bool],
    order: &mut Vec<&'a (&'a Control, GuestPath)>,
) {
    if std::mem::replace(&mut seen[at], true) {
        return;
    }
    for field in ["Pre-Depends", "Depends"] {
        let needs = real[at].0.stanza.get(field).unwrap_or_default();
        let names = needs.split([',', '|']).filter_map(|atom| atom.split_whitespace().next());
        for name in names.map(|name| name.split(':').next().unwrap_or(name)) {
            if let Some(next) = real.iter().position(|(control, _)| control.name() == name) {
                visit(real, next, seen, order);
            }
        }
    }
    order.push(&real[at]);
}

/// Configures what everything else takes for granted.
fn first(controls: &[&Control], env: &BTreeMap<String, String>) -> Option<Step> {
    let there = FIRST.iter().filter_map(|first| controls.iter().find(|control| control.name() == *first));
    let names: Vec<String> = there.map(|control| control.filed_as()).collect();
    if names.is_empty() {
        return None;
    }
    let mut argv = dpkg(&["--force-depends", "--configure"]);
    argv.extend(names);
    Some(Step { name: "configure the first packages".into(), argv, env: env.clone() })
}
