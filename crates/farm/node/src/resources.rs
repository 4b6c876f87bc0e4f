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
    Resources {
        version: env!("CARGO_PKG_VERSION").into(),
        architectures: architectures(Arch::host()),
        capabilities: capabilities(&config.capabilities),
        slots: config.slots,
        processors: std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1)),
        load: fs::read_to_string("/proc/loadavg").ok().and_then(|text| load(&text)).unwrap_or(0.0),
        memory: of_meminfo(&memory, "MemTotal").unwrap_or(0),
        memory_free: of_meminfo(&memory, "MemAvailable").unwrap_or(0),
        disk_free: disk_free(&config.data).unwrap_or(0).min(disk_free(&config.cache).unwrap_or(u64::MAX)),
        refusing: None,
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
    fn the_own_architecture_comes_first() {
        let all = architectures(Arch::Arm64);
        assert_eq!((all[0], all.len()), (Arch::Arm64, Arch::ALL.len()));
    }
}
