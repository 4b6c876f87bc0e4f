//! What apk is told about packages that kiln unpacked itself. Values only; everything comes in the order of installation.
//!
//! The order of a native installation: [`conflicts::owners`] says which package keeps a file that several have; pre-install
//! scripts run before a package's files are placed, post-install scripts after; [`database::files`] writes what apk would have
//! written; [`triggers::fired`] says which triggers run at last, and for which directories. Upon a tree that has packages already,
//! [`installed::parse`] reads what apk wrote, and [`change::Change`] says what comes, goes and stays.

pub mod change;
pub mod conflicts;
pub mod database;
mod glob;
pub mod installed;
pub mod scripts;
pub mod triggers;
pub mod world;

use std::collections::BTreeMap;

use kiln_model::GuestPath;

use super::archive::ControlFile;
use super::checksum::Checksum;
use super::error::BadArchive;
use super::package::{File, Package};
use super::pkginfo::PkgInfo;
use crate::deb::package::Kind;

/// A package that was unpacked natively, or that a database lists.
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
    /// The lines by which a database lists it, where it was read from one.
    pub listed: Option<String>,
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
            listed: None,
        })
    }

    /// Returns what apk has noted of its state, a letter for each: `f`, `s` and `x` where files, a script or attributes are missing, `S` where
    /// files' sums are the first bytes of a SHA-256.
    pub fn flags(&self) -> &str {
        self.listed.iter().flat_map(|lines| lines.lines()).find_map(|line| line.strip_prefix("f:")).unwrap_or_default()
    }

    /// Whether a content is the one that a file of it came with.
    pub fn is_content(&self, file: &File, bytes: &[u8]) -> bool {
        match &file.checksum {
            Some(Checksum::Sha1(short)) if self.flags().contains('S') => {
                Checksum::sha256(bytes).as_bytes().starts_with(short)
            }
            Some(sum) => sum.fits(bytes),
            None => false,
        }
    }

    /// Returns its directories, those of its files among them.
    pub fn folders(&self) -> impl Iterator<Item = GuestPath> {
        self.files.iter().filter_map(|file| match file.member.kind {
            Kind::Dir => Some(file.member.path.clone()),
            _ => file.member.path.parent(),
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
