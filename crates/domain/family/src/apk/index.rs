//! `APKINDEX`: a block of `X:value` lines for each package, blocks apart by blank lines (apk-package(5) names the letters).

use std::sync::Arc;

use kiln_model::Fault;

use super::archive::Archive;
use super::checksum::Checksum;
use super::error::BadArchive;
use super::relation;
use super::version::Version;

/// Most bytes that an index may unpack to.
const LIMIT: u64 = 1 << 30;

/// A package list, kept as the text it came as.
#[derive(Clone, Debug)]
pub struct Index {
    text: Arc<str>,
    /// Where the blocks lie.
    blocks: Arc<[(u32, u32)]>,
    /// What the repository calls this state of itself, as in `v3.20.0-6-g1234567890a`.
    pub description: String,
}

/// One package of a list. Lists are as written, blank between their atoms; fields that are absent are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry<'a> {
    pub name: &'a str,
    pub version: &'a str,
    /// `C:`: the sum of the package's control stream.
    pub checksum: Option<Checksum>,
    pub arch: &'a str,
    pub description: &'a str,
    pub url: &'a str,
    pub license: &'a str,
    pub origin: &'a str,
    pub maintainer: &'a str,
    pub commit: &'a str,
    /// Bytes of the archive.
    pub size: u64,
    /// Bytes of the files in it.
    pub installed_size: u64,
    /// Seconds since 1970.
    pub build_time: Option<u64>,
    pub depends: Vec<&'a str>,
    pub provides: Vec<&'a str>,
    pub replaces: Vec<&'a str>,
    pub install_if: Vec<&'a str>,
    pub provider_priority: Option<u16>,
}

/// Why a package list cannot be used.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("line {line}: not UTF-8")]
    NotUtf8 { line: usize },
    #[error("a package list of more than 4 GiB")]
    TooLarge,
    #[error("line {line}: `{text}` is no field; they are like `P:name`")]
    NotAField { line: usize, text: String },
    #[error("line {line}: the field `{field}` is unknown, so the list needs a newer reader")]
    Unknown { line: usize, field: char },
    #[error("line {line}: the field `{field}` is `{value}`")]
    Value { line: usize, field: char, value: String },
    #[error("line {line}: a package without `{field}`")]
    Missing { line: usize, field: char },
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Fault::upstream(format!("package list: {error}")).hint("the mirror is damaged; try another one")
    }
}

/// Why an `APKINDEX.tar.gz` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadIndex {
    #[error(transparent)]
    Archive(#[from] BadArchive),
    #[error(transparent)]
    Trust(#[from] super::trust::Error),
    #[error("package list: {0}")]
    List(#[from] Error),
}

impl From<BadIndex> for Fault {
    fn from(error: BadIndex) -> Self {
        match error {
            BadIndex::Archive(error) => Fault::upstream("read the package index").because(error),
            BadIndex::Trust(error) => error.into(),
            BadIndex::List(error) => error.into(),
        }
    }
}

impl Index {
    /// Reads an `APKINDEX.tar.gz` that one of the keys has signed, and returns the signer, too.
    pub fn verified(bytes: &[u8], keys: &super::Keys) -> Result<(Self, String), BadIndex> {
        let archive = Archive::split(bytes, LIMIT)?;
        let signer = super::trust::verify_index(bytes, &archive, keys)?;
        Ok((Self::of(&archive)?, signer))
    }

    /// Reads an `APKINDEX.tar.gz` whoever signed it, which a recipe must allow in so many words.
    pub fn unsigned(bytes: &[u8]) -> Result<Self, BadIndex> {
        Self::of(&Archive::split(bytes, LIMIT)?)
    }

    fn of(archive: &Archive<'_>) -> Result<Self, BadIndex> {
        let list = archive.file("APKINDEX").ok_or(BadArchive::Missing("APKINDEX"))?;
        let description = archive.file("DESCRIPTION").map_or(&[][..], |file| &file.bytes);
        let description = std::str::from_utf8(description).map_err(|_| BadArchive::NotUtf8("DESCRIPTION"))?;
        Ok(Self { description: description.trim().to_owned(), ..Self::parse(&list.bytes)? })
    }

    /// Finds the packages of a list and checks every field.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        u32::try_from(bytes.len()).map_err(|_| Error::TooLarge)?;
        let text = utf8(bytes)?;
        let mut blocks = Vec::new();
        each_block(text, |from, block, line| {
            read(block, line)?;
            blocks.push((from as u32, (from + block.len()) as u32));
            Ok::<_, Error>(())
        })?;
        Ok(Self { text: text.into(), blocks: blocks.into(), description: String::new() })
    }

    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Returns the packages in the list's order.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = Entry<'_>> {
        let block = |&(from, to): &(u32, u32)| &self.text[from as usize..to as usize];
        self.blocks.iter().map(move |at| read(block(at), 1).expect("it was read before"))
    }
}

impl Entry<'_> {
    /// Returns `name-version`.
    pub fn full_name(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }

    /// Returns the archive's name below the repository's folder of its architecture.
    pub fn file_name(&self) -> String {
        format!("{}-{}.apk", self.name, self.version)
    }
}

pub(super) fn utf8(bytes: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        Error::NotUtf8 { line: 1 + memchr::memchr_iter(b'\n', before).count() }
    })
}

