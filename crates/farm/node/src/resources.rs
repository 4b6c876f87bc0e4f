//! What this machine has and can do, as it stands now.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use kiln_farm_api::Resources;
use kiln_model::Arch;

use crate::config::Config;

/// Looks at the machine.
pub fn look(config: &Config) -> Resources {
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = Group::of(Path::new("/sys/fs/cgroup"), &own);
    Resources {
        version: env!("CARGO_PKG_VERSION").into(),
        architectures: architectures(Arch::host()),
        capabilities: capabilities(&config.capabilities),
        slots: config.slots,
        processors: std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1)),
        load: fs::read_to_string("/proc/loadavg").ok().and_then(|text| load(&text)).unwrap_or(0.0),
        memory: of_meminfo(&memory, "MemTotal").unwrap_or(0).min(group.all),
        memory_free: of_meminfo(&memory, "MemAvailable").unwrap_or(0).min(group.free),
        disk_free: disk_free(&config.data).unwrap_or(0).min(disk_free(&config.cache).unwrap_or(u64::MAX)),
        refusing: None,
    }
}

/// What memory the control groups leave that a process is in, bytes.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    all: u64,
    free: u64,
}

impl Group {
    /// Reads the groups of version 2 mounted at `root`, from the process's own (`/proc/PID/cgroup`) up: each has its own bound.
    fn of(root: &Path, own: &str) -> Self {
        let mut found = Self { all: u64::MAX, free: u64::MAX };
        let Some(own) = own.lines().find_map(|line| line.strip_prefix("0::/")) else { return found };
        for folder in root.join(own).ancestors().take_while(|folder| folder.starts_with(root)) {
            let number = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
            let (Some(most), Some(used)) = (number("memory.max"), number("memory.current")) else { continue };
            let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
            let files = stat.lines().find_map(|line| line.strip_prefix("inactive_file ")?.parse::<u64>().ok());
            // Pages of files that nobody looked at lately are given back when they are needed.
            let used = used.saturating_sub(files.unwrap_or(0));
            found = Self { all: found.all.min(most), free: found.free.min(most.saturating_sub(used)) };
        }
        found
    }
}

/// Returns the architectures that kiln builds for here, the machine's own first; for the others it brings emulators.
fn architectures(host: Arch) -> Vec<Arch> {
    let others = Arch::ALL.into_iter().filter(|arch| *arch != host);
    std::iter::once(host).chain(others).collect()
}

/// Whether guests really run under KVM is tried when one is booted; they run without it too, slowly.
fn capabilities(said: &BTreeSet<String>) -> BTreeSet<String> {
    let kvm = File::options().read(true).write(true).open("/dev/kvm").is_ok();
    kvm.then(|| "kvm".to_owned()).into_iter().chain(said.iter().cloned()).collect()
}

/// Returns the load of the last minute.
fn load(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok()
}

/// Returns a value of `/proc/meminfo` in bytes.
fn of_meminfo(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// Returns the bytes that an ordinary user may still write where a folder lies.
fn disk_free(folder: &Path) -> io::Result<u64> {
    let about = rustix::fs::statvfs(folder)?;
    Ok(about.f_bavail.saturating_mul(about.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_read() {
        let memory = "MemTotal:       16318356 kB\nMemFree:   1 kB\nMemAvailable:    9000000 kB\n";
        assert_eq!(of_meminfo(memory, "MemTotal"), Some(16_318_356 * 1024));
        assert_eq!(of_meminfo(memory, "MemAvailable"), Some(9_000_000 * 1024));
        assert_eq!(of_meminfo("MemAvailable: a lot", "MemAvailable"), None);
        assert_eq!(load("0.52 0.58 0.59 1/467 12345\n"), Some(0.52));
    }

    #[test]
    fn the_narrowest_control_group_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let own = "12:cpu:/elsewhere\n0::/system.slice/node.service\n";
        let unbound = Group { all: u64::MAX, free: u64::MAX };
        assert_eq!(Group::of(root.path(), own), unbound);
        write("system.slice/node.service/memory.max", "max\n");
        write("system.slice/node.service/memory.current", "700\n");
        assert_eq!(Group::of(root.path(), own), unbound);
        write("system.slice/memory.max", "1000\n");
        write("system.slice/memory.current", "900\n");
        write("system.slice/memory.stat", "anon 1\ninactive_file 300\n");
        assert_eq!(Group::of(root.path(), own), Group { all: 1000, free: 400 });
        write("system.slice/node.service/memory.max", "800\n");
        assert_eq!(Group::of(root.path(), own), Group { all: 800, free: 100 });
        assert_eq!(Group::of(root.path(), "3:memory:/x\n"), unbound);
    }

    #[test]
    fn the_own_architecture_comes_first() {
        let all = architectures(Arch::Arm64);
        assert_eq!((all[0], all.len()), (Arch::Arm64, Arch::ALL.len()));
    }
}
