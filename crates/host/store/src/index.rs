//! What is known of each blob file: its fingerprint, when it was stored, when it was last used.
//!
//! A log of lines, read into memory; the last line of a blob counts. A line that is torn or missing costs no more
//! than reading the blob once more, so nothing here needs care after a crash.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use kiln_model::Digest;

use crate::boot::{Boot, Stored};
use crate::files::write_atomically;
use crate::{Error, Fingerprint, Result};

/// What is known of one blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub print: Fingerprint,
    pub stored: Stored,
    /// Seconds since 1970.
    pub used: u64,
}

pub(crate) struct Index {
    path: PathBuf,
    known: HashMap<Digest, Known>,
    /// Inode and length of the log as far as it was read.
    read: (u64, u64),
}

impl Index {
    pub fn new(path: PathBuf) -> Self {
        Self { path, known: HashMap::new(), read: (0, 0) }
    }

    /// Returns what is known of a blob, by us or by what others wrote since.
    pub fn get(&mut self, digest: &Digest) -> Result<Option<Known>> {
        if !self.known.contains_key(digest) {
            self.refresh()?;
        }
        Ok(self.known.get(digest).copied())
    }

    pub fn put(&mut self, digest: Digest, known: Known) -> Result<()> {
        self.known.insert(digest, known);
        let mut file =
            OpenOptions::new().append(true).create(true).open(&self.path).map_err(Error::io("open", &self.path))?;
        file.write_all(line(&digest, &known).as_bytes()).map_err(Error::io("write", &self.path))
    }

    /// Reads what was added to the log, or all of it when it was rewritten.
    pub fn refresh(&mut self) -> Result<()> {
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(Error::io("open", &self.path))?,
        };
        let doing = |error: io::Error| Error::io("read", &self.path)(error);
        let inode = file.metadata().map_err(doing)?.ino();
        let from = if self.read.0 == inode { self.read.1 } else { 0 };
        let mut text = Vec::new();
        file.seek(SeekFrom::Start(from)).and_then(|_| file.read_to_end(&mut text)).map_err(doing)?;
        let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        self.known.extend(text[..whole].split(|&byte| byte == b'\n').filter_map(parse));
        self.read = (inode, from + whole as u64);
        Ok(())
    }

    /// Rewrites the log with one line for each blob that `keep` wants.
    pub fn compact(&mut self, scratch: &Path, keep: impl Fn(&Digest) -> bool) -> Result<()> {
        self.refresh()?;
        self.known.retain(|digest, _| keep(digest));
        let text: String = self.known.iter().map(|(digest, known)| line(digest, known)).collect();
        write_atomically(&self.path, scratch, text.as_bytes())
    }
}

fn line(digest: &Digest, known: &Known) -> String {
    let Known { print: Fingerprint { size, inode, mtime, ctime }, stored, used } = known;
    let (boot, at) = (stored.boot.0, stored.at);
    format!("{digest} {size} {inode} {} {} {} {} {boot} {at} {used}\n", mtime.0, mtime.1, ctime.0, ctime.1)
}

fn parse(line: &[u8]) -> Option<(Digest, Known)> {
    let (digest, numbers) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    let numbers: Vec<i128> = numbers.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
    let [size, inode, mtime, mtime_nanos, ctime, ctime_nanos, boot, at, used] = numbers[..] else { return None };
    let mtime = (mtime.try_into().ok()?, mtime_nanos.try_into().ok()?);
    let ctime = (ctime.try_into().ok()?, ctime_nanos.try_into().ok()?);
    let print = Fingerprint { size: size.try_into().ok()?, inode: inode.try_into().ok()?, mtime, ctime };
    let stored = Stored { boot: Boot(boot.try_into().ok()?), at: at.try_into().ok()? };
    Some((digest.parse().ok()?, Known { print, stored, used: used.try_into().ok()? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(size: u64) -> Known {
        let print = Fingerprint { size, inode: u64::MAX, mtime: (-1, 999_999_999), ctime: (i64::MAX, 0) };
        Known { print, stored: Stored { boot: Boot(u64::MAX), at: 7 }, used: 8 }
    }

    #[test]
    fn lines_read_back_and_torn_ones_are_nothing() {
        let digest = Digest::of("x");
        let text = line(&digest, &known(5));
        assert_eq!(parse(text.trim_end().as_bytes()), Some((digest, known(5))));
        assert_eq!(parse(&text.as_bytes()[..text.len() - 4]), None, "torn");
        assert_eq!(parse(format!("{}{}", &text[..30], text.trim_end()).as_bytes()), None, "run together");
    }

    #[test]
    fn what_another_index_writes_is_found() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("index");
        let (mut one, mut two) = (Index::new(path.clone()), Index::new(path));
        one.put(Digest::of("a"), known(1)).unwrap();
        assert_eq!(two.get(&Digest::of("a")).unwrap(), Some(known(1)));
        one.put(Digest::of("b"), known(2)).unwrap();
        one.put(Digest::of("a"), known(3)).unwrap();
        assert_eq!(two.get(&Digest::of("b")).unwrap(), Some(known(2)));
        assert_eq!(two.get(&Digest::of("a")).unwrap(), Some(known(3)));
        one.compact(home.path(), |digest| *digest == Digest::of("b")).unwrap();
        two.put(Digest::of("c"), known(4)).unwrap();
        assert_eq!(one.get(&Digest::of("c")).unwrap(), Some(known(4)));
        assert_eq!(one.get(&Digest::of("a")).unwrap(), None);
    }
}