/// Calls `tell(offset, block, line number)` for what lies between blank lines.
pub(super) fn each_block<'a, E>(
    text: &'a str,
    mut tell: impl FnMut(usize, &'a str, usize) -> Result<(), E>,
) -> Result<(), E> {
    let (mut from, mut first, mut at) = (0, 1, 0);
    let lines = text.split_inclusive('\n').map(Some).chain([None]);
    for (number, line) in (1..).zip(lines) {
        if line.is_none_or(|line| line.trim_end_matches(['\n', '\r']).is_empty()) {
            if at > from {
                tell(from, &text[from..at], first)?;
            }
            from = at + line.map_or(0, str::len);
            first = number + 1;
        }
        at += line.map_or(0, str::len);
    }
    Ok(())
}

/// Reads one block, whose first line has the number `first`.
pub(super) fn read(block: &str, first: usize) -> Result<Entry<'_>, Error> {
    let mut entry = Entry::default();
    for (line, text) in (first..).zip(block.lines()) {
        let (field, value) = match text.as_bytes() {
            [field, b':', ..] if field.is_ascii_alphabetic() => (char::from(*field), &text[2..]),
            _ => return Err(Error::NotAField { line, text: text.chars().take(40).collect() }),
        };
        match set(&mut entry, field, value) {
            Some(true) => {}
            Some(false) if field.is_ascii_lowercase() => {}
            Some(false) => return Err(Error::Unknown { line, field }),
            None => return Err(Error::Value { line, field, value: value.to_owned() }),
        }
    }
    let missing = [('P', entry.name), ('V', entry.version)].into_iter().find(|(_, value)| value.is_empty());
    missing.map_or(Ok(entry), |(field, _)| Err(Error::Missing { line: first, field }))
}

/// Takes a field. False where it is unknown, none where its value makes no sense.
fn set<'a>(entry: &mut Entry<'a>, field: char, value: &'a str) -> Option<bool> {
    let words = || value.split_ascii_whitespace();
    match field {
        // The leading dot is that of a virtual package, which installed databases alone have.
        'P' => entry.name = Some(value).filter(|name| relation::is_package_name(name.trim_start_matches('.')))?,
        'V' => entry.version = Version::parse(value).ok()?.as_str(),
        'C' => entry.checksum = Some(value.parse().ok()?),
        'A' => entry.arch = Some(value).filter(|arch| arch.is_empty() || relation::is_tag(arch))?,
        'S' => entry.size = value.parse().ok()?,
        'I' => entry.installed_size = value.parse().ok()?,
        'T' => entry.description = value,
        'U' => entry.url = value,
        'L' => entry.license = value,
        'o' => entry.origin = value,
        'm' => entry.maintainer = value,
        't' => entry.build_time = Some(value.parse().ok()?),
        'c' => entry.commit = value,
        'k' => entry.provider_priority = Some(value.parse().ok()?),
        'D' => entry.depends.extend(words()),
        'p' => entry.provides.extend(words()),
        'r' => entry.replaces.extend(words()),
        'i' => entry.install_if.extend(words()),
        _ => return Some(false),
    }
    Some(true)
}

/// Feeds arbitrary bytes to the parser; for fuzzing, must never panic.
pub fn fuzz(bytes: &[u8]) {
    if let Ok(index) = Index::parse(bytes) {
        index.entries().for_each(|entry| drop((entry.full_name(), entry.file_name())));
    }
    let _ = Index::unsigned(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "C:Q12jmj7l5rSw0yVb/vlWAYkK/YBwk=\nP:a\nV:1.0-r0\nA:x86_64\nS:10\nI:20\nT:An a: b\nD:b>1 so:c.so.1\n\
                        p:cmd:a=1.0-r0\nk:7\ni:b c=1\nq:later\n\n\nP:b\nV:2";

    #[test]
    fn finds_packages_and_fields() {
        let index = Index::parse(LIST.as_bytes()).unwrap();
        let entries: Vec<_> = index.entries().collect();
        assert_eq!(entries.iter().map(Entry::file_name).collect::<Vec<_>>(), ["a-1.0-r0.apk", "b-2.apk"]);
        let a = &entries[0];
        assert_eq!((a.size, a.installed_size, a.provider_priority, a.description), (10, 20, Some(7), "An a: b"));
        assert_eq!((&a.depends[..], &a.install_if[..]), (&["b>1", "so:c.so.1"][..], &["b", "c=1"][..]));
        assert_eq!(a.checksum, Some(Checksum::sha1(b"")));
    }

    #[test]
    fn damage_has_a_line_and_a_field() {
        let cases = [
            ("P:a\nV:1\n\nP:b\n", "line 4: a package without `V`"),
            ("P:a\nV:1\nX:1\n", "line 3: the field `X` is unknown, so the list needs a newer reader"),
            ("P:a\nV:1\nS:x\n", "line 3: the field `S` is `x`"),
            ("\nP:../a\n", "line 2: the field `P` is `../a`"),
            ("P:a\nV:1\nnonsense\n", "line 3: `nonsense` is no field; they are like `P:name`"),
            ("P:a\nV:1bc\n", "line 2: the field `V` is `1bc`"),
            ("P:a\nC:Q1zz\n", "line 2: the field `C` is `Q1zz`"),
        ];
        for (text, wanted) in cases {
            assert_eq!(Index::parse(text.as_bytes()).unwrap_err().to_string(), wanted);
        }
        assert_eq!(Index::parse(b"P:a\n\xff").unwrap_err(), Error::NotUtf8 { line: 2 });
        assert!(Index::parse(b"\n\n").unwrap().is_empty());
    }
}
