//! The registrar: a tiny process outside of kiln's user namespace that registers emulators on the host while kiln lives.
//!
//! Only where a sandbox cannot have `binfmt_misc` of its own (before Linux 6.7) and kiln runs as the host's root. What it registers holds
//! for the whole machine, so it goes when kiln is gone, however that went; what a registrar left that was killed itself, the
//! next one takes away.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::{Dir, Mode, OFlags, openat};
use rustix::mount::MountAttrFlags;

use crate::error::Doing;
use crate::namespaces::{line, make};
use crate::{Emulator, Error, Result, janitor, letter, sys};

static HIRED: OnceLock<Registrar> = OnceLock::new();

/// What its entries are called: this, the architecture, its process.
const PREFIX: &str = "kiln-";

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
    let _ = letter::send(line, &mount.is_ok(), &[]);
    if let Ok(mount) = mount {
        serve(line, &mount);
    }
    sys::exit_now(0)
}

fn serve(line: &OwnedFd, mount: &OwnedFd) {
    sweep(mount);
    let mut known = Known::new();
    while let Ok(Some((emulators, _))) = letter::receive::<Vec<Emulator>>(line) {
        let done = emulators.iter().try_for_each(|emulator| enter(mount, emulator, &mut known));
        let _ = letter::send(line, &done.err().map(|error| error.to_string()), &[]);
    }
    known.values().for_each(|name| remove(mount, name));
}

fn enter(mount: &OwnedFd, emulator: &Emulator, known: &mut Known) -> Result<()> {
    let key = (emulator.magic.clone(), emulator.mask.clone());
    if known.contains_key(&key) {
        return Ok(());
    }
    let name = format!("{PREFIX}{}-{}", emulator.name, std::process::id());
    let doing = || format!("register `{}` on the host for programs of `{}`", emulator.program.display(), emulator.name);
    write(mount, "register", &line(&Emulator { name: name.clone(), ..emulator.clone() })).doing(doing)?;
    known.insert(key, name);
    Ok(())
}

/// Takes away the entries of registrars that are no more; one that had this process's number is among them.
fn sweep(mount: &OwnedFd) {
    let listed = openat(mount, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let Some(mut list) = listed.ok().and_then(|folder| Dir::read_from(folder).ok()) else { return };
    while let Some(Ok(entry)) = list.read() {
        let Ok(name) = entry.file_name().to_str() else { continue };
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.rsplit_once('-')).map(|(_, process)| process);
        let own = std::process::id().to_string();
        if process.is_some_and(|process| process == own || !Path::new("/proc").join(process).exists()) {
            remove(mount, name);
        }
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
