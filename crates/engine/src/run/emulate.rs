//! Programs of another architecture: QEMU's user emulation out of the tools tree, registered inside the sandbox.

use kiln_model::{Arch, Fault, GuestPath};
use kiln_sandbox::{Command, Emulator};

use super::Run;
use crate::events::Events;
use crate::kiln::Kiln;
use crate::load::Loaded;

/// The package whose programs are linked statically, as a tree of another architecture needs.
pub(crate) const PACKAGE: &str = "qemu-user";

impl Run<'_> {
    /// Lends a command what runs the programs of its tree.
    pub fn emulated(&self, mut command: Command) -> Result<Command, Fault> {
        command.emulators.extend(self.emulators()?);
        Ok(command)
    }

    /// Returns what runs the tree's programs, looked for at the first call.
    pub fn emulators(&self) -> Result<Vec<Emulator>, Fault> {
        let mut known = self.state.emulators.lock().expect("no holder panics");
        let emulators = match known.take() {
            Some(emulators) => emulators,
            None => self.kiln.emulators(self.loaded, self.plan.arch, self.events)?,
        };
        Ok(known.insert(emulators).clone())
    }
}

impl Kiln {
    /// Returns what runs programs of `arch` on this machine: nothing where it does that by itself.
    pub(crate) fn emulators(&self, loaded: &Loaded, arch: Arch, events: &Events) -> Result<Vec<Emulator>, Fault> {
        let foreign = self.sandbox()?.foreign();
        // Where the host alone can register emulators, what it has holds.
        if Arch::host().runs(arch) || is_narrower(arch) && foreign.narrow || !foreign.emulators {
            return Ok(vec![]);
        }
        let path = GuestPath::new(format!("/usr/bin/qemu-{}", arch.qemu())).expect("a plain path");
        let tools = self.extra_tools(loaded, &[PACKAGE], std::slice::from_ref(&path), events)?;
        let (magic, mask) = arch.elf_magic();
        let (name, program) = (arch.to_string(), path.under(&tools));
        Ok(vec![Emulator { name, magic: magic.into(), mask: mask.into(), program }])
    }
}

/// Whether an architecture is the 32-bit side of this machine's, which most of its processors have.
fn is_narrower(arch: Arch) -> bool {
    (Arch::host(), arch) == (Arch::Arm64, Arch::Armhf)
}
