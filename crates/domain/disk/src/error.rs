//! Why a tree cannot become an image.

use kiln_model::{Fault, GuestPath};

/// What a blob may not lie on.
pub(crate) const TABLE: &str = "the partition table";
pub(crate) const PARTITION: &str = "the first partition";
pub(crate) const BLOB: &str = "another one";

/// A tree, or a wish, that a format cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{what} of {size} bytes is too small: its content needs {needed} bytes")]
    TooSmall { what: String, size: u64, needed: u64 },
    #[error("{what} would be larger than the {limit} bytes its format allows")]
    TooLarge { what: String, limit: u64 },
    #[error("`{path}` cannot be kept in {format}: {why}")]
    Unfit { path: GuestPath, format: &'static str, why: String },
    #[error("`{target}`, which the hard link `{path}` points at, is not in the tree")]
    DeadLink { path: GuestPath, target: GuestPath },
    #[error("{format} has no feature `{name}` that can be turned this way")]
    Feature { format: &'static str, name: String },
    #[error("{what} `{value}`: {why}")]
    Option { what: &'static str, value: String, why: String },
    #[error("partition `{0}` holds a filesystem that is made beforehand, and it was not handed in")]
    NotMade(String),
    #[error("nobody read `{}`, whose checksums a btrfs holds, or it has changed since", .0.display())]
    NoSums(std::path::PathBuf),
    #[error("partition `{0}` wants a size: it has no content to say one")]
    NoSize(String),
    #[error("`{path}`, which belongs at byte {offset} of the disk, is not in the tree")]
    NoBlob { path: GuestPath, offset: u64 },
    #[error("`{path}`, which is to be an artifact, {why}")]
    NoFile { path: GuestPath, why: String },
    #[error("`{path}` has {size} bytes: at byte {offset} of the disk it would lie on {what}")]
    Overlap { path: GuestPath, offset: u64, size: u64, what: &'static str },
    #[error("a table of kind {kind} holds {limit} partitions at most, not {count}")]
    TooMany { kind: &'static str, limit: usize, count: usize },
}

impl Error {
    pub(crate) fn unfit(path: &GuestPath, format: &'static str, why: impl Into<String>) -> Self {
        Self::Unfit { path: path.clone(), format, why: why.into() }
    }

    /// Says what is too small, once the caller knows its name.
    pub(crate) fn within(self, name: &str) -> Self {
        match self {
            Self::TooSmall { what, size, needed } => {
                Self::TooSmall { what: format!("{what} of partition `{name}`"), size, needed }
            }
            other => other,
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let hint = match &error {
            Error::TooSmall { needed, .. } => {
                Some(format!("set its size to {} MiB or more, or to `auto`", needed.div_ceil(1 << 20)))
            }
            Error::Overlap { what: TABLE, .. } => Some("say table = \"mbr\" under `[disk]`".to_owned()),
            Error::NoBlob { .. } => Some(
                "a board's comes with its package, which must not be excluded; another is a `[[file]]` of the recipe"
                    .to_owned(),
            ),
            Error::NoFile { .. } => Some("say as `path` of the output where a file of the finished tree is".to_owned()),
            Error::Unfit { .. } => Some("leave the file out, or mount another filesystem there".to_owned()),
            _ => None,
        };
        let fault = Fault::recipe(error.to_string());
        match hint {
            Some(hint) => fault.hint(hint),
            None => fault,
        }
    }
}
