//! Claims: of those who want to make the same entry, one does and the others wait.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use kiln_model::Digest;

use crate::files::make_folder;
use crate::{Error, Result, Store};

/// Pause between two looks at a claim somebody else has.
const PAUSE: Duration = Duration::from_millis(20);

/// The right to make one entry, until dropped; threads and processes alike wait for it.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    _locked: File,
}

impl Store {
    /// Waits until nobody else makes `digest`; returns none when `give_up` says so before that.
    pub fn claim(&self, digest: &Digest, give_up: &dyn Fn() -> bool) -> Result<Option<Claim>> {
        let folder = self.root().join("claims");
        make_folder(&folder)?;
        let path = folder.join(digest.to_string());
        while !give_up() {
            if let Some(claim) = Claim::attempt(&path)? {
                return Ok(Some(claim));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(None)
    }
}

impl Claim {
    fn attempt(path: &PathBuf) -> Result<Option<Self>> {
        let file =
            OpenOptions::new().read(true).append(true).create(true).open(path).map_err(Error::io("open", path))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(None),
            other => other.map_err(|error| Error::io("lock", path)(std::io::Error::from(error)))?,
        }
        // Whoever had it before removed the file: then our lock is on a file that nobody finds any more.
        let ours = file.metadata().map_err(Error::io("look at", path))?;
        let named = fs::metadata(path).is_ok_and(|named| named.ino() == ours.ino());
        Ok(named.then(|| Self { path: path.clone(), _locked: file }))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
