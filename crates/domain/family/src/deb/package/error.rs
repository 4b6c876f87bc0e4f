//! Why an archive is refused.

use std::io;

use kiln_model::fault::{Fault, FaultKind};
use kiln_model::path::BadPath;

use crate::deb::deb822;

/// Why a `.deb` is refused. Offsets count bytes of the (unpacked) stream they speak of.
#[derive(Debug, thiserror::Error)]
pub enum BadPackage {
    #[error("not an ar archive")]
    NotAnArchive,
    #[error("unexpected end of archive in `{member}`")]
    Truncated { member: String },
    #[error("damaged ar header after `{after}`")]
    ArHeader { after: String },
    #[error("member `{member}` appears twice")]
    MemberTwice { member: String },
    #[error("member `{found}` where `{expected}` belongs")]
    OutOfOrder { expected: &'static str, found: String },
    #[error("member `{0}` is missing")]
    MemberMissing(&'static str),
    #[error("format version `{0}` of the archive is not 2.x")]
    FormatVersion(String),
    #[error("member `{0}` is compressed in a way kiln does not know")]
    Compression(String),
    #[error("decompress `{member}`")]
    Damaged { member: String, source: io::Error },
    #[error("data after the end of `{member}`")]
    Trailing { member: String },
    #[error("tar header {at} bytes into `{member}` has a wrong checksum")]
    Checksum { member: String, at: u64 },
    #[error("tar header {at} bytes into `{member}` is damaged: {what}")]
    Header { member: String, at: u64, what: &'static str },
    #[error("the name in a tar header is not usable")]
    Path(#[from] BadPath),
    #[error("the name `{0}` holds a line break")]
    LineBreak(String),
    #[error("`{path}` appears twice")]
    PathTwice { path: String },
    #[error("`{path}` is a device node, which packages must not hold")]
    Device { path: String },
    #[error("`{path}` is a sparse file, which packages must not hold")]
    Sparse { path: String },
    #[error("`{path}` is of unknown type `{kind}`")]
    UnknownKind { path: String, kind: char },
    #[error("the root of the tree is not a directory")]
    Root,
    #[error("`{path}` is a hard link to itself")]
    SelfLink { path: String },
    #[error("`{path}` is a hard link to `{target}`, which does not come before it in the archive")]
    LinkOutside { path: String, target: String },
    #[error("the link `{path}` has no usable target")]
    LinkTarget { path: String },
    #[error("unpacks to more than {allowed} bytes, though it says it installs {claimed} KiB")]
    Bomb { allowed: u64, claimed: u64 },
    #[error("holds more than {allowed} names")]
    TooMany { allowed: u64 },
    #[error("`{member}` unpacks to more than {allowed} bytes")]
    ControlTooLarge { member: String, allowed: u64 },
    #[error("read the control data")]
    Control(#[from] deb822::Error),
    #[error("the control data has no field `{0}`")]
    FieldMissing(&'static str),
    #[error("the control field `{field}` is `{value}`")]
    Field { field: &'static str, value: String },
    #[error("the control file `{0}` is not a plain file with a plain name")]
    ControlFile(String),
    #[error("line `{line}` of the control file `{file}` makes no sense")]
    ControlLine { file: &'static str, line: String },
    #[error("read the archive")]
    Read(#[source] io::Error),
}

impl From<BadPackage> for Fault {
    /// A damaged or hostile archive is its maker's fault; a disk that cannot be read is the machine's.
    fn from(error: BadPackage) -> Self {
        match error {
            BadPackage::Read(source) => Self::farm("read the archive").because(source),
            BadPackage::Truncated { .. } => Self::new(FaultKind::Upstream, "damaged package archive").because(error),
            error => Self::package("refused package archive").because(error),
        }
    }
}
