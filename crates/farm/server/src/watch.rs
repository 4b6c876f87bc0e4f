//! Files that are read again when they are replaced, and at SIGHUP.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Error, Result};

/// How often the files are looked at.
const TICK: Duration = Duration::from_secs(2);

/// Files, as they were when they were looked at last. Begun before they are read, it misses no change.
#[derive(Clone, Debug)]
pub struct Watch {
    files: Vec<PathBuf>,
    seen: Vec<Stamp>,
}

impl Watch {
    /// Looks at files that are about to be read.
    pub fn begin(files: impl Into<Vec<PathBuf>>) -> Self {
        let files = files.into();
        Self { seen: look(&files), files }
    }

    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Whether one of them is another than at the last look.
    fn has_changed(&mut self) -> bool {
        let found = look(&self.files);
        std::mem::replace(&mut self.seen, found) != self.seen
    }

    /// Calls `again` each time one of the files changes, and at SIGHUP.
    pub async fn each(mut self, mut again: impl FnMut()) -> Result<()> {
        let mut hangup = signal(SignalKind::hangup()).map_err(|error| Error::failed("listen to SIGHUP", error))?;
        loop {
            let asked = tokio::select! {
                () = tokio::time::sleep(TICK) => false,
                _ = hangup.recv() => true,
            };
            if self.has_changed() || asked {
                again();
            }
        }
    }
}

/// What tells a file from the one that lies there later.
type Stamp = Option<(SystemTime, u64, u64)>;

fn look(files: &[PathBuf]) -> Vec<Stamp> {
    files.iter().map(|file| stamp(file)).collect()
}

fn stamp(file: &Path) -> Stamp {
    use std::os::unix::fs::MetadataExt as _;
    let meta = std::fs::metadata(file).ok()?;
    Some((meta.modified().ok()?, meta.ino(), meta.len()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_change_is_seen_and_nothing_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let files = ["a", "b", "next"].map(|name| folder.path().join(name));
        fs::write(&files[0], "1").unwrap();
        fs::write(&files[2], "2").unwrap();
        let mut watch = Watch::begin(&files[..2]);
        let mut change = |change: &dyn Fn()| {
            change();
            watch.has_changed()
        };
        assert!(!change(&|| {}));
        assert!(change(&|| fs::write(&files[0], "22").unwrap()));
        assert!(change(&|| fs::write(&files[1], "new").unwrap()));
        assert!(change(&|| fs::rename(&files[2], &files[1]).unwrap()));
        assert!(change(&|| fs::remove_file(&files[1]).unwrap()));
        assert!(!change(&|| {}));
    }
}
