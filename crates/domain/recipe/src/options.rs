//! What a recipe is completed with besides its own text: profiles, settings of the command line, the host's facts.

use std::collections::BTreeMap;
use std::io;

use kiln_model::{Arch, Digest};

use crate::spec::Family;

/// Everything around the recipe that decides what becomes of it. Whoever calls looks it up; nothing here does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Profiles to apply, in order (`--profile`).
    pub profiles: Vec<String>,
    /// Settings that win over the recipe, in order: dotted key and value (`--set system.hostname=edge`). A value that
    /// is not TOML is taken as text.
    pub overrides: Vec<(String, String)>,
    /// The architecture of the machine that builds: the default of `base.architecture`, and that of the tools.
    pub host_arch: Arch,
    /// Mirrors by distribution, as [`mirrors_from`] reads them from the environment.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// The archives that the host's own package manager uses, in order.
    pub host_sources: Vec<HostSource>,
    /// SOURCE_DATE_EPOCH, seconds since 1970.
    pub epoch: Option<i64>,
}

impl Options {
    /// Returns options that add nothing to the recipe.
    pub fn new(host_arch: Arch) -> Self {
        Self {
            profiles: Vec::new(),
            overrides: Vec::new(),
            host_arch,
            mirrors: BTreeMap::new(),
            host_sources: Vec::new(),
            epoch: None,
        }
    }
}

/// One archive of the host's own package sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSource {
    /// `ID` of the host's os-release: `debian`.
    pub distribution: String,
    pub uri: String,
    /// `bookworm`, `bookworm-security`; the ending tells security archives from others.
    pub suite: String,
}

/// Returns the mirrors that `KILN_MIRROR_<DISTRIBUTION>` variables name, by distribution: several are separated by
/// spaces, `KILN_MIRROR_DEBIAN_SECURITY` becomes `debian-security`.
pub fn mirrors_from(vars: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, Vec<String>> {
    let mirror = |(name, value): (String, String)| {
        let distribution = name.strip_prefix("KILN_MIRROR_")?.to_lowercase().replace('_', "-");
        let uris: Vec<String> = value.split_whitespace().map(|uri| uri.trim_end_matches('/').to_owned()).collect();
        (!distribution.is_empty() && !uris.is_empty()).then_some((distribution, uris))
    };
    vars.into_iter().filter_map(mirror).collect()
}

/// The files around a recipe. Paths are as the recipe's own path was given: relative to the working directory, or absolute.
pub trait Sources {
    /// Returns the text of a file.
    fn read(&self, path: &str) -> io::Result<String>;

    /// Returns the bytes of a file that need not be text: a binary key.
    fn read_bytes(&self, path: &str) -> io::Result<Vec<u8>> {
        self.read(path).map(String::into_bytes)
    }

    /// Returns the digest of a file's content, or for a folder of its listing (names, kinds, modes, contents). A link is
    /// followed.
    fn digest(&self, path: &str) -> io::Result<Local>;

    /// Returns the digest of a folder that holds a system of a family, with all that its files have: owners, modes, times, links, extended
    /// attributes; an error where it holds none.
    fn tree(&self, path: &str, _family: Family) -> io::Result<Digest> {
        self.digest(path).map(|local| local.digest)
    }
}

/// What a path beside the recipe is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    pub digest: Digest,
    pub folder: bool,
    /// Whether its owner may execute it.
    pub executable: bool,
}
