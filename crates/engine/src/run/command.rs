//! Commands of a build in the sandbox: their output becomes events, their failure a fault with its last lines.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::time::Duration;

use kiln_model::{Arch, Fault, StageKind};
use kiln_sandbox::{Command, Exit, Limits, Stream};

use super::Run;

/// How many lines of a failing command are shown.
const LAST_LINES: usize = 20;

/// Processes and threads of one command.
const PROCESSES: u32 = 4096;
/// From a command's start to its end.
const TIME: Duration = Duration::from_secs(2 * 3600);
/// Bytes that no package's scripts write.
const DISK: u64 = 64 << 30;
/// Bytes of memory that are allowed on the smallest machine: what compresses an initrd takes that much.
const LEAST_MEMORY: u64 = 1 << 30;

/// Returns the limits of a stage's command: enough for any package, and little enough that a runaway ends while the machine has
/// room for everybody else. `memory` is all there is, `free` what the disk has left, both in bytes.
fn limits(memory: Option<u64>, free: Option<u64>) -> Limits {
    let most = |all: u64| all / 4 * 3;
    Limits {
        memory: memory.map(|all| most(all).max(LEAST_MEMORY)),
        processes: Some(PROCESSES),
        disk: Some(free.map_or(DISK, |free| most(free).min(DISK))),
        time: Some(TIME),
    }
}

/// Returns the bytes of memory this machine has, from the text of `/proc/meminfo`.
fn memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

fn free_disk(folder: &Path) -> Option<u64> {
    rustix::fs::statvfs(folder).ok().map(|state| state.f_bavail * state.f_frsize)
}

impl Run<'_> {
    /// Runs `command` for `stage` under the name `source`; anything but success is a fault.
    pub fn command(&self, stage: StageKind, source: &str, command: Command) -> Result<(), Fault> {
        let of_tools = stage == StageKind::Tools || stage >= StageKind::Image;
        if of_tools {
            return self.directly(stage, source, command);
        }
        self.directly(stage, source, self.lent(stage, self.emulated(self.disguise(command)?)?)?)
    }

    /// Runs `command` as it is: its programs are this machine's.
    pub fn directly(&self, stage: StageKind, source: &str, mut command: Command) -> Result<(), Fault> {
        let mut lines = Lines::default();
        command.hostname = self.kiln.config.sandbox_hostname.clone();
        command.written = super::stage::written(&command.root);
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        command.limits = limits(memory(&meminfo), free_disk(&self.kiln.config.cache));
        let mut told = |line: &str| self.events.log(Some(stage), source, self.secrets.veil(line));
        let ran = self.kiln.sandbox()?.run(&command, &mut |stream, bytes| lines.feed(stream, bytes, &mut told));
        let exit = ran.map_err(|error| refused(error, self.plan.arch))?;
        lines.finish(&mut told);
        if exit.success() {
            return Ok(());
        }
        let what = format!("`{source}` in stage `{stage}` failed: {exit}");
        let last: Vec<_> = lines.last.iter().map(|line| self.secrets.veil(line)).collect();
        Err(Fault::package(what).detail(last.join("\n")).hint(hint(&exit, &last)))
    }
}

/// What lets a machine run another architecture's programs whose kernel lets no sandbox register an emulator of its own; what is
/// registered on the host holds in every sandbox.
const EMULATE: &str = "this image is of another architecture, which kiln emulates on Linux 6.7 or newer, or as root; on this machine: \
                       sudo apt-get install qemu-user-static binfmt-support";

/// Returns why a command did not start in a tree for `arch`: what the machine cannot run there is its own fault.
pub fn refused(error: kiln_sandbox::Error, arch: Arch) -> Fault {
    if error.is_format() && !Arch::host().runs(arch) {
        return Fault::farm(error.to_string()).because(Fault::from(error)).hint(EMULATE);
    }
    error.into()
}

