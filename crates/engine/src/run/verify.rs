//! Whether the image is known to boot.

use std::time::Duration;

use kiln_model::{Digest, Fault, StageKind};
use kiln_sandbox::Scratch;
use kiln_store::Doc;
use serde_json::Value;

use super::{Made, Run};
use crate::boot;

impl Run<'_> {
    /// Boots the first disk among the outputs and checks what the recipe asserts; none when it does not ask for that.
    ///
    /// An image with these bytes that came up before is not booted again.
    pub fn verify(&self, made: &[Made]) -> Result<Option<Value>, Fault> {
        let spec = &self.loaded.completed.spec;
        let disk = made.iter().find(|made| ["raw", "qcow2"].contains(&made.artifact.format.as_str()));
        let (Some(disk), Some(board)) = (disk, &spec.base.board) else { return Ok(None) };
        if !spec.verify.boot || self.options.no_verify {
            return Ok(None);
        }
        let asked = serde_json::to_string(&(&spec.verify, &board.qemu)).expect("specs serialise");
        let key = format!("boot {} {}", disk.artifact.sha256, Digest::of(asked));
        if let Some(known) = self.kiln.store.document(Doc::Probe, &key)? {
            self.events.log(Some(StageKind::Sync), "boot", "this very image was booted before");
            return Ok(serde_json::from_slice(&known).ok());
        }
        let verified = serde_json::to_value(self.boot(disk, board)?).expect("results serialise");
        self.kiln.store.put_document(Doc::Probe, &key, verified.to_string().as_bytes())?;
        Ok(Some(verified))
    }

    fn boot(&self, disk: &Made, board: &kiln_recipe::spec::BoardSpec) -> Result<boot::Verified, Fault> {
        self.enter_stage(StageKind::Sync);
        let scratch = Scratch::new(&self.scratch_root(), "boot")?;
        let programs = self.kiln.boot_programs(self.loaded, &board.qemu, self.events)?;
        let guest = boot::Guest {
            image: &disk.partial,
            board: &board.qemu,
            programs: &programs,
            scratch: scratch.path(),
            sandbox: self.kiln.sandbox()?,
            accel: None,
            seed: None,
        };
        let log = self.options.out.join(format!("{}.console.log", self.plan.name));
        let told = |line: &str| self.events.log(Some(StageKind::Sync), "console", line);
        // The guest takes its time: meanwhile the cache is made to outlive this boot of the machine.
        std::thread::scope(|scope| {
            scope.spawn(|| self.kiln.store.settle(Duration::ZERO));
            boot::check(&guest, &self.loaded.completed.spec.verify, &log, &told)
        })
    }
}
