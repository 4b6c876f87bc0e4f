//! Tries on this machine what a build will need.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rustix::mount::MountAttrFlags;
use serde::Serialize;

use crate::enter::{entered, trial};
use crate::error::Doing;
use crate::janitor::Janitor;
use crate::namespaces::{is_before_6_7, is_delegated, is_possible, make};
use crate::{Command, Error, Limits, Namespaces, Overlay, Result, Sandbox, Scratch, container};

/// One operation that was really tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Probe {
    /// What was tried, in a few words.
    pub name: String,
    pub ok: bool,
    /// Builds work without it, less well or not everywhere.
    pub optional: bool,
    /// One plain line: why not, or how well.
    pub cause: String,
    /// The one command that mends it.
    pub mend: Option<String>,
}

impl Probe {
    fn new(name: &str, optional: bool, tried: Result<String>) -> Self {
        let name = name.to_owned();
        match tried {
            Ok(cause) => Self { name, ok: true, optional, cause, mend: None },
            Err(error) => {
                Self { name, ok: false, optional, cause: chain(&error), mend: error.mend().map(str::to_owned) }
            }
        }
    }
}

fn chain(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// A bootable image, its trees and its packages fit in this many bytes.
const ROOM: u64 = 6 << 30;

/// Tries every operation a build needs, each in a child process; scratch files go to `folder`.
///
/// Must be called before [`enter`](crate::enter()), while the process has one thread.
pub fn probe(folder: &Path) -> Vec<Probe> {
    vec![
        Probe::new("user namespace with 65536 ids", false, user_namespace()),
        Probe::new("overlay in a user namespace", false, overlay(folder)),
        Probe::new("command in a sandbox", false, sandbox()),
        Probe::new("free disk", false, disk(folder)),
        Probe::new("limits by cgroup", true, cgroup()),
        Probe::new("virtual machines (/dev/kvm)", true, kvm()),
        Probe::new("foreign programs (binfmt_misc in a user namespace)", true, foreign()),
    ]
}

fn user_namespace() -> Result<String> {
    trial(|| Ok(()))?;
    let how = if rustix::process::geteuid().is_root() { "as root" } else { "with subordinate ids" };
    Ok(format!("made, {how}"))
}

fn overlay(folder: &Path) -> Result<String> {
    trial(|| {
        let scratch = Scratch::new(folder, "probe")?;
        let [lower, upper, work, target] = ["lower", "upper", "work", "target"].map(|name| scratch.path().join(name));
        fs::create_dir(&lower).doing(|| format!("make `{}`", lower.display()))?;
        fs::write(lower.join("file"), "").doing(|| "write a file".into())?;
        let overlay = Overlay::mount(&[&lower], &upper, &work, &target)?;
        fs::remove_file(target.join("file")).doing(|| "remove a file of a lower layer".into())?;
        overlay.unmount()
    })?;
    Ok(format!("mounted in `{}`", folder.display()))
}

/// The whole of a run, with the host's own files as a read-only root.
fn sandbox() -> Result<String> {
    trial(|| {
        Janitor::hire()?;
        let mut command = Command::new("/", ["true"]);
        command.read_only_root = true;
        command.limits = Limits { memory: Some(1 << 30), processes: Some(100), ..Limits::default() };
        let exit = Namespaces::new(&entered()?).run(&command, &mut |_, _| ())?;
        if exit.success() { Ok(()) } else { Err(refused(format!("`true` in a sandbox: {exit}"), None)) }
    })?;
    Ok("all namespaces, /proc, devices and the system call filter work".into())
}

fn disk(folder: &Path) -> Result<String> {
    let doing = || format!("look at `{}`", folder.display());
    let state = rustix::fs::statvfs(folder).doing(doing)?;
    let free = state.f_bavail * state.f_frsize;
    let gibibytes = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    let what = format!("{:.1} GiB free in `{}`", gibibytes(free), folder.display());
    if free >= ROOM {
        return Ok(what);
    }
    Err(refused(format!("{what}, {:.0} GiB are needed", gibibytes(ROOM)), None))
}

fn cgroup() -> Result<String> {
    let tried = trial(|| match is_delegated() {
        true => Ok(()),
        false => Err(refused("kiln has no control group to divide".into(), None)),
    });
    tried.map(|()| "the kernel keeps those on memory and processes".into()).map_err(|error| {
        let mend =
            (!container::is_here()).then(|| "systemd-run --user --scope --property=Delegate=yes kiln …".to_owned());
        refused(format!("{error}; limits are kept by looking at the processes every 20 ms"), mend)
    })
}

fn kvm() -> Result<String> {
    match File::options().read(true).write(true).open("/dev/kvm") {
        Ok(_) => Ok("opens; whether a guest runs is tried at boot".into()),
        Err(error) => {
            let mend = match error.kind() {
                _ if container::is_here() => "start the container with `--device /dev/kvm`",
                io::ErrorKind::PermissionDenied => "sudo usermod --append --groups kvm \"$USER\" (then log in again)",
                _ => "sudo modprobe --all kvm_intel kvm_amd",
            };
            let what = "open `/dev/kvm`; guests run without it, slowly".to_owned();
            Err(Error::Refused { what, mend: Some(mend.into()), source: Some(error) })
        }
    }
}

fn foreign() -> Result<String> {
    if is_before_6_7() && make("binfmt_misc", MountAttrFlags::empty(), &[]).is_ok() {
        return Ok("emulators are registered on the host while they are needed".into());
    }
    trial(|| {
        if is_possible() {
            return Ok(());
        }
        Err(refused(
            "mount `binfmt_misc`; Linux 6.7 and newer allow it, and root may without".into(),
            Some(EMULATE.into()),
        ))
    })?;
    Ok("emulators are registered in the sandbox".into())
}

/// What registers emulators on the host.
const EMULATE: &str = "sudo apt-get install qemu-user-static binfmt-support";

fn refused(what: String, mend: Option<String>) -> Error {
    Error::Refused { what, mend, source: None }
}
