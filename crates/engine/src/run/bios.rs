//! GRUB's images for PCs with a BIOS, by its own tool.

use std::fs;

use kiln_disk::bios::Images;
use kiln_model::action::Bios;
use kiln_model::fault::OrFault as _;
use kiln_model::{Fault, GuestPath, StageKind};
use kiln_sandbox::Scratch;

use super::Run;

/// Where the tools tree has GRUB's parts.
const PARTS: &str = "/usr/lib/grub/i386-pc";

impl Run<'_> {
    /// Makes the core image that `bios` describes; the boot sector is one of its parts.
    pub fn grub(&self, bios: &Bios) -> Result<Images, Fault> {
        let scratch = Scratch::new(&self.scratch_root(), "grub")?;
        let config = scratch.path().join("config");
        fs::write(&config, &bios.config).farm(|| format!("write `{}`", config.display()))?;
        let words = ["grub-mkimage", "--format=i386-pc", "--prefix=/grub", "--config=/out/config"];
        let words =
            words.map(str::to_owned).into_iter().chain([format!("--directory={PARTS}"), "--output=/out/core".into()]);
        let out = GuestPath::new("/out").expect("a plain path");
        let command = self.tool(words.chain(bios.modules.iter().cloned()))?.bind(scratch.path(), out, false);
        self.command(StageKind::Image, "grub-mkimage", command)?;
        let boot = self.tools()?.join(&format!("{PARTS}/boot.img")[1..]);
        let read = |path: &std::path::Path| fs::read(path).farm(|| format!("read `{}`", path.display()));
        Ok(Images { boot: read(&boot)?, core: read(&scratch.path().join("core"))? })
    }
}
