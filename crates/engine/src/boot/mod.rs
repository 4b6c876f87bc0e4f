//! Starting an image in QEMU: in the terminal, or headless with the recipe's assertions.
//!
//! The image's bytes never change: QEMU writes to a throw-away overlay; firmware variables, unpacked disks and copies live
//! in a scratch folder that the caller hands in and removes. The way of a boot: [`programs`] finds QEMU and its firmware,
//! [`accel`] asks a probe guest whether KVM really runs, [`disk`] readies the artifact, [`qemu`] says the command line, and
//! [`interactive`] or [`check`] runs it. QEMU runs in the sandbox, from the host's own root or from the tools tree, so it
//! ends with kiln however kiln ends.

pub mod accel;
pub mod check;
pub mod console;
pub mod disk;
mod failure;
pub mod firmware;
mod headless;
mod interactive;
pub mod login;
pub mod programs;
pub mod prompt;
pub mod qemu;
pub mod seed;
pub mod shell;
pub mod verify;
pub mod version;
pub mod videocore;

use std::path::Path;

use kiln_model::Fault;
use kiln_recipe::spec::{BoardSpec, Qemu};
use kiln_sandbox::Sandbox;

pub use accel::{Accel, Choice};
pub use check::{Verified, check};
pub use interactive::interactive;
pub use programs::Programs;
pub use seed::Seed;

/// Returns how QEMU imitates a board; a fault where it cannot.
pub fn machine(board: &BoardSpec) -> Result<&Qemu, Fault> {
    board.qemu.as_ref().ok_or_else(|| {
        let fault = Fault::recipe(format!("QEMU does not imitate board `{}`", board.name));
        fault.hint("write the image to its medium and start the board itself")
    })
}

/// What to boot and with what.
#[derive(Clone, Copy)]
pub struct Guest<'a> {
    /// A raw or qcow2 disk, also compressed.
    pub image: &'a Path,
    /// How QEMU imitates the board.
    pub board: &'a Qemu,
    /// Where QEMU and its firmware are.
    pub programs: &'a Programs,
    pub sandbox: &'a dyn Sandbox,
    /// An empty folder for overlays, unpacked disks and firmware variables; the caller removes it.
    pub scratch: &'a Path,
    /// What runs the guest's instructions; none: what a probe guest finds best.
    pub accel: Option<Accel>,
    /// What a cloud would tell it, on a disk of its own.
    pub seed: Option<&'a Seed>,
    /// Threads that the host gives to it.
    pub jobs: usize,
}

impl Guest<'_> {
    /// Returns how many processors the machine has, where its board leaves that open: one for each thread, no more than four.
    ///
    /// An emulated processor that waits for one that does not run wastes the time of both.
    fn processors(&self) -> u32 {
        self.jobs.clamp(1, 4) as u32
    }
}
