//! What apk is told about packages that kiln unpacked itself. Values only; everything comes in the order of installation.
//!
//! The order of a native installation: [`conflicts::owners`] says which package keeps a file that several have; pre-install
//! scripts run before a package's files are placed, post-install scripts after; [`database::files`] writes what apk would have
//! written; [`triggers::fired`] says which triggers run at last, and for which directories.

pub mod conflicts;
pub mod database;
mod glob;
mod scripts;
pub mod triggers;

use std::collections::BTreeMap;

use kiln_model::GuestPath;

use super::archive::ControlFile;
use super::checksum::Checksum;
use super::error::BadArchive;
use super::package::{File, Package};
use super::pkginfo::PkgInfo;

/// A package that was unpacked natively.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub info: PkgInfo,
    pub identity: Checksum,
    /// Bytes of the archive.
    pub size: u64,
    /// The tag of the repository it came from.
    pub tag: Option<String>,
    /// Every name of the archive in its order.
    pub files: Vec<File>,
    /// By their names without the dot, as `post-install`.
    pub scripts: BTreeMap<&'static str, ControlFile>,
}

impl Record {
    /// Reads the names of a package; files' contents are passed over.
    pub fn of(package: &Package<'_>, size: u64, tag: Option<&str>) -> Result<Self, BadArchive> {
        let (mut files, mut names) = (package.files(), Vec::new());
        while let Some(file) = files.next_file()? {
            names.push(file);
        }
        Ok(Self {
            info: package.info.clone(),
            identity: package.identity,
            size,
            tag: tag.map(str::to_owned),
            files: names,
            scripts: package.scripts.clone(),
        })
    }
}

/// A file to write into the target tree, owned by root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub path: GuestPath,
    pub mode: u32,
    pub bytes: Vec<u8>,
}

impl Written {
    fn new(path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        let path = GuestPath::new(path).expect("paths made here are plain");
        Self { path, mode: 0o644, bytes: bytes.into() }
    }
}
