//! The fetcher.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use kiln_model::Digest;
use kiln_store::Store;

use crate::Result;

/// How a fetcher behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Downloads at once, over all hosts.
    pub connections: usize,
    /// Downloads at once from one host.
    pub per_host: usize,
    /// Time to get a connection.
    pub connect: Duration,
    /// Time without a single byte after which a download counts as stalled.
    pub stall: Duration,
    /// Attempts after the first that each URL gets when its failure may pass.
    pub retries: u32,
    /// Pause before the first of these attempts; doubles each time.
    pub pause: Duration,
    pub user_agent: String,
    /// Raised by whoever wants every download to stop.
    pub cancel: Arc<AtomicBool>,
}

/// A blob wanted in the store.
#[derive(Clone, Debug)]
pub struct Request {
    /// Mirrors in order: the next is asked when one fails.
    pub urls: Vec<String>,
    pub digest: Digest,
    /// Length in bytes, when known.
    pub size: Option<u64>,
    /// For people, in messages.
    pub name: String,
}

/// How far `fetch_all` has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes in place; what was cached counts as done.
    pub done: u64,
    pub total: u64,
    pub files: u64,
    pub of: u64,
    /// How many of `files` were in the store already.
    pub cached: u64,
    /// How many bytes of `done` came over the network in this run.
    pub fetched: u64,
}

/// A small document and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub bytes: Vec<u8>,
    /// The URL that gave it, without credentials.
    pub url: String,
    /// Whether the server said that the stored copy is still the newest.
    pub unchanged: bool,
}

/// Fetches over HTTP(S) and from `file:` URLs; keeps its connections.
pub struct Fetcher {}

impl Fetcher {
    pub fn new(_options: Options) -> Self {
        todo!()
    }

    /// Fetches a document whose digest is not known, of at most `max_bytes`. A copy of the last answer is kept in
    /// `store` and the server is only asked whether there is a newer one.
    pub fn fetch_small(&self, _store: Option<&Store>, _urls: &[String], _max_bytes: u64) -> Result<Answer> {
        todo!()
    }

    /// Brings one blob into the store, if it is not there, and returns its path.
    pub fn fetch_blob(&self, _store: &Store, _request: &Request, _progress: &(dyn Fn(u64) + Sync)) -> Result<PathBuf> {
        todo!()
    }

    /// Brings all blobs into the store, several at once; `on_done` hears of each (index, path) as soon as it is there,
    /// from any thread. The first failure stops the rest.
    pub fn fetch_all(
        &self,
        _store: &Store,
        _requests: &[Request],
        _on_done: &(dyn Fn(usize, PathBuf) + Sync),
        _progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<()> {
        todo!()
    }
}
