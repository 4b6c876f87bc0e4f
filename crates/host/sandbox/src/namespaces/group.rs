//! Limits kept by the kernel: a control group for each sandbox, where kiln was given one to divide.
//!
//! Whoever runs in a session of systemd's user manager, or in a unit with `Delegate=yes`, was. The groups are made beside kiln's
//! own, since a group that has processes divides nothing; when kiln is alone in its group it moves down and divides that.
//! Everything here is an addition to the watch: what does not work is left to it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, getpid};

use super::{Excess, watch};
use crate::Limits;
use crate::enter::entered;

/// What every group of ours begins with.
const PREFIX: &str = "kiln-";

/// The group of one sandbox; removed on drop, when its processes are gone.
#[derive(Debug)]
pub(crate) struct Group(PathBuf);

impl Group {
    /// Makes a group with these limits; none when there is nothing to limit or to divide.
    pub(super) fn new(limits: &Limits) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if limits.memory.is_none() && limits.processes.is_none() {
            return None;
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = base()?.join(format!("{PREFIX}{}-{number}", getpid().as_raw_nonzero()));
        fs::create_dir(&path).ok()?;
        let group = Self(path);
        group.limit(limits).ok()?;
        Some(group)
    }

    fn limit(&self, limits: &Limits) -> io::Result<()> {
        if let Some(memory) = limits.memory {
            self.write("memory.max", memory)?;
            self.write("memory.oom.group", 1)?;
            // Kernels that do not count swap have no such file.
            let _ = self.write("memory.swap.max", 0);
        }
        if let Some(processes) = limits.processes {
            // More than the watch allows: it tells who was stopped and why.
            self.write("pids.max", watch::backstop(processes).into())?;
        }
        Ok(())
    }

    /// Puts a process in; its children are born there.
    pub(super) fn admit(&self, process: Pid) -> io::Result<()> {
        self.write("cgroup.procs", process.as_raw_nonzero().get() as u64)
    }

    /// Returns the limit for which the kernel killed.
    pub(crate) fn excess(&self) -> Option<Excess> {
        let events = fs::read_to_string(self.0.join("memory.events")).unwrap_or_default();
        (count(&events, "oom_kill") > 0).then_some(Excess::Memory)
    }

    fn write(&self, file: &str, value: u64) -> io::Result<()> {
        fs::write(self.0.join(file), value.to_string())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// Whether kiln has a group to divide; for probes.
pub(crate) fn is_delegated() -> bool {
    Group::new(&Limits { memory: Some(1 << 30), processes: Some(100), ..Limits::default() }).is_some()
}

/// Returns the group that is divided, found once and cleared of what killed kilns left.
fn base() -> Option<&'static Path> {
    static BASE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = BASE.get_or_init(|| {
        let text = |file| fs::read_to_string(file).unwrap_or_default();
        let (top, own) = place(&text("/proc/self/mountinfo"), &text("/proc/self/cgroup"))?;
        let beside = own.parent().filter(|parent| parent.starts_with(&top) && divides(parent) && is_ours(parent, &top));
        let base = beside.map(Path::to_owned).or_else(|| is_ours(&own, &top).then(|| move_down(own))?)?;
        for entry in fs::read_dir(&base).ok()?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                // One that is in use stays.
                let _ = fs::remove_dir(entry.path());
            }
        }
        Some(base)
    });
    found.as_deref()
}

/// Returns where the unified hierarchy is mounted, and our own group in it, from the texts of `mountinfo` and `cgroup`.
fn place(mountinfo: &str, cgroup: &str) -> Option<(PathBuf, PathBuf)> {
    let unified = |line: &&str| line.split(" - ").nth(1).is_some_and(|rest| rest.starts_with("cgroup2 "));
    let top = PathBuf::from(mountinfo.lines().find(unified)?.split(' ').nth(4)?);
    let own = cgroup.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some((top.clone(), if own.is_empty() { top } else { top.join(own) }))
}

/// Whether the children of a group have both controllers.
fn divides(group: &Path) -> bool {
    let text = fs::read_to_string(group.join("cgroup.subtree_control")).unwrap_or_default();
    ["memory", "pids"].iter().all(|needed| text.split_whitespace().any(|given| given == *needed))
}

/// Whether a group was given to us: an ordinary user owns it, and for root, who may write to any, systemd has left its mark on it or
/// above.
fn is_ours(group: &Path, top: &Path) -> bool {
    let is_root =
        || entered().is_ok_and(|entered| entered.uids.iter().any(|range| (range.inside, range.outside) == (0, 0)));
    let writable = rustix::fs::access(group.join("cgroup.procs"), rustix::fs::Access::WRITE_OK).is_ok();
    let marked = |group: &&Path| {
        let mut value = [0; 1];
        rustix::fs::getxattr(*group, "user.delegate", &mut value).is_ok() && value == *b"1"
    };
    writable && (!is_root() || group.ancestors().take_while(|above| above.starts_with(top)).any(|above| marked(&above)))
}

/// Moves kiln into a group below its own, when it is alone there, and divides that.
fn move_down(own: PathBuf) -> Option<PathBuf> {
    let kiln = [Some(getpid()), rustix::process::getppid(), grandparent()];
    let kiln: Vec<String> = kiln.iter().flatten().map(|pid| pid.as_raw_nonzero().to_string()).collect();
    let there = fs::read_to_string(own.join("cgroup.procs")).ok()?;
    if !there.lines().all(|pid| kiln.iter().any(|known| known == pid)) {
        return None;
    }
    let below = own.join(format!("{PREFIX}{}", kiln[0]));
    fs::create_dir(&below).ok()?;
    there.lines().try_for_each(|pid| fs::write(below.join("cgroup.procs"), pid)).ok()?;
    fs::write(own.join("cgroup.subtree_control"), "+memory +pids").ok()?;
    Some(own)
}

/// Returns the parent of our parent: the supervisor of the worker whose janitor we are.
fn grandparent() -> Option<Pid> {
    let text = fs::read_to_string(format!("/proc/{}/status", rustix::process::getppid()?.as_raw_nonzero())).ok()?;
    Pid::from_raw(text.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()?)
}

/// Reads one number of a group's file of events.
fn count(events: &str, name: &str) -> u64 {
    let line = events.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_group_is_found_where_the_unified_hierarchy_is() {
        let only = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let both = "30 24 0:26 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n31 24 0:27 / /sys/fs/cgroup/unified rw - cgroup2 x rw\n";
        let own = "4:memory:/x\n0::/user.slice/a b.scope\n";
        let found = |top: &str, own: &str| Some((PathBuf::from(top), PathBuf::from(own)));
        let cases = [
            (only, own, found("/sys/fs/cgroup", "/sys/fs/cgroup/user.slice/a b.scope")),
            (both, own, found("/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified/user.slice/a b.scope")),
            (only, "0::/\n", found("/sys/fs/cgroup", "/sys/fs/cgroup")),
            (only, "4:memory:/\n", None),
            ("30 24 0:26 / /sys rw - sysfs x rw\n", own, None),
        ];
        for (mountinfo, cgroup, wanted) in cases {
            assert_eq!(place(mountinfo, cgroup), wanted, "{mountinfo}{cgroup}");
        }
    }

    #[test]
    fn events_are_counted_by_their_whole_name() {
        let events = "low 0\noom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!([count(events, "oom_kill"), count(events, "oom"), count(events, "max")], [2, 3, 0]);
    }
}
