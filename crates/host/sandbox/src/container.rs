//! What a container has to be started with for a sandbox to be possible in it.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use crate::Error;

/// `statfs(2)` of an overlay.
const OVERLAY: u64 = 0x794c_7630;

/// The files by which Podman and Docker tell what they run that it is in a container.
const MARKS: [&str; 2] = ["/run/.containerenv", "/.dockerenv"];

/// What lets a container make user namespaces and mount in them, by words that both understand. In the way are the filter of system
/// calls, what lies over parts of `/proc` (the kernel lets nobody mount another that shows more), and AppArmor's profile.
const OPTIONS: &str =
    "--security-opt seccomp=unconfined --security-opt systempaths=unconfined --security-opt apparmor=unconfined";

pub(crate) fn is_here() -> bool {
    MARKS.iter().any(|mark| Path::new(mark).exists())
}

/// Returns how to start the container in which something was forbidden; nothing outside of containers, or when it was not forbidden.
pub(crate) fn mend(error: &io::Error) -> Option<String> {
    let forbidden = error.kind() == io::ErrorKind::PermissionDenied;
    (forbidden && is_here()).then(|| format!("start the container with `{OPTIONS}`"))
}

/// Says why an overlay was refused whose changes would go to another overlay, as a container's own files are one.
pub(crate) fn upon_overlay(upper: impl AsFd, doing: String, source: io::Error) -> Error {
    let refused = source.raw_os_error() == Some(libc::EINVAL);
    if !refused || !rustix::fs::fstatfs(upper).is_ok_and(|state| state.f_type as u64 == OVERLAY) {
        return Error::System { doing, source };
    }
    let what = format!("{doing}: its changes would go to another overlay, which the kernel refuses");
    let mend = "give the cache a volume: start the container with `--volume kiln:/var/cache/kiln --env KILN_CACHE=/var/cache/kiln`";
    Error::Refused { what, mend: Some(mend.into()), source: Some(source) }
}
