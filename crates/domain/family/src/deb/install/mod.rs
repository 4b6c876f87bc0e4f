//! What dpkg is told about packages that kiln unpacked itself, and what runs in the sandbox afterwards. Values only.
//!
//! The order of a native installation:
//!
//! 1. every archive is unpacked, but those that [`preinst::class`] wants unpacked by dpkg itself;
//! 2. [`database`] writes what `dpkg --unpack` would have written: each package is `install ok unpacked`;
//! 3. [`configure::steps`] runs preinst scripts, `dpkg --unpack` for the others, `dpkg --configure -a`.
//!
//! Conffiles lie in their final places with their digests in `status`: `dpkg --configure` looks for `NAME.dpkg-new`,
//! takes its absence for a conffile dealt with, and keeps the digest it finds in `status`. Only a conffile whose place
//! was taken already is left as `NAME.dpkg-new` under the word `newconffile`, and dpkg then decides by its options.

pub mod configure;
pub mod database;
pub mod extended;
pub mod hold;
pub mod lend;
pub mod preinst;
pub mod replaces;
pub mod status;
pub mod triggers;

use std::collections::BTreeMap;

use kiln_model::GuestPath;
use serde::{Deserialize, Serialize};

use super::package::{BadPackage, Control};

/// Whether packages go into an empty tree or onto one whose packages are configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Base,
    Further,
}

/// A package that was unpacked natively.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub control: Control,
    /// Every path of the archive in its order, as dpkg writes `NAME.list`.
    pub list: Vec<GuestPath>,
    pub conffiles: Vec<Conffile>,
    /// Lines for `NAME.md5sums` when the archive brings none.
    pub md5sums: Option<String>,
}

/// A configuration file and where it was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conffile {
    pub path: GuestPath,
    pub state: ConffileState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConffileState {
    /// In its place; the MD5 of its content.
    Placed([u8; 16]),
    /// Beside its place as `.dpkg-new`, for dpkg to decide on.
    Beside,
    /// Named by the package, but not in its archive.
    Missing,
    /// Named to be removed by upgrades.
    RemoveOnUpgrade,
}

/// A file to write into the target tree, owned by root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub path: GuestPath,
    pub mode: u32,
    /// Modification time in seconds since 1970, where an archive says one.
    pub mtime: Option<i64>,
    pub bytes: Vec<u8>,
}

impl File {
    pub(crate) fn new(path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            path: GuestPath::new(path).expect("paths made here are plain"),
            mode: 0o644,
            mtime: None,
            bytes: bytes.into(),
        }
    }
}

/// A command to run with the target tree as root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What is being done, for logs and errors.
    pub name: String,
    pub argv: Vec<String>,
    pub env: BTreeMap<String, String>,
}

/// Why a database cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("read the package database")]
    Status(#[from] super::deb822::Error),
    #[error(transparent)]
    Package(#[from] BadPackage),
}
