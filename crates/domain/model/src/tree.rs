//! A file tree as a value: what an image holds, independent of where its bytes lie.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Digest, GuestPath};

/// One name in a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub path: GuestPath,
    /// Permission bits with setuid, setgid and sticky: `0o7777` at most, no file type.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Modification time in seconds since 1970.
    pub mtime: i64,
    /// Extended attributes by full name, as in `security.capability`. Empty for almost everything.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub xattrs: BTreeMap<String, Vec<u8>>,
    pub kind: Kind,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Dir,
    File(Body),
    Symlink(#[serde(with = "escaped")] Vec<u8>),
    /// A further name of the file at this path, which comes earlier in the tree.
    Hardlink(GuestPath),
    Fifo,
    Socket,
    Char {
        major: u32,
        minor: u32,
    },
    Block {
        major: u32,
        minor: u32,
    },
}

/// Where a file's bytes are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    /// Length in bytes.
    pub size: u64,
    /// Digest of the content where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// What tells this content from any other without reading it (layer, inode, ctime); equal tokens mean equal bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    pub place: Place,
}

/// The place of a file's bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    Host(PathBuf),
    Inline(#[serde(with = "escaped")] Arc<[u8]>),
}

/// A file tree: the root first, each directory before what it holds, names in byte order, hard-link targets before their links.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    pub entries: Vec<Entry>,
}

impl Tree {
    /// Returns the entry at `path`; the entries must be sorted as the type promises.
    pub fn get(&self, path: &GuestPath) -> Option<&Entry> {
        let at = self.entries.binary_search_by(|entry| by_parts(&entry.path, path)).ok()?;
        Some(&self.entries[at])
    }

    /// Puts the entries into the promised order; whoever makes hard links points them at the name that sorts first.
    pub fn sort(&mut self) {
        self.entries.sort_by(|a, b| by_parts(&a.path, &b.path));
    }

    /// Returns the bytes of all files, hard links counted once.
    pub fn content_size(&self) -> u64 {
        self.entries.iter().map(|entry| if let Kind::File(body) = &entry.kind { body.size } else { 0 }).sum()
    }
}

/// Orders paths so that a directory's content follows it at once: `/a`, `/a/b`, `/a.b`.
pub fn by_parts(a: &GuestPath, b: &GuestPath) -> std::cmp::Ordering {
    a.relative().split(|&byte| byte == b'/').cmp(b.relative().split(|&byte| byte == b'/'))
}

impl Entry {
    /// Returns a directory owned by root.
    pub fn dir(path: GuestPath, mode: u32, mtime: i64) -> Self {
        Self { path, mode, uid: 0, gid: 0, mtime, xattrs: BTreeMap::new(), kind: Kind::Dir }
    }

    /// Returns a file owned by root whose content is `bytes`.
    pub fn inline(path: GuestPath, mode: u32, mtime: i64, bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        let digest = Digest::of(&bytes);
        let body = Body { size: bytes.len() as u64, digest: Some(digest), token: None, place: Place::Inline(bytes) };
        Self { path, mode, uid: 0, gid: 0, mtime, xattrs: BTreeMap::new(), kind: Kind::File(body) }
    }
}

/// Bytes as a string with `\xNN` for what is not UTF-8 and `\\` for a backslash.
mod escaped {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer, B: AsRef<[u8]>>(bytes: &B, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::new();
        for chunk in bytes.as_ref().utf8_chunks() {
            text.push_str(&chunk.valid().replace('\\', "\\\\"));
            chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
        }
        serializer.serialize_str(&text)
    }

    pub fn deserialize<'de, D: Deserializer<'de>, B: From<Vec<u8>>>(deserializer: D) -> Result<B, D::Error> {
        let text = String::deserialize(deserializer)?;
        let raw = text.as_bytes();
        let (mut bytes, mut at) = (Vec::with_capacity(raw.len()), 0);
        while at < raw.len() {
            match (raw[at], raw.get(at + 1)) {
                (b'\\', Some(b'\\')) => {
                    bytes.push(b'\\');
                    at += 2;
                }
                (b'\\', Some(b'x')) => {
                    let hex = text.get(at + 2..at + 4).and_then(|hex| u8::from_str_radix(hex, 16).ok());
                    bytes.push(hex.ok_or_else(|| de::Error::custom("`\\x` without two digits"))?);
                    at += 4;
                }
                (b'\\', _) => return Err(de::Error::custom("a lone backslash")),
                (byte, _) => {
                    bytes.push(byte);
                    at += 1;
                }
            }
        }
        Ok(bytes.into())
    }
}
