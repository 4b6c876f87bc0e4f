//! The host's own package sources: where a host that runs the wanted distribution gets its packages from.

/// One entry of the host's package sources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// `deb`, `deb-src`.
    pub types: Vec<String>,
    pub uris: Vec<String>,
    pub suites: Vec<String>,
    pub components: Vec<String>,
    pub architectures: Vec<String>,
    /// Path of a keyring, or fingerprints, as written.
    pub signed_by: Option<String>,
}

/// What the host says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostSources {
    /// `ID` of os-release, as in `debian`; empty when it says nothing.
    pub distribution: String,
    /// `VERSION_CODENAME` of os-release.
    pub codename: String,
    pub sources: Vec<Source>,
}

impl HostSources {
    /// Returns the archive that serves `suite`'s base distribution: the first `deb` URI whose suites hold this host's codename or `main`'s.
    pub fn mirror(&self, _distribution: &str) -> Option<&str> {
        todo!()
    }
}

/// Reads the sources of the machine kiln runs on; what cannot be read is not there.
pub fn host_sources() -> HostSources {
    todo!()
}
