//! Documents: small things under a kind and a key.
//!
//! A document is one file: a line with the digest of the rest, a line with the key, the bytes.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use kiln_model::Digest;

use crate::files::{read_if_there, touch, write_atomically};
use crate::store::key_name;
use crate::{Result, Store};

/// Bytes within which a document's digest and key lie.
const LONGEST_HEAD: u64 = 64 << 10;

/// Kinds of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doc {
    /// What was last seen of a repository; never collected, since it refuses rollbacks.
    Seen,
    /// Indexes in parsed form.
    Index,
    /// Answers of servers, for conditional requests.
    Answer,
    /// What is known of an image already written.
    Image,
    /// What a probe of this machine found.
    Probe,
}

impl Doc {
    pub(crate) const ALL: [Self; 5] = [Self::Seen, Self::Index, Self::Answer, Self::Image, Self::Probe];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Index => "index",
            Self::Answer => "answer",
            Self::Image => "image",
            Self::Probe => "probe",
        }
    }

    /// Whether the store may forget it to stay below its bound.
    pub(crate) const fn may_go(self) -> bool {
        !matches!(self, Self::Seen)
    }
}

impl Store {
    /// Returns the document kept under `key`; one that is corrupted is dropped with a warning.
    pub fn document(&self, kind: Doc, key: &str) -> Result<Option<Vec<u8>>> {
        let path = self.document_path(kind, key);
        let Some(text) = read_if_there(&path)? else { return Ok(self.document_beside(kind, key)) };
        match parse(&text) {
            Some((found, bytes)) if found == key => {
                touch(&path);
                let head = text.len() - bytes.len();
                Ok(Some(without_head(text, head)))
            }
            _ => {
                self.reject(
                    &path,
                    format!("the stored {} document `{key}` was corrupted and is dropped", kind.name()),
                )?;
                Ok(None)
            }
        }
    }

    /// Returns a document of the store that is only read; there nothing is mended, and what cannot be read is not there.
    fn document_beside(&self, kind: Doc, key: &str) -> Option<Vec<u8>> {
        let text = fs::read(path_in(self.beside()?, kind, key)).ok()?;
        let head = parse(&text).filter(|(found, _)| found == key).map(|(_, bytes)| text.len() - bytes.len())?;
        Some(without_head(text, head))
    }

    /// Keeps `bytes` under `key`, in place of what was there.
    pub fn put_document(&self, kind: Doc, key: &str, bytes: &[u8]) -> Result<()> {
        let mut rest = serde_json::to_vec(key).expect("strings serialise");
        rest.push(b'\n');
        rest.extend_from_slice(bytes);
        let mut text = format!("{}\n", Digest::of(&rest)).into_bytes();
        text.extend_from_slice(&rest);
        write_atomically(&self.document_path(kind, key), self.session.scratch(), &text)
    }

    pub(crate) fn document_path(&self, kind: Doc, key: &str) -> PathBuf {
        path_in(self.root(), kind, key)
    }
}

fn path_in(root: &Path, kind: Doc, key: &str) -> PathBuf {
    root.join("documents").join(kind.name()).join(key_name(key))
}

/// Takes off the first `head` bytes, in place: a package list is large.
fn without_head(mut text: Vec<u8>, head: usize) -> Vec<u8> {
    drop(text.drain(..head));
    text
}

/// Returns the key of a document that may be damaged, from its first lines.
pub(crate) fn key(path: &Path) -> Option<String> {
    let mut lines = BufReader::new(File::open(path).ok()?.take(LONGEST_HEAD)).lines();
    serde_json::from_str(&lines.nth(1)?.ok()?).ok()
}

/// Returns a document's key and bytes if it is whole.
pub(crate) fn parse(text: &[u8]) -> Option<(String, &[u8])> {
    let (digest, rest) = line(text)?;
    let (key, bytes) = line(rest)?;
    let whole = Digest::of(rest).to_string().as_bytes() == digest;
    whole.then(|| Some((serde_json::from_slice(key).ok()?, bytes)))?
}

fn line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|&byte| byte == b'\n')?;
    Some((&text[..end], &text[end + 1..]))
}
