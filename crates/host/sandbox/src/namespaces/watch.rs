//! Limits of all processes of a sandbox together, kept by looking.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use super::Excess;
use crate::Limits;

/// A hog that fills a gibibyte a second gets 20 MB beyond its limit.
const PAUSE: Duration = Duration::from_millis(20);

/// Where files are memory.
const IN_MEMORY: [&str; 4] = ["/run", "/tmp", "/dev/shm", "/dev"];

/// Returns the number of processes at which the kernel itself says no (`RLIMIT_NPROC`), above what the watch allows: a
/// bomb that is faster than the watch ends there. It does not count for the host's root, whose bombs the watch alone ends:
/// its signal to all is one step for the kernel, and whoever has it pending forks no more.
pub(super) fn backstop(processes: u32) -> u32 {
    processes.saturating_mul(2).saturating_add(64)
}

/// The eye on memory and processes.
pub(super) struct Watch {
    memory: u64,
    processes: u64,
    page: u64,
}

struct Process {
    pid: u32,
    threads: u64,
    /// Bytes.
    resident: u64,
}

impl Watch {
    /// Returns a watch when there is something to watch.
    pub(super) fn new(limits: &Limits) -> Option<Self> {
        let any = limits.memory.is_some() || limits.processes.is_some();
        any.then(|| Self {
            memory: limits.memory.unwrap_or(u64::MAX),
            processes: limits.processes.map_or(u64::MAX, u64::from),
            page: rustix::param::page_size() as u64,
        })
    }

    pub(super) fn pause(&self) -> Duration {
        PAUSE
    }

    /// Looks once; returns the limit that is exceeded.
    pub(super) fn look(&mut self) -> Option<Excess> {
        let all = self.processes();
        if all.iter().map(|process| process.threads).sum::<u64>() > self.processes {
            return Some(Excess::Processes);
        }
        let files = if self.memory == u64::MAX { 0 } else { files_in_memory() };
        let resident: u64 = all.iter().map(|process| process.resident).sum();
        // Pages that several processes share are counted for each; only when that seems too much is it worth the exact sum.
        let over = resident.saturating_add(files) > self.memory && exact(&all) + files > self.memory;
        over.then_some(Excess::Memory)
    }

    fn processes(&self) -> Vec<Process> {
        let Ok(list) = fs::read_dir("/proc") else { return Vec::new() };
        let pids = list.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        pids.filter(|&pid| pid != 1).filter_map(|pid| self.process(pid)).collect()
    }

    fn process(&self, pid: u32) -> Option<Process> {
        let pages: u64 = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?.split(' ').nth(1)?.parse().ok()?;
        let links = fs::metadata(format!("/proc/{pid}/task")).ok()?.nlink();
        Some(Process { pid, threads: links.saturating_sub(2).max(1), resident: pages * self.page })
    }
}

/// Returns the bytes of all processes, shared pages counted once.
fn exact(all: &[Process]) -> u64 {
    let share = |process: &Process| {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", process.pid)).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
    };
    all.iter().map(|process| share(process).unwrap_or(0)).sum()
}

fn files_in_memory() -> u64 {
    let used = |path: &&str| {
        let state = rustix::fs::statvfs(*path).ok()?;
        Some((state.f_blocks - state.f_bfree) * state.f_frsize)
    };
    IN_MEMORY.iter().filter_map(used).sum()
}
