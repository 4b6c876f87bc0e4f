//! Programs of other architectures: `binfmt_misc` of the sandbox's own user namespace, so that the host is not touched.
//!
//! Linux 6.7 made `binfmt_misc` a matter of user namespaces: each may mount its own, and what is registered there holds
//! for its programs alone. Source: the kernel's `Documentation/admin-guide/binfmt-misc.rst` and `fs/binfmt_misc.c`.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::room::make;
use crate::error::Doing;
use crate::{Emulator, Error, Result};

/// Registers `emulators`, whose programs are still in sight; they stay registered as long as what is returned is open.
///
/// None where the kernel keeps `binfmt_misc` for the host alone: then what is registered there holds.
pub(super) fn register(emulators: &[Emulator]) -> Result<Option<OwnedFd>> {
    if emulators.is_empty() {
        return Ok(None);
    }
    let mount = match make("binfmt_misc", MountAttrFlags::MOUNT_ATTR_NOSUID, &[]) {
        Err(Error::System { source, .. }) if refused(&source) => return Ok(None),
        other => other?,
    };
    for emulator in emulators {
        let doing = || format!("register `{}` for programs of `{}`", emulator.program.display(), emulator.name);
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let register = openat(&mount, "register", flags, Mode::empty()).doing(doing)?;
        rustix::io::write(&register, &line(emulator)).doing(doing)?;
    }
    Ok(Some(mount))
}

/// Whether the kernel lets a sandbox register emulators of its own. Must be asked by whoever entered.
pub(crate) fn is_possible() -> bool {
    make("binfmt_misc", MountAttrFlags::empty(), &[]).is_ok()
}

/// Whether the kernel knows `binfmt_misc` of the host alone.
pub(crate) fn is_before_6_7() -> bool {
    let uname = rustix::system::uname();
    version(&uname.release().to_string_lossy()).is_some_and(|version| version < (6, 7))
}

/// Reads the first two numbers of a release such as `6.1.0-37-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// Whether the kernel has no `binfmt_misc` for user namespaces, or none at all.
fn refused(error: &std::io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::PERM | Errno::NODEV | Errno::ACCESS))
}

/// Returns the line that registers an emulator: the kernel opens the program at once (`F`), and hands on the name it was
/// called by (`P`), an open descriptor (`O`), and the rights of the program that is run (`C`). What parts the fields is the line's first
/// byte, which no path has.
pub(crate) fn line(emulator: &Emulator) -> Vec<u8> {
    let escaped = |bytes: &[u8]| bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
    let (magic, mask) = (escaped(&emulator.magic), escaped(&emulator.mask));
    let head = format!("\x1f{}\x1fM\x1f\x1f{magic}\x1f{mask}\x1f", emulator.name);
    [head.as_bytes(), emulator.program.as_os_str().as_bytes(), b"\x1fPOCF"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read() {
        for (release, wanted) in
            [("6.1.0-37-amd64", Some((6, 1))), ("6.18.44", Some((6, 18))), ("7", None), ("", None), ("x.1", None)]
        {
            assert_eq!(version(release), wanted, "{release}");
        }
    }

    #[test]
    fn a_line_is_what_the_kernel_reads() {
        let emulator =
            Emulator { name: "arm64".into(), magic: b"\x7fELF".into(), mask: vec![255, 0, 1, 2], program: "/q".into() };
        let wanted = r":arm64:M::\x7f\x45\x4c\x46:\xff\x00\x01\x02:/q:POCF";
        assert_eq!(String::from_utf8(line(&emulator)).unwrap(), wanted.replace(':', "\x1f"));
    }
}
