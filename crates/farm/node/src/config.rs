//! What the caller decides about a node.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use kiln_farm_api::Trust;
use url::Url;

/// Where a node works, for whom, and how much at once.
#[derive(Clone, Debug)]
pub struct Config {
    pub server: Url,
    pub credential: Credential,
    /// Whose certificates it takes beside those the system trusts.
    pub trust: Trust,
    /// Folder of work under way and of results the server has not taken yet.
    pub data: PathBuf,
    /// Builds at once.
    pub slots: u32,
    /// What it can do beyond what it finds out itself, by words that tasks may ask for.
    pub capabilities: BTreeSet<String>,
    /// The kiln that builds, normally this program.
    pub kiln: PathBuf,
    /// The cache of the kilns that build.
    pub cache: PathBuf,
    /// Bytes that stay free where it works; below it takes nothing.
    pub min_disk: u64,
    /// Bytes of disk that a build is thought to need beyond those.
    pub build_disk: u64,
    /// Bytes of memory that a build is thought to need.
    pub build_memory: u64,
    /// Bytes that a bundle may unpack to.
    pub max_bundle: u64,
    /// How long the server may think over a poll.
    pub wait: Duration,
    /// How long a build that is to stop may take for it.
    pub grace: Duration,
}

impl Config {
    /// Returns what suits most nodes.
    pub fn new(server: Url, credential: impl Into<String>, data: PathBuf, kiln: PathBuf, cache: PathBuf) -> Self {
        Self {
            server,
            credential: Credential(credential.into()),
            trust: Trust::default(),
            data,
            slots: 4,
            capabilities: BTreeSet::new(),
            kiln,
            cache,
            min_disk: 5 << 30,
            build_disk: 2 << 30,
            build_memory: 1 << 30,
            max_bundle: 8 << 30,
            wait: Duration::from_secs(10),
            grace: Duration::from_secs(10),
        }
    }
}

/// What opens the server's door to this node; it cannot print itself.
#[derive(Clone)]
pub struct Credential(pub(crate) String);

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
