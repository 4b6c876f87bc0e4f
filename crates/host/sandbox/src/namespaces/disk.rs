//! The limit on disk, kept by looking from outside.
//!
//! How full a filesystem is costs one call to ask, but others fill it too. So only when it got fuller by the whole limit are the
//! command's own folders read.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::Command;

/// A disk takes a gibibyte or two in this time.
const PAUSE: Duration = Duration::from_millis(500);

/// The eye on what a command writes to disk.
pub(super) struct Disk {
    /// Bytes.
    limit: u64,
    places: Vec<Place>,
    began: SystemTime,
    next: Instant,
}

/// A folder or file the command may write to.
struct Place {
    path: PathBuf,
    /// Free bytes of its filesystem at the start, less what others are known to have taken since.
    free: u64,
}

impl Disk {
    /// Returns an eye when there is a limit; the command is about to start.
    pub(super) fn new(command: &Command) -> Option<Self> {
        let limit = command.limits.disk?;
        let root = command.written.as_ref().unwrap_or(&command.root);
        let root = (!command.read_only_root).then_some(root);
        let binds = command.binds.iter().filter(|bind| !bind.read_only).map(|bind| &bind.host);
        let place = |path: &PathBuf| Some(Place { path: path.clone(), free: free(path)? });
        let places = root.into_iter().chain(binds).filter_map(place).collect();
        Some(Self { limit, places, began: SystemTime::now(), next: Instant::now() + PAUSE })
    }

    /// Returns when to look next.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Looks if it is time to; returns whether the limit is exceeded.
    pub(super) fn is_exceeded(&mut self) -> bool {
        if Instant::now() < self.next {
            return false;
        }
        self.next = Instant::now() + PAUSE;
        let limit = self.limit;
        let filled = |place: &Place| place.free.saturating_sub(free(&place.path).unwrap_or(u64::MAX)) >= limit;
        if !self.places.iter().any(filled) {
            return false;
        }
        let began = self.began.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        let written: u64 = self.places.iter().map(|place| written(&place.path, began)).sum();
        for place in &mut self.places {
            // It cannot be exceeded before the filesystem is fuller by the rest.
            place.free = free(&place.path).unwrap_or(0).saturating_add(written);
        }
        written >= limit
    }
}

/// Returns the bytes that are free in the filesystem of `path`.
fn free(path: &Path) -> Option<u64> {
    rustix::fs::statvfs(path).ok().map(|state| state.f_bfree * state.f_frsize)
}

/// Returns the bytes on disk of all that changed in a tree since `began` (seconds since 1970), each inode once. What goes away
/// meanwhile does not count; other filesystems are not entered.
fn written(tree: &Path, began: i64) -> u64 {
    let Ok(top) = fs::symlink_metadata(tree) else { return 0 };
    let (mut bytes, mut seen, mut waiting) = (0, HashSet::new(), vec![(tree.to_owned(), top.clone())]);
    while let Some((path, data)) = waiting.pop() {
        if data.dev() != top.dev() || !seen.insert(data.ino()) {
            continue;
        }
        if data.ctime() >= began {
            bytes += data.blocks() * 512;
        }
        let list = if data.is_dir() { fs::read_dir(path).ok() } else { None };
        let inside = list.into_iter().flatten().flatten();
        waiting.extend(inside.filter_map(|entry| Some((entry.path(), entry.metadata().ok()?))));
    }
    bytes
}
