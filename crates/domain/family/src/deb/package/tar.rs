//! A tar stream read front to back: v7, ustar, GNU long names, pax.
//!
//! Names are normalised by [`GuestPath`], so what comes out never leaves the tree by name. Device nodes, sparse files
//! and kinds that packages do not use are refused.

use std::collections::BTreeMap;
use std::io::Read;

use kiln_model::GuestPath;

use super::BadPackage;
use super::ar::read_full;
use super::header::{BLOCK, Header};

/// Bytes kept of the stream: a file up to this size comes out in one slice.
const WINDOW: usize = 256 << 10;

/// Longest pax record block or GNU long name, in bytes.
const LONGEST_EXTENSION: u64 = 1 << 20;

/// One name of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub path: GuestPath,
    /// Permission bits with setuid, setgid and sticky, no file type.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Names of the owners as the archive has them; empty when it has none.
    pub user: Vec<u8>,
    pub group: Vec<u8>,
    /// Modification time in seconds since 1970.
    pub mtime: i64,
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// What Alpine's packages say besides, in pax records that begin with `APK-TOOLS.`; without that beginning.
    pub apk: BTreeMap<String, Vec<u8>>,
    pub kind: Kind,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Dir,
    /// A file of so many bytes, which [`Tar::chunk`] returns.
    File(u64),
    Symlink(Vec<u8>),
    /// A further name of the file at this path.
    Hardlink(GuestPath),
    Fifo,
}

/// Fields that pax records and GNU long names override.
#[derive(Clone, Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    mtime: Option<i64>,
    uid: Option<u32>,
    gid: Option<u32>,
    user: Option<Vec<u8>>,
    group: Option<Vec<u8>>,
    xattrs: BTreeMap<String, Vec<u8>>,
    apk: BTreeMap<String, Vec<u8>>,
    sparse: bool,
}

/// A tar stream.
pub struct Tar<R> {
    reader: R,
    /// The archive's name in errors.
    name: String,
    window: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes of the stream before `start`.
    at: u64,
    /// Content bytes and padding not yet handed out.
    left: u64,
    padding: u64,
    /// Length of the slice that the last [`Tar::chunk`] returned.
    lent: usize,
    globals: Extensions,
    finished: bool,
}

impl<R: Read> Tar<R> {
    /// Reads from `reader`; errors call the archive `name`.
    pub fn new(reader: R, name: impl Into<String>) -> Self {
        Self {
            reader,
            name: name.into(),
            window: vec![0; WINDOW],
            start: 0,
            end: 0,
            at: 0,
            left: 0,
            padding: 0,
            lent: 0,
            globals: Extensions::default(),
            finished: false,
        }
    }

    /// Skips what is left of the current member and returns the next; none at the archive's end mark.
    pub fn next_member(&mut self) -> Result<Option<Member>, BadPackage> {
        if self.finished {
            return Ok(None);
        }
        let mut extensions = self.globals.clone();
        loop {
            while !self.chunk()?.is_empty() {}
            let at = self.at;
            let mut block = [0; BLOCK];
            self.read_block(&mut block)?;
            if block.iter().all(|&byte| byte == 0) {
                self.finished = true;
                return Ok(None);
            }
            let header = Header(&block);
            if !header.checks() {
                return Err(BadPackage::Checksum { member: self.name.clone(), at });
            }
            let size = extensions.size.or_else(|| header.size()?.try_into().ok());
            let size = size.ok_or_else(|| self.damaged(at, "its size is not a number"))?;
            match header.kind() {
                b'L' => extensions.path = Some(trimmed(self.extension(size, at)?)),
                b'K' => extensions.link = Some(trimmed(self.extension(size, at)?)),
                b'x' => {
                    let records = self.extension(size, at)?;
                    extensions.add(&records).ok_or_else(|| self.damaged(at, "its pax records are not readable"))?;
                }
                b'g' => {
                    let records = self.extension(size, at)?;
                    let added = self.globals.add(&records).and_then(|()| extensions.add(&records));
                    added.ok_or_else(|| self.damaged(at, "its pax records are not readable"))?;
                }
                _ => return self.member(&header, extensions, size, at).map(Some),
            }
        }
    }

