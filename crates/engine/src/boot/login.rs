//! How root comes to the console of an image that has no password.
//!
//! systemd 256 and later import `agetty.*` and `login.*` credentials into serial-getty@.service, and credentials come from
//! outside in SMBIOS strings: the image stays as it is. Before that, a drop-in is written into a copy of the disk.

use std::fs;
use std::path::{Path, PathBuf};

use kiln_model::fault::OrFault;
use kiln_model::{Fault, GuestPath};
use kiln_sandbox::{Command, Sandbox, Stream};
use serde::{Deserialize, Serialize};

use super::disk::Disk;
use crate::diff::block::{self, Bytes};
use crate::diff::glance::{self, Glance};

/// How root comes to the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Login {
    /// By systemd credentials; the image boots as it is.
    Credentials,
    /// By a getty drop-in in a throw-away copy of the disk.
    DropIn,
    /// By another line for the console in the `/etc/inittab` of such a copy.
    Inittab,
}

/// The credentials that log root in on the serial console.
pub const CREDENTIALS: [(&str, &str); 2] = [("agetty.autologin", "root"), ("login.noauth", "yes")];

/// The first systemd whose serial-getty@.service imports them.
const SINCE: u32 = 256;

impl Login {
    /// Chooses for what a glance into the image shows; an image that does not show its systemd gets the credentials.
    pub fn for_image(glance: &Glance) -> Self {
        match glance.systemd {
            None if glance.inittab.is_some() => Self::Inittab,
            Some(version) if version < SINCE => Self::DropIn,
            _ => Self::Credentials,
        }
    }
}

/// Copies the disk into `scratch` with a drop-in that logs root in on `console`, and returns the copy.
pub fn copy_with_drop_in(
    disk: &Disk,
    glance: &Glance,
    console: &str,
    sandbox: &dyn Sandbox,
    root: &Path,
    scratch: &Path,
) -> Result<Disk, Fault> {
    let offset = glance.root.ok_or_else(|| Fault::recipe("the image shows no ext4 root filesystem to log in to"))?;
    let copy = scratch.join("copy.img");
    block::copy_sparse(&*block::open(&disk.path)?, &copy)?;
    if let Some(inittab) = &glance.inittab {
        let text = logged_in(inittab, console);
        fs::write(scratch.join("inittab"), &text).farm(|| "write the copy's inittab".into())?;
        let orders = "rm /etc/inittab\nwrite /run/kiln/scratch/inittab /etc/inittab\nsif /etc/inittab mode 0100644\n";
        fs::write(scratch.join("orders"), orders).farm(|| "write the orders of debugfs".into())?;
        debugfs(offset, sandbox, root, scratch)?;
        return written(&copy, offset, "/etc/inittab", &text);
    }
    let drop_in = scratch.join("autologin.conf");
    fs::write(&drop_in, DROP_IN).farm(|| format!("write `{}`", drop_in.display()))?;
    let folder = format!("/etc/systemd/system/serial-getty@{console}.service.d");
    fs::write(scratch.join("patience.conf"), PATIENCE).farm(|| "write the copy's patience".into())?;
    let manager = "/etc/systemd/system.conf.d";
    let orders = format!(
        "mkdir {folder}\nwrite /run/kiln/scratch/autologin.conf {folder}/kiln-autologin.conf\n\
         mkdir {manager}\nwrite /run/kiln/scratch/patience.conf {manager}/kiln-patience.conf\n"
    );
    fs::write(scratch.join("orders"), orders).farm(|| "write the orders of debugfs".into())?;
    debugfs(offset, sandbox, root, scratch)?;
    written(&copy, offset, &format!("{folder}/kiln-autologin.conf"), DROP_IN)
}

/// Returns the copy, if it has what was written into it.
fn written(copy: &Path, offset: u64, path: &str, text: &str) -> Result<Disk, Fault> {
    let written = glance::file(copy, offset, path)?;
    if written.as_deref() != Some(text.as_bytes()) {
        return Err(Fault::farm("debugfs did not write what logs root in on the console"));
    }
    Ok(Disk { path: copy.to_owned(), format: "raw" })
}

/// Returns an inittab of busybox by which root is logged in on the console, behind the same prompt.
fn logged_in(inittab: &str, console: &str) -> String {
    let others = inittab.lines().filter(|line| !line.starts_with(&format!("{console}:")));
    let others: String = others.map(|line| format!("{line}\n")).collect();
    let prompt = "printf '\\n%s login: root (automatic login)\\n\\n' \"$(hostname)\"; exec login -f root";
    format!("{others}{console}::respawn:/bin/sh -c '{}'\n", prompt.replace('\'', "'\\''"))
}

const DROP_IN: &str = "[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin root --noclear --keep-baud 115200,57600,38400,9600 - $TERM\n";

/// An emulated board may take minutes to find its devices, and its clock may run ahead meanwhile.
const PATIENCE: &str = "[Manager]\nDefaultTimeoutStartSec=15min\nDefaultDeviceTimeoutSec=15min\n";

fn debugfs(offset: u64, sandbox: &dyn Sandbox, root: &Path, scratch: &Path) -> Result<(), Fault> {
    let (root, program) = find(root).ok_or_else(|| {
        Fault::farm("find `debugfs`, neither with QEMU nor on the host").hint("apt-get install e2fsprogs")
    })?;
    let disk = format!("/run/kiln/scratch/copy.img?offset={offset}");
    let argv = [program, "-w", "-f", "/run/kiln/scratch/orders", &disk];
    let seen = GuestPath::new("/run/kiln/scratch").expect("a good path");
    let mut command = Command::new(root, argv).bind(scratch, seen, false);
    command.read_only_root = true;
    let mut said = Vec::new();
    let exit = sandbox.run(&command, &mut |_: Stream, bytes| said.extend_from_slice(bytes))?;
    if exit.success() {
        return Ok(());
    }
    Err(Fault::farm(format!("write a drop-in for the console's login: debugfs: {exit}"))
        .detail(String::from_utf8_lossy(&said)))
}

fn find(root: &Path) -> Option<(PathBuf, &'static str)> {
    let places = ["/usr/sbin/debugfs", "/sbin/debugfs"];
    let roots = [root, Path::new("/")];
    let mut all = roots.into_iter().flat_map(|root| places.map(|place| (root.to_owned(), place)));
    all.find(|(root, place)| root.join(&place[1..]).is_file())
}

/// Returns what a glance into the disk shows; an unreadable disk shows nothing, as QEMU will be the judge of it.
pub fn glance(disk: &Disk) -> Glance {
    let look = |bytes: Box<dyn Bytes>| glance::look(bytes.into());
    block::open(&disk.path).ok().map(look).unwrap_or_default()
}
