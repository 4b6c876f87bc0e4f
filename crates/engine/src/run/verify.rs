//! Whether the image is known to boot.

use std::time::Duration;

use kiln_model::{Digest, Fault, StageKind};
use kiln_recipe::spec::Qemu;
use kiln_sandbox::Scratch;
use kiln_store::Doc;
use serde_json::Value;

use super::{Made, Run};
use crate::boot::{self, firmware};
use crate::load::Loaded;

/// Returns the machines that the recipe wants its disk to be booted on.
pub(crate) fn machines(loaded: &Loaded) -> Result<Vec<Qemu>, Fault> {
    let spec = &loaded.completed.spec;
    match &spec.base.board {
        Some(board) if spec.verify.boot => {
            firmware::machines(boot::machine(board)?, &board.firmware(), &spec.verify, None)
        }
        _ => Ok(vec![]),
    }
}

impl Run<'_> {
    /// Boots the first disk among the outputs and checks what the recipe asserts; none when it does not ask for that.
    ///
    /// An image with these bytes that came up before is not booted again.
    pub fn verify(&self, made: &[Made]) -> Result<Option<Value>, Fault> {
        let spec = &self.loaded.completed.spec;
        let disk = made.iter().find(|made| ["raw", "qcow2"].contains(&made.artifact.format.as_str()));
        let (Some(disk), Some(board)) = (disk, &spec.base.board) else { return Ok(None) };
        let boards = machines(self.loaded)?;
        if boards.is_empty() || self.options.no_verify {
            return Ok(None);
        }
        let machine = boot::machine(board)?;
        let asked = serde_json::to_string(&(&spec.verify, machine)).expect("specs serialise");
        let key = format!("boot {} {}", disk.artifact.sha256, Digest::of(asked));
        if let Some(known) = self.kiln.store.document(Doc::Probe, &key)? {
            self.events.log(Some(StageKind::Sync), "boot", "this very image was booted before");
            return Ok(serde_json::from_slice(&known).ok());
        }
        let verified = boards.iter().enumerate().map(|(number, board)| self.boot(disk, board, number > 0));
        let verified = firmware::joined(verified.collect::<Result<_, _>>()?);
        let verified = serde_json::to_value(verified).expect("results serialise");
        self.kiln.store.put_document(Doc::Probe, &key, verified.to_string().as_bytes())?;
        Ok(Some(verified))
    }

    /// Boots a disk; the console of a `further` firmware is kept under its name.
    fn boot(&self, disk: &Made, board: &Qemu, further: bool) -> Result<boot::Verified, Fault> {
        self.enter_stage(StageKind::Sync);
        let scratch = Scratch::new(&self.scratch_root(), "boot")?;
        let programs = self.kiln.boot_programs(self.loaded, board, self.events)?;
        let guest = boot::Guest {
            image: &disk.partial,
            board,
            programs: &programs,
            scratch: scratch.path(),
            sandbox: self.kiln.sandbox()?,
            accel: None,
            seed: None,
            jobs: self.kiln.config.jobs,
        };
        let firmware = if further { format!(".{}", board.firmware) } else { String::new() };
        let log = self.options.out.join(format!("{}{firmware}.console.log", self.plan.name));
        let told = |line: &str| self.events.log(Some(StageKind::Sync), "console", line);
        // The guest takes its time: meanwhile the cache is made to outlive this boot of the machine.
        std::thread::scope(|scope| {
            scope.spawn(|| self.kiln.store.settle(Duration::ZERO));
            boot::check(&guest, &self.loaded.completed.spec.verify, &log, &told)
        })
    }
}
