//! What the caller decides about a run of the engine: folders, limits, mirrors, and what time it is.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where and how the engine works; nothing here may change an image's bytes.
#[derive(Clone, Debug)]
pub struct Config {
    /// Cache folder: blobs, trees, indexes. Scratch trees are made in it too, so that a finished tree is a rename.
    pub cache: PathBuf,
    /// Bytes the cache may hold after a build; what a running build uses is never removed.
    pub cache_limit: u64,
    /// Threads for unpacking, reading and compressing.
    pub jobs: usize,
    /// Never ask the network; what is missing is an error.
    pub offline: bool,
    /// Mirrors by distribution, from `KILN_MIRROR_<DISTRIBUTION>`.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// Seconds since 1970.
    pub now: i64,
    /// For `kiln twice`: how far the clock inside the sandbox is moved, in seconds.
    pub clock_offset: i64,
    /// Whether native builds of interpreters and small tools stand in for those of a tree of another architecture. The bytes are
    /// the same without, and take ten times as long.
    pub lend: bool,
    /// The sandbox's host name while commands run; it must not reach the image.
    pub sandbox_hostname: String,
    /// The socket of whoever knows stages that other machines made; none: nobody does.
    pub stages: Option<PathBuf>,
}

/// Default bound of the cache: 20 GiB.
pub const CACHE_LIMIT: u64 = 20 << 30;
