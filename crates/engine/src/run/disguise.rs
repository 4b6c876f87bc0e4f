//! Another time for the programs of a build, for `kiln twice`: what reads the clock shows in the second image.

use kiln_model::{Fault, GuestPath};
use kiln_recipe::spec::Family;
use kiln_sandbox::Command;

use super::Run;

/// Where the library is seen inside.
const INSIDE: &str = "/run/kiln-clock.so";

impl Run<'_> {
    /// Moves the clock of `command` where the configuration says so, by libfaketime's preloaded library.
    pub fn disguise(&self, command: Command) -> Result<Command, Fault> {
        let offset = self.kiln.config.clock_offset;
        // The library is one of glibc's, which musl cannot load.
        let glibc = self.loaded.completed.spec.base.family == Family::Deb;
        if offset == 0 || !glibc || !kiln_model::Arch::host().runs(self.plan.arch) {
            return Ok(command);
        }
        let tools = self.kiln.extra_tools(self.loaded, &["libfaketime"], &[], self.events)?;
        let library = tools.join("usr/lib").join(self.plan.arch.multiarch()).join("faketime/libfaketime.so.1");
        let at = GuestPath::new(INSIDE).expect("a plain path");
        Ok(command
            .bind(library, at, true)
            .env("LD_PRELOAD", INSIDE)
            .env("FAKETIME", format!("{offset:+}s"))
            // Times of files stay real: packages bring theirs, and what is too young is set to the epoch anyway.
            .env("NO_FAKE_STAT", "1")
            .env("FAKE_UTIME", "0")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1"))
    }
}