/// Returns the way out for the most common causes, read off a command's end and its last lines.
fn hint(exit: &Exit, last: &[String]) -> String {
    let said = |words: &str| last.iter().any(|line| line.to_lowercase().contains(words));
    let text = if exit.out_of_memory {
        "a command may use three quarters of this machine's memory: build on a larger one, or with less in the recipe"
    } else if exit.out_of_disk || said("no space left") {
        "the disk is full: free some space, or shrink the cache with `kiln cache gc`"
    } else if said("temporary failure in name resolution") || said("network is unreachable") {
        "stages have no network: name the package or file in the recipe, so that it is fetched and pinned"
    } else if said("command not found") || said("not found") {
        "is the package that has this program in `packages.include`?"
    } else {
        "build again with `--keep-failed`, then `kiln shell --failed` opens the tree as it was"
    };
    text.to_owned()
}

/// Splits output into lines, each stream for itself, and keeps the last ones.
#[derive(Default)]
struct Lines {
    partial: [Vec<u8>; 2],
    last: VecDeque<String>,
}

impl Lines {
    fn feed(&mut self, stream: Stream, bytes: &[u8], told: &mut dyn FnMut(&str)) {
        let partial = &mut self.partial[stream as usize];
        partial.extend_from_slice(bytes);
        let Some(end) = partial.iter().rposition(|&byte| byte == b'\n') else { return };
        let whole: Vec<u8> = partial.drain(..=end).collect();
        whole[..whole.len() - 1].split(|&byte| byte == b'\n').for_each(|line| keep(&mut self.last, line, told));
    }

    fn finish(&mut self, told: &mut dyn FnMut(&str)) {
        for partial in &mut self.partial {
            if !partial.is_empty() {
                keep(&mut self.last, &std::mem::take(partial), told);
            }
        }
    }
}

fn keep(last: &mut VecDeque<String>, line: &[u8], told: &mut dyn FnMut(&str)) {
    let line = String::from_utf8_lossy(line).trim_end_matches('\r').to_owned();
    told(&line);
    last.push_back(line);
    if last.len() > LAST_LINES {
        last.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_another_architecture_is_the_machines_fault_and_can_be_mended() {
        let foreign = Arch::ALL.into_iter().find(|&arch| !Arch::host().runs(arch)).unwrap();
        let (format, missing) = (rustix::io::Errno::NOEXEC, rustix::io::Errno::NOENT);
        let cases = [
            (format, foreign, kiln_model::FaultKind::Farm, Some(EMULATE)),
            // A script without its first line, say.
            (format, Arch::host(), kiln_model::FaultKind::Package, None),
            (missing, foreign, kiln_model::FaultKind::Package, None),
        ];
        for (errno, arch, kind, hint) in cases {
            let (program, root) = ("/bin/sh".into(), "/tree".into());
            let fault = refused(kiln_sandbox::Error::Program { program, root, source: errno.into() }, arch);
            assert_eq!((fault.kind(), fault.hint_text()), (kind, hint), "{errno} {arch}");
        }
    }

    #[test]
    fn limits_fit_the_machine() {
        let meminfo = "MemTotal:        8000000 kB\nMemFree:          100 kB\n";
        let cases = [
            (memory(meminfo), Some(40 << 30), Some(6_144_000_000), Some(30 << 30)),
            (Some(512 << 20), Some(1 << 40), Some(1 << 30), Some(64 << 30)),
            (memory("nonsense"), None, None, Some(64 << 30)),
        ];
        for (memory, free, wanted_memory, wanted_disk) in cases {
            let Limits { memory: got_memory, disk, .. } = limits(memory, free);
            assert_eq!((got_memory, disk), (wanted_memory, wanted_disk), "{memory:?} {free:?}");
        }
    }

    #[test]
    fn a_hint_follows_the_cause() {
        let exits = [
            (Exit { out_of_memory: true, ..Exit::code(1) }, "", "memory"),
            (Exit { out_of_disk: true, ..Exit::code(1) }, "", "disk is full"),
            (Exit::code(1), "write error: No space left on device", "disk is full"),
            (Exit::code(1), "", "--keep-failed"),
        ];
        for (exit, last, wanted) in exits {
            assert!(hint(&exit, &[last.to_owned()]).contains(wanted), "{exit:?} {last}");
        }
    }
}
