//! Which boot of the machine wrote an entry, and whether it reached the disk before that boot ended.
//!
//! The store never waits for the disk. After a crash of the machine a file may have its name and size but not its
//! bytes, so an entry of an earlier boot counts as doubtful unless a later `syncfs` of that boot covered it.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::files::write_atomically;
use crate::{Error, Result};

/// How many boots are remembered as durable.
const REMEMBERED: usize = 64;

/// One boot of the machine: the first half of the kernel's boot id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Boot(pub u64);

impl Boot {
    /// Returns the boot we run in; all boots are one where the kernel does not tell.
    pub fn current() -> Self {
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let digits: String = text.chars().filter(char::is_ascii_hexdigit).take(16).collect();
        Self(u64::from_str_radix(&digits, 16).unwrap_or(0))
    }
}

/// When an entry was stored, in a way that outlives crashes and clocks that are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stored {
    pub boot: Boot,
    /// Seconds since that boot.
    pub at: u64,
}

impl Stored {
    pub fn now(boot: Boot) -> Self {
        Self { boot, at: uptime() }
    }
}

/// Until when the entries of each boot are known to be on the disk, the boot last synced last.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Durable(Vec<(u64, u64)>);

impl Durable {
    pub fn load(root: &Path) -> Self {
        fs::read(root.join("durable")).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    /// Whether an entry stored then may have lost bytes since.
    pub fn doubts(&self, stored: Stored, current: Boot) -> bool {
        let synced = |(boot, until): &(u64, u64)| *boot == stored.boot.0 && stored.at < *until;
        stored.boot != current && !self.0.iter().any(synced)
    }

    /// Notes that all that was stored in `boot` before `until` is on the disk.
    pub fn extend(root: &Path, scratch: &Path, boot: Boot, until: u64) -> Result<()> {
        let mut durable = Self::load(root);
        durable.0.retain(|(known, _)| *known != boot.0);
        durable.0.push((boot.0, until));
        let forgotten = durable.0.len().saturating_sub(REMEMBERED);
        durable.0.drain(..forgotten);
        let text = serde_json::to_vec(&durable).expect("numbers serialise");
        write_atomically(&root.join("durable"), scratch, &text)
    }
}

/// Returns the seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Returns the seconds since the machine booted, those asleep included.
pub(crate) fn uptime() -> u64 {
    rustix::time::clock_gettime(rustix::time::ClockId::Boottime).tv_sec as u64
}

/// Waits until everything in the filesystem of `root` is on the disk.
pub(crate) fn sync(root: &Path) -> Result<()> {
    let folder = fs::File::open(root).map_err(Error::io("open", root))?;
    rustix::fs::syncfs(&folder).map_err(Error::io("sync", root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_timed_by_the_clock_that_nobody_sets() {
        let uptime = || fs::read_to_string("/proc/uptime").unwrap().split('.').next().unwrap().parse::<u64>().unwrap();
        let before = uptime();
        let stored = Stored::now(Boot::current()).at;
        assert!((before..=uptime()).contains(&stored), "{before} {stored}");
    }

    #[test]
    fn an_earlier_boot_is_doubted_unless_synced_after() {
        let (then, now) = (Boot(1), Boot(2));
        let durable = Durable(vec![(1, 100)]);
        assert!(!durable.doubts(Stored { boot: now, at: 500 }, now), "the running boot lost nothing");
        assert!(!durable.doubts(Stored { boot: then, at: 99 }, now), "synced afterwards");
        assert!(durable.doubts(Stored { boot: then, at: 100 }, now), "stored in the second of the sync");
        assert!(durable.doubts(Stored { boot: Boot(3), at: 1 }, now), "never synced");
    }
}
