//! Programs of another architecture: QEMU's user emulation out of the tools tree, registered inside the sandbox.

use kiln_model::{Arch, Fault, GuestPath};
use kiln_sandbox::{Command, Emulator};

use super::Run;
use crate::events::Events;
use crate::kiln::Kiln;
use crate::load::Loaded;

/// The package whose programs are linked statically, as a tree of another architecture needs.
const PACKAGE: &str = "qemu-user";

impl Run<'_> {
    /// Lends a command what runs the programs of its tree.
    pub fn emulated(&self, mut command: Command) -> Result<Command, Fault> {
        let mut known = self.state.emulators.lock().expect("no holder panics");
        let emulators = match known.take() {
            Some(emulators) => emulators,
            None => self.kiln.emulators(self.loaded, self.plan.arch, self.events)?,
        };
        command.emulators.extend(known.insert(emulators).iter().cloned());
        Ok(command)
    }
}

impl Kiln {
    /// Returns what runs programs of `arch` on this machine: nothing where it does that by itself.
    pub(crate) fn emulators(&self, loaded: &Loaded, arch: Arch, events: &Events) -> Result<Vec<Emulator>, Fault> {
        if Arch::host().runs(arch) {
            return Ok(vec![]);
        }
        let path = GuestPath::new(format!("/usr/bin/qemu-{}", arch.qemu())).expect("a plain path");
        let tools = self.extra_tools(loaded, &[PACKAGE], std::slice::from_ref(&path), events)?;
        let (magic, mask) = arch.elf_magic();
        let (name, program) = (format!("kiln-{arch}"), path.under(&tools));
        Ok(vec![Emulator { name, magic: magic.into(), mask: mask.into(), program }])
    }
}
