//! Commands of a build in the sandbox: their output becomes events, their failure a fault with its last lines.

use std::collections::VecDeque;
use std::time::Duration;

use kiln_model::{Fault, StageKind};
use kiln_sandbox::{Command, Limits, Stream};

use super::Run;

/// How many lines of a failing command are shown.
const LAST_LINES: usize = 20;

/// Limits of a stage's command: enough for any package, little enough that a runaway ends.
pub fn limits() -> Limits {
    Limits { memory: None, processes: Some(4096), disk: Some(64 << 30), time: Some(Duration::from_secs(2 * 3600)) }
}

impl Run<'_> {
    /// Runs `command` for `stage` under the name `source`; anything but success is a fault.
    pub fn command(&self, stage: StageKind, source: &str, command: Command) -> Result<(), Fault> {
        let mut lines = Lines::default();
        let mut command =
            if stage == StageKind::Tools || stage >= StageKind::Image { command } else { self.disguise(command)? };
        command.hostname = self.kiln.config.sandbox_hostname.clone();
        command.limits = limits();
        let mut told = |line: &str| self.events.log(Some(stage), source, self.secrets.veil(line));
        let exit = self.kiln.sandbox()?.run(&command, &mut |stream, bytes| lines.feed(stream, bytes, &mut told))?;
        lines.finish(&mut told);
        if exit.success() {
            return Ok(());
        }
        let what = format!("`{source}` in stage `{stage}` failed: {exit}");
        let last: Vec<_> = lines.last.iter().map(|line| self.secrets.veil(line)).collect();
        Err(Fault::package(what).detail(last.join("\n")).hint(hint(&last)))
    }
}

/// Returns the way out for the most common causes, read off a command's last lines.
fn hint(last: &[String]) -> String {
    let said = |words: &str| last.iter().any(|line| line.to_lowercase().contains(words));
    let text = if said("no space left") {
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
