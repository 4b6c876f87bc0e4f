use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use kiln_model::{Digest, StageId};

use crate::{Layer, Meta, Result};

/// A folder of what kiln keeps; cheap calls, safe to share between threads.
pub struct Store {}

/// Bytes on their way into the store, hashed as they come; dropped without [`finish`](Self::finish), they leave nothing.
pub struct BlobWriter<'a> {
    _store: &'a Store,
}
impl std::io::Write for BlobWriter<'_> {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        todo!()
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
impl BlobWriter<'_> {
    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        todo!()
    }
    /// Starts over, as if nothing had been written.
    pub fn restart(&mut self) -> Result<()> {
        todo!()
    }
    /// Puts the bytes in place if they are the expected ones.
    pub fn finish(self, _expected: Option<Digest>) -> Result<(Digest, PathBuf)> {
        todo!()
    }
}

/// The right to make one entry; others who want the same wait.
pub struct Claim {}

/// A kept file with its index. It stays the store's: read it, reflink it, copy it, never change it.
pub struct Artifact {
    pub path: PathBuf,
    pub index: Vec<u8>,
}

/// Kinds of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doc {
    /// What was last seen of a repository (never collected: it refuses rollbacks).
    Seen,
    /// Indexes in parsed form.
    Index,
    /// Answers of servers, for conditional requests.
    Answer,
    /// What is known of an image already written.
    Image,
    /// What a probe of this machine found.
    Probe,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    Blob,
    Layer,
    Artifact,
    Document,
}

/// One entry, as `kiln cache ls` shows it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct EntryInfo {
    pub kind: EntryKind,
    pub id: String,
    /// Bytes on disk.
    pub size: u64,
    pub last_used: SystemTime,
    pub note: String,
}

/// What a collection removed, or would remove.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    pub removed: Vec<EntryInfo>,
    /// Bytes.
    pub freed: u64,
    pub kept: u64,
}

/// Something wrong with an entry.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Finding {
    pub kind: EntryKind,
    pub id: String,
    pub what: String,
    pub remedy: Remedy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Remedy {
    /// Removed; the next build makes or fetches it again.
    Removed,
}

/// How far a verification has come.
#[derive(Clone, Copy, Debug)]
pub struct VerifyProgress {
    pub entries: u64,
    pub of: u64,
    pub bytes: u64,
}

impl Store {
    /// Opens the store in `root`, making it when it is not there; `limit` (bytes) is what [`gc`](Self::gc) keeps below.
    pub fn open(_root: &Path, _limit: Option<u64>) -> Result<Self> {
        todo!()
    }
    pub fn root(&self) -> &Path {
        todo!()
    }
    /// Makes a fresh folder in the store's filesystem, gone with this `Store` or, after a crash, when a store is next opened.
    pub fn scratch(&self, _name: &str) -> Result<PathBuf> {
        todo!()
    }
    /// Returns what went wrong quietly since the last call: entries that were corrupted and dropped.
    pub fn take_warnings(&self) -> Vec<String> {
        todo!()
    }

    /// Returns the path of a blob that is there and unchanged.
    pub fn blob(&self, _digest: &Digest) -> Result<Option<PathBuf>> {
        todo!()
    }
    pub fn writer(&self) -> Result<BlobWriter<'_>> {
        todo!()
    }
    pub fn put(&self, _bytes: &[u8]) -> Result<(Digest, PathBuf)> {
        todo!()
    }
    /// Waits until nobody else (thread or process) makes `digest`, or `give_up` says so: then none.
    pub fn claim(&self, _digest: &Digest, _give_up: &dyn Fn() -> bool) -> Result<Option<Claim>> {
        todo!()
    }

    /// Returns the layer of a stage that is there and unchanged.
    pub fn tree(&self, _id: &StageId) -> Result<Option<Layer>> {
        todo!()
    }
    /// Moves `upper` into the store as the layer of `id`; when another kiln was faster, theirs is returned and ours removed.
    pub fn publish(&self, _id: &StageId, _upper: &Path, _meta: Meta) -> Result<Layer> {
        todo!()
    }

    pub fn document(&self, _kind: Doc, _key: &str) -> Result<Option<Vec<u8>>> {
        todo!()
    }
    pub fn put_document(&self, _kind: Doc, _key: &str, _bytes: &[u8]) -> Result<()> {
        todo!()
    }

    /// Returns the file kept under `key` if it is unchanged.
    pub fn artifact(&self, _key: &str) -> Result<Option<Artifact>> {
        todo!()
    }
    /// Takes the file kept under `key` out of the store into a scratch folder, to be changed at will.
    pub fn take_artifact(&self, _key: &str) -> Result<Option<Artifact>> {
        todo!()
    }
    /// Moves `file` (same filesystem) into the store under `key`, in place of what was there.
    pub fn put_artifact(&self, _key: &str, _file: &Path, _index: &[u8], _note: &str) -> Result<PathBuf> {
        todo!()
    }

    /// Removes what was used longest ago until at most `limit` bytes (or the store's own bound) remain.
    pub fn gc(&self, _limit: Option<u64>, _dry_run: bool) -> Result<Collected> {
        todo!()
    }
    pub fn list(&self) -> Result<Vec<EntryInfo>> {
        todo!()
    }
    /// Reads every byte that is kept; what is not as it was stored is removed and told.
    pub fn verify(&self, _progress: &(dyn Fn(VerifyProgress) + Sync)) -> Result<Vec<Finding>> {
        todo!()
    }
    /// Makes the entries of former builds durable and knows their content by digest: for idle moments.
    pub fn settle(&self, _idle: Duration) -> Result<()> {
        todo!()
    }
}
