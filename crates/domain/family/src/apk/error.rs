//! Why an archive is refused.

use std::io;

use kiln_model::fault::{Fault, FaultKind};

use super::checksum::NotAChecksum;
use crate::deb::package::BadPackage;

/// Why an `.apk` or an `APKINDEX.tar.gz` is refused.
#[derive(Debug, thiserror::Error)]
pub enum BadArchive {
    #[error("not a gzip archive")]
    NotGzip,
    #[error("unexpected end of archive in its {section}")]
    Truncated { section: &'static str },
    #[error("decompress the {section}")]
    Damaged { section: &'static str, source: io::Error },
    #[error("the {section} unpack to more than {limit} bytes")]
    TooLarge { section: &'static str, limit: u64 },
    #[error("`{0}` does not belong among the control files")]
    ControlFile(String),
    #[error("`{0}` appears twice")]
    Twice(String),
    #[error("the signature `{0}` comes after the signatures")]
    LateSignature(String),
    #[error("`{0}` is no signature's name")]
    SignatureName(String),
    #[error("`{0}` is missing")]
    Missing(&'static str),
    #[error("`{0}` is not UTF-8")]
    NotUtf8(&'static str),
    #[error("line {line} of `.PKGINFO`: {what}")]
    PkgInfo { line: usize, what: String },
    #[error("`.PKGINFO` has no `{0}`")]
    Field(&'static str),
    #[error("the checksum of `{0}` is not readable")]
    Checksum(String, #[source] NotAChecksum),
    #[error("the data is not that of the package: its SHA-256 is {found}, not {wanted}")]
    DataHash { wanted: String, found: String },
    #[error("the content of `{0}` does not fit its checksum")]
    FileHash(String),
    #[error("`{path}` is a hard link to `{target}`, which does not come before it in the archive")]
    LinkOutside { path: String, target: String },
    #[error("unpacks to more than {allowed} bytes, though it says it installs {claimed}")]
    Bomb { allowed: u64, claimed: u64 },
    #[error("holds more than {allowed} names")]
    TooMany { allowed: u64 },
    #[error(transparent)]
    Tar(#[from] BadPackage),
}

impl From<BadArchive> for Fault {
    /// What ends too early came over a bad line; the rest is its maker's fault.
    fn from(error: BadArchive) -> Self {
        match error {
            BadArchive::Truncated { .. } => Self::new(FaultKind::Upstream, "damaged package archive").because(error),
            BadArchive::Tar(error) => error.into(),
            error => Self::package("refused package archive").because(error),
        }
    }
}
