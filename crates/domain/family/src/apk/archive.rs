//! The outer form of `.apk` and `APKINDEX.tar.gz`: gzip streams one after the other, together one tar archive.
//!
//! The first stream holds signatures (`.SIGN.…`) where there are any; the next is the control data or the index; what
//! follows is data (apk-v2(5)). Signatures and checksums are of streams as they are compressed.

use std::io::{self, Read};

use flate2::bufread::{GzDecoder, MultiGzDecoder};

use super::error::BadArchive;
use super::trust::Signature;
use crate::deb::package::{Kind, Tar};

/// Most bytes that the signatures' stream may unpack to.
const SIGNATURES: u64 = 1 << 20;
/// Most files that a section other than data may hold.
const FILES: usize = 1000;

/// An archive split into its sections; nothing of it is believed yet.
#[derive(Clone, Debug)]
pub struct Archive<'a> {
    pub signatures: Vec<Signature>,
    /// The control stream as it is compressed.
    pub control: &'a [u8],
    /// What follows it, as it is compressed.
    pub data: &'a [u8],
    /// The files of the control stream, in order.
    pub files: Vec<ControlFile>,
}

/// A file of a section that is read at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlFile {
    pub name: String,
    pub mode: u32,
    /// Modification time in seconds since 1970.
    pub mtime: i64,
    pub bytes: Vec<u8>,
}

impl<'a> Archive<'a> {
    /// Splits an archive whose control stream may unpack to `limit` bytes.
    pub fn split(bytes: &'a [u8], limit: u64) -> Result<Self, BadArchive> {
        if !bytes.starts_with(&[0x1f, 0x8b]) {
            return Err(BadArchive::NotGzip);
        }
        let (first, rest) = stream(bytes, "signatures", limit.max(SIGNATURES))?;
        let files = files(&first, "signatures")?;
        if !files.iter().any(|file| file.name.starts_with(".SIGN.")) {
            if first.len() as u64 > limit {
                return Err(BadArchive::TooLarge { section: "control", limit });
            }
            let control = &bytes[..bytes.len() - rest.len()];
            return Ok(Self { signatures: Vec::new(), control, data: rest, files });
        }
        let signatures = files.into_iter().map(Signature::new).collect::<Result<_, _>>()?;
        let (unpacked, data) = stream(rest, "control", limit)?;
        let control = &rest[..rest.len() - data.len()];
        let files = self::files(&unpacked, "control")?;
        match files.iter().find(|file| file.name.starts_with(".SIGN.")) {
            Some(file) => Err(BadArchive::LateSignature(file.name.clone())),
            None => Ok(Self { signatures, control, data, files }),
        }
    }

    pub fn file(&self, name: &str) -> Option<&ControlFile> {
        self.files.iter().find(|file| file.name == name)
    }
}

/// Unpacks the first stream and returns it with what follows it.
fn stream<'a>(bytes: &'a [u8], section: &'static str, limit: u64) -> Result<(Vec<u8>, &'a [u8]), BadArchive> {
    let mut decoder = GzDecoder::new(bytes);
    let mut unpacked = Vec::new();
    let read = decoder.by_ref().take(limit + 1).read_to_end(&mut unpacked);
    match read {
        Err(source) if source.kind() == io::ErrorKind::UnexpectedEof => Err(BadArchive::Truncated { section }),
        Err(source) => Err(BadArchive::Damaged { section, source }),
        Ok(length) if length as u64 > limit => Err(BadArchive::TooLarge { section, limit }),
        Ok(_) => Ok((unpacked, decoder.into_inner())),
    }
}

/// Reads the files of a section. Sections before the last are cut off before tar's end mark, so one is lent.
fn files(unpacked: &[u8], section: &'static str) -> Result<Vec<ControlFile>, BadArchive> {
    let mut tar = Tar::new(unpacked.chain(io::repeat(0).take(1024)), section);
    let mut files: Vec<ControlFile> = Vec::new();
    while let Some(member) = tar.next_member()? {
        let path = member.path.relative();
        match member.kind {
            Kind::Dir if path.is_empty() => continue,
            Kind::File(_) if is_plain(path) && files.len() < FILES => {}
            _ => return Err(BadArchive::ControlFile(member.path.to_string())),
        }
        let name = String::from_utf8_lossy(path).into_owned();
        if files.iter().any(|file| file.name == name) {
            return Err(BadArchive::Twice(name));
        }
        files.push(ControlFile { name, mode: member.mode, mtime: member.mtime, bytes: tar.content()? });
    }
    Ok(files)
}

fn is_plain(name: &[u8]) -> bool {
    name.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'/')
}

/// Opens the data section; its files come one by one.
pub(super) fn data(bytes: &[u8]) -> Tar<MultiGzDecoder<&[u8]>> {
    Tar::new(MultiGzDecoder::new(bytes), "data")
}