    /// Returns the next bytes of the current file, in one slice where it fits the window; empty at its end.
    pub fn chunk(&mut self) -> Result<&[u8], BadPackage> {
        self.forward(self.lent);
        self.lent = 0;
        if self.left == 0 {
            while self.padding > 0 {
                let amount = (self.padding as usize).min(self.fill(1)?);
                self.forward(amount);
                self.padding -= amount as u64;
            }
            return Ok(&[]);
        }
        let wanted = self.left.min(WINDOW as u64) as usize;
        let have = self.fill(wanted)?;
        let amount = have.min(wanted);
        self.left -= amount as u64;
        self.lent = amount;
        Ok(&self.window[self.start..self.start + amount])
    }

    /// Reads the whole content of the current file, which the caller knows to be small enough.
    pub fn content(&mut self) -> Result<Vec<u8>, BadPackage> {
        let mut bytes = Vec::new();
        loop {
            match self.chunk()? {
                [] => return Ok(bytes),
                chunk => bytes.extend_from_slice(chunk),
            }
        }
    }

    /// Reads to the end of the stream, so that its last checksums are looked at; after the end mark only zeros may follow.
    pub fn finish(mut self) -> Result<R, BadPackage> {
        while self.next_member()?.is_some() {}
        loop {
            let have = &self.window[self.start..self.end];
            if have.iter().any(|&byte| byte != 0) {
                return Err(BadPackage::Trailing { member: self.name });
            }
            self.start = 0;
            self.end =
                read_full(&mut self.reader, &mut self.window).map_err(|error| damaged_stream(&self.name, error))?;
            if self.end == 0 {
                return Ok(self.reader);
            }
        }
    }

    /// Returns the reader, wherever reading has come to.
    pub fn into_inner(self) -> R {
        self.reader
    }

    fn member(&mut self, header: &Header<'_>, more: Extensions, size: u64, at: u64) -> Result<Member, BadPackage> {
        let raw = more.path.unwrap_or_else(|| header.name());
        let path = named(&raw)?;
        let shown = || path.to_string();
        let link = more.link.unwrap_or_else(|| header.link().to_vec());
        let kind = match header.kind() {
            _ if more.sparse => return Err(BadPackage::Sparse { path: shown() }),
            b'0' | b'7' | 0 if raw.ends_with(b"/") => Kind::Dir,
            b'0' | b'7' | 0 => Kind::File(size),
            b'1' => Kind::Hardlink(hard_link(&path, &link)?),
            b'2' if link.is_empty() || link.contains(&0) || link.len() > 4095 => {
                return Err(BadPackage::LinkTarget { path: shown() });
            }
            b'2' => Kind::Symlink(link),
            b'3' | b'4' => return Err(BadPackage::Device { path: shown() }),
            b'5' => Kind::Dir,
            b'6' => Kind::Fifo,
            b'S' => return Err(BadPackage::Sparse { path: shown() }),
            kind => return Err(BadPackage::UnknownKind { path: shown(), kind: char::from(kind) }),
        };
        if path.parent().is_none() && kind != Kind::Dir {
            return Err(BadPackage::Root);
        }
        let content = if matches!(kind, Kind::File(_)) { size } else { 0 };
        (self.left, self.padding) = (content, content.wrapping_neg() % BLOCK as u64);
        let small = |value: Option<i64>| value.and_then(|value| u32::try_from(value).ok());
        let wrong = |what| BadPackage::Header { member: self.name.clone(), at, what };
        let (user, group) = header.owners();
        Ok(Member {
            mode: small(header.mode()).ok_or_else(|| wrong("its mode is not a number"))? & 0o7777,
            uid: more.uid.or_else(|| small(header.uid())).ok_or_else(|| wrong("its owner is not a number"))?,
            gid: more.gid.or_else(|| small(header.gid())).ok_or_else(|| wrong("its group is not a number"))?,
            user: more.user.unwrap_or_else(|| user.to_vec()),
            group: more.group.unwrap_or_else(|| group.to_vec()),
            mtime: more.mtime.or_else(|| header.mtime()).ok_or_else(|| wrong("its time is not a number"))?,
            xattrs: more.xattrs,
            apk: more.apk,
            path,
            kind,
        })
    }

    /// Reads the content of a header that describes the next one.
    fn extension(&mut self, size: u64, at: u64) -> Result<Vec<u8>, BadPackage> {
        if size > LONGEST_EXTENSION {
            return Err(self.damaged(at, "its extension is longer than a MiB"));
        }
        (self.left, self.padding) = (size, size.wrapping_neg() % BLOCK as u64);
        self.content()
    }

