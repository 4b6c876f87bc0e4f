//! A whole `.apk`: its control data at once, its files one by one.

use std::collections::{BTreeMap, HashSet};

use flate2::bufread::MultiGzDecoder;
use kiln_model::GuestPath;

use super::archive::{self, Archive, ControlFile};
use super::checksum::Checksum;
use super::error::BadArchive;
use super::pkginfo::PkgInfo;
use super::trust::{self, Keys};
use crate::deb::package::{Kind, Member, Tar};

/// The scripts that a package may bring (apk-package(5)), as they are named in archives but for the dot.
pub const SCRIPTS: [&str; 7] =
    ["pre-install", "post-install", "pre-deinstall", "post-deinstall", "pre-upgrade", "post-upgrade", "trigger"];

/// What an archive may grow to.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Names in the data.
    pub names: u64,
    /// Bytes of the control data, unpacked.
    pub control: u64,
    /// Bytes of files are refused when they are more than `size` times this …
    pub times: u64,
    /// … and also more than `size` plus this many bytes.
    pub over: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { names: 2_000_000, control: 64 << 20, times: 8, over: 1 << 30 }
    }
}

/// An archive whose control data has been read; its data has not been looked at.
#[derive(Clone, Debug)]
pub struct Package<'a> {
    pub info: PkgInfo,
    /// Which package this is: the SHA-1 of the control stream, as `C:` in the index says it.
    pub identity: Checksum,
    /// By [`SCRIPTS`]' names.
    pub scripts: BTreeMap<&'static str, ControlFile>,
    archive: Archive<'a>,
    limits: Limits,
}

impl<'a> Package<'a> {
    /// Reads the control data and checks that the data is what it vouches for.
    pub fn open(bytes: &'a [u8], limits: Limits) -> Result<Self, BadArchive> {
        let archive = Archive::split(bytes, limits.control)?;
        let text = archive.file(".PKGINFO").ok_or(BadArchive::Missing(".PKGINFO"))?;
        let text = std::str::from_utf8(&text.bytes).map_err(|_| BadArchive::NotUtf8(".PKGINFO"))?;
        let info = PkgInfo::parse(text)?;
        check_data(&info, archive.data)?;
        let script = |name: &'static str| Some((name, archive.file(&format!(".{name}"))?.clone()));
        let scripts = SCRIPTS.into_iter().filter_map(script).collect();
        Ok(Self { info, identity: Checksum::sha1(archive.control), scripts, archive, limits })
    }

    /// Whether this is the package that an index names by its checksum.
    pub fn is(&self, identity: &Checksum) -> bool {
        identity.fits(self.archive.control)
    }

    /// Checks the signatures; a package that an index vouches for by its checksum needs none.
    pub fn verify(&self, keys: &Keys) -> Result<String, trust::Error> {
        trust::verify(&self.archive.signatures, self.archive.control, keys)
    }

    /// Returns its files, in their order.
    pub fn files(&self) -> Files<'a> {
        let limits = self.limits;
        let claimed = self.info.size;
        Files { tar: archive::data(self.archive.data), seen: HashSet::new(), bytes: 0, claimed, limits }
    }
}

fn check_data(info: &PkgInfo, data: &[u8]) -> Result<(), BadArchive> {
    let wanted = info.data_hash.ok_or(BadArchive::Field("datahash"))?;
    if wanted.fits(data) {
        return Ok(());
    }
    Err(BadArchive::DataHash { wanted: wanted.hex(), found: Checksum::sha256(data).hex() })
}

/// The files of a package, front to back.
pub struct Files<'a> {
    tar: Tar<MultiGzDecoder<&'a [u8]>>,
    seen: HashSet<GuestPath>,
    bytes: u64,
    claimed: u64,
    limits: Limits,
}

/// A name of the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub member: Member,
    /// What `APK-TOOLS.checksum.…` says of its content; links have it of their target.
    pub checksum: Option<Checksum>,
    /// What a database says of its extended attributes.
    pub xattrs: Option<Checksum>,
}

impl Files<'_> {
    /// Returns the next name; files' bytes follow through [`Files::chunk`].
    pub fn next_file(&mut self) -> Result<Option<File>, BadArchive> {
        let Some(mut member) = self.tar.next_member()? else { return Ok(None) };
        if let Kind::File(size) = member.kind {
            self.bytes = self.bytes.saturating_add(size);
        }
        self.bounded()?;
        let shown = || member.path.to_string();
        if !self.seen.insert(member.path.clone()) && member.kind != Kind::Dir {
            return Err(BadArchive::Twice(shown()));
        }
        if let Kind::Hardlink(target) = &member.kind
            && !self.seen.contains(target)
        {
            return Err(BadArchive::LinkOutside { path: shown(), target: target.to_string() });
        }
        let checksum = checksum(&member)?;
        member.apk.clear();
        Ok(Some(File { member, checksum, xattrs: None }))
    }

    /// Returns the next bytes of the current file; empty at its end.
    pub fn chunk(&mut self) -> Result<&[u8], BadArchive> {
        Ok(self.tar.chunk()?)
    }

    /// Reads the whole content of the current file.
    pub fn content(&mut self) -> Result<Vec<u8>, BadArchive> {
        Ok(self.tar.content()?)
    }

    fn bounded(&self) -> Result<(), BadArchive> {
        let (claimed, limits) = (self.claimed, self.limits);
        let allowed = claimed.saturating_mul(limits.times).max(claimed.saturating_add(limits.over));
        if self.bytes > allowed {
            return Err(BadArchive::Bomb { allowed, claimed });
        }
        if self.seen.len() as u64 >= limits.names {
            return Err(BadArchive::TooMany { allowed: limits.names });
        }
        Ok(())
    }
}

fn checksum(member: &Member) -> Result<Option<Checksum>, BadArchive> {
    let text = member.apk.get("checksum.SHA256").or_else(|| member.apk.get("checksum.SHA1"));
    let Some(text) = text else { return Ok(None) };
    let sum = Checksum::from_hex(&String::from_utf8_lossy(text));
    sum.map(Some).map_err(|error| BadArchive::Checksum(member.path.to_string(), error))
}

/// Feeds arbitrary bytes to the reader; for fuzzing, must neither panic nor use much memory.
pub fn fuzz(bytes: &[u8]) {
    let limits = Limits { names: 10_000, control: 1 << 20, times: 1, over: 4 << 20 };
    let Ok(archive) = Archive::split(bytes, limits.control) else { return };
    if let Some(info) = archive.file(".PKGINFO") {
        let _ = PkgInfo::parse(&String::from_utf8_lossy(&info.bytes));
    }
    let tar = archive::data(archive.data);
    let mut files = Files { tar, seen: HashSet::new(), bytes: 0, claimed: 0, limits };
    while let Ok(Some(_)) = files.next_file() {
        while files.chunk().is_ok_and(|chunk| !chunk.is_empty()) {}
    }
}
