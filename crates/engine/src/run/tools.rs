//! The tools tree: programs of the Debian archive that formats and the first scripts need, unpacked and used as they are.

use std::path::PathBuf;

use kiln_model::Fault;
use kiln_sandbox::{Command, Overlay, Scratch};

use super::Run;

impl Run<'_> {
    /// Returns the root of the plan's tools tree. The stage in hand stays that of whoever asks.
    pub fn tools(&self) -> Result<PathBuf, Fault> {
        let pipeline = self.plan.pipeline("tools").ok_or_else(|| Fault::farm("the plan has no tools"))?;
        let asking = *self.current.lock().expect("no holder panics");
        let layers = self.layers(pipeline)?;
        *self.current.lock().expect("no holder panics") = asking;
        let layer = layers.first().ok_or_else(|| Fault::farm("the tools tree is empty"))?;
        Ok(layer.path.clone())
    }

    /// Returns a command with the plan's tools tree as its root, which is the store's and stays as it is.
    pub fn tool(&self, argv: impl IntoIterator<Item = String>) -> Result<Command, Fault> {
        let mut command = Command::new(self.tools()?, argv);
        command.read_only_root = true;
        Ok(command)
    }

    /// Shows a finished tree read-only, for tools that read a folder.
    pub fn show(&self, layers: &[kiln_store::Layer]) -> Result<Shown, Fault> {
        let scratch = Scratch::new(&self.scratch_root(), "show")?;
        let lowers: Vec<_> = layers.iter().rev().map(|layer| layer.path.as_path()).collect();
        let overlay = Overlay::read_only(&lowers, &scratch.path().join("root"))?;
        Ok(Shown { overlay, _scratch: scratch })
    }
}

/// A tree that is shown until this goes.
pub(crate) struct Shown {
    pub overlay: Overlay,
    _scratch: Scratch,
}