    fn read_block(&mut self, block: &mut [u8; BLOCK]) -> Result<(), BadPackage> {
        self.fill(BLOCK)?;
        block.copy_from_slice(&self.window[self.start..self.start + BLOCK]);
        self.forward(BLOCK);
        Ok(())
    }

    /// Sees to it that at least `wanted` bytes are in the window and returns how many there are.
    fn fill(&mut self, wanted: usize) -> Result<usize, BadPackage> {
        if self.end - self.start < wanted {
            self.window.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            while self.end < wanted {
                match self.reader.read(&mut self.window[self.end..]) {
                    Ok(0) => return Err(BadPackage::Truncated { member: self.name.clone() }),
                    Ok(amount) => self.end += amount,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(damaged_stream(&self.name, error)),
                }
            }
        }
        Ok(self.end - self.start)
    }

    fn forward(&mut self, amount: usize) {
        self.start += amount;
        self.at += amount as u64;
    }

    fn damaged(&self, at: u64, what: &'static str) -> BadPackage {
        BadPackage::Header { member: self.name.clone(), at, what }
    }
}

/// Tells an archive that ends too early from one whose bytes are wrong.
fn damaged_stream(member: &str, source: std::io::Error) -> BadPackage {
    let member = member.to_owned();
    match source.kind() {
        std::io::ErrorKind::UnexpectedEof => BadPackage::Truncated { member },
        _ => BadPackage::Damaged { member, source },
    }
}

/// Returns a name inside the tree. Line breaks are refused as dpkg does, since its file lists could not hold them.
fn named(raw: &[u8]) -> Result<GuestPath, BadPackage> {
    let path = GuestPath::new(raw)?;
    if raw.contains(&b'\n') {
        return Err(BadPackage::LineBreak(path.to_string().replace('\n', "\\n")));
    }
    Ok(path)
}

fn hard_link(path: &GuestPath, target: &[u8]) -> Result<GuestPath, BadPackage> {
    if target.is_empty() {
        return Err(BadPackage::LinkTarget { path: path.to_string() });
    }
    let target = named(target)?;
    if target == *path {
        return Err(BadPackage::SelfLink { path: path.to_string() });
    }
    Ok(target)
}

/// Drops the NUL that ends a GNU long name; one in the middle stays and is refused as a name.
fn trimmed(mut name: Vec<u8>) -> Vec<u8> {
    if name.last() == Some(&0) {
        name.pop();
    }
    name
}

impl Extensions {
    /// Adds pax records: `LENGTH KEY=VALUE\n`, the length counting itself. None when they are damaged.
    fn add(&mut self, mut records: &[u8]) -> Option<()> {
        while !records.is_empty() {
            let blank = memchr::memchr(b' ', records)?;
            let length: usize = std::str::from_utf8(&records[..blank]).ok()?.parse().ok()?;
            let record = records.get(blank + 1..length)?.strip_suffix(b"\n")?;
            records = &records[length..];
            let equals = memchr::memchr(b'=', record)?;
            self.set(&record[..equals], &record[equals + 1..])?;
        }
        Some(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let text = || std::str::from_utf8(value).ok();
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(text()?.parse().ok()?),
            b"uid" => self.uid = Some(text()?.parse().ok()?),
            b"gid" => self.gid = Some(text()?.parse().ok()?),
            b"uname" => self.user = Some(value.to_vec()),
            b"gname" => self.group = Some(value.to_vec()),
            b"mtime" => self.mtime = Some(whole_seconds(text()?)?),
            _ if key.starts_with(b"GNU.sparse.") => self.sparse = true,
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.xattrs.insert(std::str::from_utf8(name).ok()?.to_owned(), value.to_vec());
                } else if let Some(name) = key.strip_prefix(b"APK-TOOLS.") {
                    self.apk.insert(std::str::from_utf8(name).ok()?.to_owned(), value.to_vec());
                }
            }
        }
        Some(())
    }
}

/// Reads `1700000000.25`, rounding towards the past.
fn whole_seconds(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let partly = fraction.bytes().any(|digit| digit != b'0');
    fraction
        .bytes()
        .all(|digit| digit.is_ascii_digit())
        .then_some(seconds - i64::from(partly && whole.starts_with('-')))
}
