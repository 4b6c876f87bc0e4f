//! The registrar: a tiny process outside of kiln's user namespace that registers emulators on the host while kiln lives.
//!
//! Only where a sandbox cannot have `binfmt_misc` of its own (before Linux 6.7) and kiln runs as the host's root. What it registers holds
//! for the whole machine, so it goes when kiln is gone, however that went; what a registrar left that was killed itself, the
//! next one takes away.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::{Dir, Mode, OFlags, openat};
use rustix::mount::MountAttrFlags;

use crate::error::Doing;
use crate::namespaces::{line, make};
use crate::{Emulator, Error, Result, janitor, letter, sys};

static HIRED: OnceLock<Registrar> = OnceLock::new();

/// What its entries are called: this, the architecture, its mark.
const PREFIX: &str = "kiln-";

/// A registrar among all that share the host's `binfmt_misc`: containers have process numbers of their own, and each
/// counts anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    /// The inode of the namespace that the number is of.
    numbers: u64,
    process: u32,
}

/// Kiln's line to its registrar.
#[derive(Debug)]
pub(crate) struct Registrar {
    line: OwnedFd,
}

impl Registrar {
    /// Starts the registrar; the process must have one thread, and be root. None where that root may not register anything,
    /// as a container's: then what is registered on the host holds.
    pub fn hire() -> Result<Option<Self>> {
        let (here, there) = letter::pair().doing(|| "make a socket pair".into())?;
        if sys::fork().doing(|| "fork the registrar".into())?.is_none() {
            drop(here);
            live(&janitor::settle(there, c"kiln-registrar"));
        }
        drop(there);
        let able = letter::receive::<bool>(&here).doing(|| "hear from the registrar".into())?;
        Ok(able.is_some_and(|(able, _)| able).then_some(Self { line: here }))
    }

    /// Makes it this process's own. Nobody else may keep it: the registrar ends when the last who has it ends.
    pub fn serve_me(self) {
        let _ = HIRED.set(self);
    }

    pub fn get() -> Option<&'static Self> {
        HIRED.get()
    }

    /// Registers emulators, or leaves those that are.
    pub fn register(&self, emulators: &[Emulator]) -> Result<()> {
        letter::send(&self.line, &emulators, &[]).doing(|| "speak to the registrar".into())?;
        let answer = letter::receive::<Option<String>>(&self.line).doing(|| "hear from the registrar".into())?;
        let refused = |what| Err(Error::Refused { what, mend: None, source: None });
        match answer {
            Some((None, _)) => Ok(()),
            Some((Some(what), _)) => refused(what),
            None => refused("register emulators: the registrar has ended".into()),
        }
    }
}

/// What is registered: magic and mask, and the entry's name.
type Known = BTreeMap<(Vec<u8>, Vec<u8>), String>;

/// Serves until kiln is gone, then takes away what it registered.
fn live(line: &OwnedFd) -> ! {
    let mount = make("binfmt_misc", MountAttrFlags::MOUNT_ATTR_NOSUID, &[]);
    let able = mount.ok().zip(Mark::own().ok());
    let _ = letter::send(line, &able.is_some(), &[]);
    if let Some((mount, own)) = able {
        serve(line, &mount, own);
    }
    sys::exit_now(0)
}

fn serve(line: &OwnedFd, mount: &OwnedFd, own: Mark) {
    sweep(mount, own);
    let mut known = Known::new();
    while let Ok(Some((emulators, _))) = letter::receive::<Vec<Emulator>>(line) {
        let done = emulators.iter().try_for_each(|emulator| enter(mount, emulator, own, &mut known));
        let _ = letter::send(line, &done.err().map(|error| error.to_string()), &[]);
    }
    known.values().for_each(|name| remove(mount, name));
}

fn enter(mount: &OwnedFd, emulator: &Emulator, own: Mark, known: &mut Known) -> Result<()> {
    let key = (emulator.magic.clone(), emulator.mask.clone());
    if known.contains_key(&key) {
        return Ok(());
    }
    let name = own.named(&emulator.name);
    let doing = || format!("register `{}` on the host for programs of `{}`", emulator.program.display(), emulator.name);
    write(mount, "register", &line(&Emulator { name: name.clone(), ..emulator.clone() })).doing(doing)?;
    known.insert(key, name);
    Ok(())
}

/// Takes away the entries of registrars that are no more; one that had this process's number is among them. Those of other
/// containers stay: from here nobody sees whether they live.
fn sweep(mount: &OwnedFd, own: Mark) {
    let listed = openat(mount, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let Some(mut list) = listed.ok().and_then(|folder| Dir::read_from(folder).ok()) else { return };
    let lives = |process: u32| process != own.process && Path::new("/proc").join(process.to_string()).exists();
    while let Some(Ok(entry)) = list.read() {
        let Ok(name) = entry.file_name().to_str() else { continue };
        if Mark::of(name).is_some_and(|mark| mark.numbers == own.numbers && !lives(mark.process)) {
            remove(mount, name);
        }
    }
}

impl Mark {
    fn own() -> std::io::Result<Self> {
        let numbers = std::fs::metadata("/proc/self/ns/pid")?.ino();
        Ok(Self { numbers, process: std::process::id() })
    }

    /// Returns the name of this registrar's entry for an emulator.
    fn named(self, emulator: &str) -> String {
        format!("{PREFIX}{emulator}-{}-{}", self.numbers, self.process)
    }

    /// Returns whose entry has this name; none where no registrar made it.
    fn of(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix(PREFIX)?.rsplitn(3, '-');
        let process = parts.next()?.parse().ok()?;
        let numbers = parts.next()?.parse().ok()?;
        parts.next().map(|_| Self { numbers, process })
    }
}

fn remove(mount: &OwnedFd, name: &str) {
    let _ = write(mount, name, b"-1");
}

fn write(mount: &OwnedFd, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let file = openat(mount.as_fd(), name, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, bytes)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_tell_whose_they_are() {
        let mark = Mark { numbers: 4_026_531_836, process: 17 };
        assert_eq!(mark.named("riscv64"), "kiln-riscv64-4026531836-17");
        assert_eq!(Mark::of("kiln-riscv64-4026531836-17"), Some(mark));
        assert_ne!(Mark::of("kiln-riscv64-4026532201-17"), Some(mark));
        for other in ["register", "qemu-arm", "kiln-arm-17", "kiln-arm-x-17", "kiln-1-2"] {
            assert_eq!(Mark::of(other), None, "{other}");
        }
    }

    #[test]
    fn a_process_knows_its_own_mark() {
        let own = Mark::own().unwrap();
        assert_eq!(own.process, std::process::id());
        assert_eq!(Mark::of(&own.named("arm")), Some(own));
    }
}
