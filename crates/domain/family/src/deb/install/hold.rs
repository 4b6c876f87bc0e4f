//! Programs held back while packages are configured.
//!
//! The engine puts each [`Hold`] in place before and takes it away after: what lies at the path is moved to
//! [`Hold::aside`] and moved back, unless the stand-in is no longer there because a package brought a new program.

use kiln_model::GuestPath;

/// A stand-in for a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    pub path: GuestPath,
    /// Where the program waits; none when nothing may be at the path already and the stand-in is simply removed.
    pub aside: Option<GuestPath>,
    pub script: String,
}

/// Forbids `invoke-rc.d` and `deb-systemd-invoke` to start anything.
const POLICY: &str = "#!/bin/sh\nexit 101\n";

/// Succeeds without doing anything, for programs that one later run makes up for.
const NOTHING: &str = "#!/bin/sh\nexit 0\n";

/// Returns the stand-ins: `policy-rc.d`, `start-stop-daemon`, and `programs` by their paths or bare names
/// (`update-initramfs` is looked for in `/usr/sbin`).
pub fn holds(programs: &[String]) -> Vec<Hold> {
    let mut holds = vec![hold("/usr/sbin/policy-rc.d", POLICY), hold("/usr/sbin/start-stop-daemon", NOTHING)];
    for program in programs {
        let path = if program.starts_with('/') { program.clone() } else { format!("/usr/sbin/{program}") };
        if holds.iter().all(|hold| hold.path.to_string() != path) {
            holds.push(hold(&path, NOTHING));
        }
    }
    holds
}

fn hold(path: &str, script: &str) -> Hold {
    let path = GuestPath::new(path).unwrap_or_else(|_| GuestPath::root());
    let aside = GuestPath::new([path.as_bytes(), b".kiln-held"].concat()).ok();
    Hold { path, aside, script: script.to_owned() }
}
