//! `Packages` indexes: one pass finds where every stanza lies; fields are read from the bytes when asked for.

use std::sync::Arc;

use kiln_model::{Digest, Fault};
use memchr::memchr;

use super::deb822;

mod scan;

pub(super) use scan::{Head, MultiArch, Span};

/// A package list, kept as the bytes it came as.
#[derive(Clone)]
pub struct Index {
    text: Arc<String>,
    heads: Arc<[Head]>,
}

/// Why a package list cannot be used.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error(transparent)]
    Text(#[from] deb822::Error),
    #[error("a package list of more than 4 GiB")]
    TooLarge,
    #[error("line {line}: a stanza without `{field}`")]
    Missing { line: usize, field: &'static str },
    #[error("package `{package}`: `{field}` is `{value}`")]
    Value { package: String, field: &'static str, value: String },
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Fault::upstream(format!("package list: {error}")).hint("the mirror is damaged; try another one")
    }
}

impl Index {
    /// Finds the stanzas of a package list and what every search needs of them; the rest is read when asked for.
    pub fn parse(bytes: impl Into<Vec<u8>>) -> Result<Self, Error> {
        let text = String::from_utf8(bytes.into());
        let mut text = text.map_err(|error| deb822::text(error.as_bytes()).expect_err("it is not UTF-8"))?;
        if memchr(b'\r', text.as_bytes()).is_some() {
            text = text.replace("\r\n", "\n");
        }
        let heads = scan::heads(&text)?.into();
        Ok(Self { text: Arc::new(text), heads })
    }

    /// Returns the number of stanzas.
    pub fn len(&self) -> usize {
        self.heads.len()
    }

    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// Returns the stanza at a position below [`Index::len`].
    pub fn stanza(&self, at: usize) -> Stanza<'_> {
        Stanza(self.slice(self.heads[at].stanza))
    }

    pub fn stanzas(&self) -> impl ExactSizeIterator<Item = Stanza<'_>> {
        self.heads.iter().map(|head| Stanza(self.slice(head.stanza)))
    }

    pub(super) fn heads(&self) -> &[Head] {
        &self.heads
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn slice(&self, span: Span) -> &str {
        &self.text[span.range()]
    }

    /// Returns where a text that was sliced from this list lies in it.
    pub(super) fn span_of(&self, part: &str) -> Span {
        let start = part.as_ptr() as usize - self.text.as_ptr() as usize;
        Span::new(start..start + part.len())
    }
}

/// One package of a list.
#[derive(Clone, Copy, Debug)]
pub struct Stanza<'a>(&'a str);

impl<'a> Stanza<'a> {
    /// Wraps the text of one stanza, as of a `.deb`'s `control` file.
    pub fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// Returns the stanza as it is in the list.
    pub fn text(self) -> &'a str {
        self.0
    }

    /// Returns a field's value, without blanks around it; folded lines are kept as they are.
    pub fn get(self, name: &str) -> Option<&'a str> {
        let (text, bytes) = (self.0, self.0.as_bytes());
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            if rest.len() > name.len()
                && rest[name.len()] == b':'
                && rest[..name.len()].eq_ignore_ascii_case(name.as_bytes())
            {
                let from = at + name.len() + 1;
                return Some(text[from..value_end(bytes, from)].trim());
            }
            at += memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
        }
        None
    }

    /// Returns every field with its value, in order.
    pub fn fields(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let (text, bytes) = (self.0, self.0.as_bytes());
        let mut at = 0;
        std::iter::from_fn(move || {
            while at < bytes.len() {
                let end = value_end(bytes, at);
                let line = &text[at..end];
                at = end + 1;
                if let Some((name, value)) = line.split_once(':')
                    && !line.starts_with(['#', ' ', '\t'])
                {
                    return Some((name, value.trim()));
                }
            }
            None
        })
    }

    pub fn name(self) -> &'a str {
        self.get("Package").unwrap_or_default()
    }

    pub fn version(self) -> &'a str {
        self.get("Version").unwrap_or_default()
    }

    pub fn architecture(self) -> &'a str {
        self.get("Architecture").unwrap_or_default()
    }

    pub fn is_essential(self) -> bool {
        self.get("Essential").is_some_and(|value| value.eq_ignore_ascii_case("yes"))
    }

    /// Returns the pool path below the repository's URI.
    pub fn filename(self) -> Result<&'a str, Error> {
        let path = self.required("Filename")?;
        let climbs = path.starts_with('/') || path.split('/').any(|part| part == "..");
        if climbs { Err(self.wrong("Filename", path)) } else { Ok(path) }
    }

    /// Returns the archive's length in bytes.
    pub fn size(self) -> Result<u64, Error> {
        self.parsed("Size")
    }

    /// Returns the bytes its files take unpacked, as whoever packed it estimated them.
    pub fn installed(self) -> Option<u64> {
        self.get("Installed-Size")?.parse::<u64>().ok()?.checked_mul(1024)
    }

    pub fn sha256(self) -> Result<Digest, Error> {
        self.parsed("SHA256")
    }

    /// Returns the source package's name and version.
    pub fn source(self) -> (&'a str, &'a str) {
        let source = self.get("Source").unwrap_or(self.name());
        match source.split_once('(') {
            Some((name, version)) => (name.trim(), version.trim_end_matches(')').trim()),
            None => (source, self.version()),
        }
    }

    /// Returns the names of the tasks (as in `task^`) this package belongs to.
    pub fn tasks(self) -> impl Iterator<Item = &'a str> {
        self.get("Task").unwrap_or_default().split([',', '\n']).map(str::trim).filter(|task| !task.is_empty())
    }

    fn required(self, field: &'static str) -> Result<&'a str, Error> {
        self.get(field).ok_or_else(|| self.wrong(field, "missing"))
    }

    fn parsed<T: std::str::FromStr>(self, field: &'static str) -> Result<T, Error> {
        let value = self.required(field)?;
        value.parse().map_err(|_| self.wrong(field, value))
    }

    fn wrong(self, field: &'static str, value: &str) -> Error {
        Error::Value { package: self.name().to_owned(), field, value: value.to_owned() }
    }
}

/// Returns where the field that begins before `from` ends: at the last line feed before the next field.
fn value_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    loop {
        match memchr(b'\n', &bytes[at..]) {
            None => return bytes.len(),
            Some(end) => match bytes.get(at + end + 1) {
                Some(b' ' | b'\t') => at += end + 1,
                _ => return at + end,
            },
        }
    }
}

/// Feeds arbitrary bytes to the parser; for fuzzing, must never panic.
pub fn fuzz(bytes: &[u8]) {
    if let Ok(index) = Index::parse(bytes) {
        for stanza in index.stanzas() {
            stanza.fields().for_each(drop);
            let _ = (stanza.source(), stanza.size(), stanza.sha256(), stanza.tasks().count());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\n\nPackage: a\nVersion: 1\nArchitecture: all\nDepends: b,\n c\nsize: 7\n\n\n\nPackage: b\nSource: bb (2)\nVersion: 3\nArchitecture: amd64\nTask: x, y";

    #[test]
    fn finds_stanzas_and_fields() {
        let index = Index::parse(LIST).unwrap();
        let names: Vec<_> = index.stanzas().map(Stanza::name).collect();
        assert_eq!(names, ["a", "b"]);
        let (a, b) = (index.stanza(0), index.stanza(1));
        assert_eq!(a.get("Depends"), Some("b,\n c"));
        assert_eq!(a.size(), Ok(7));
        assert_eq!(a.source(), ("a", "1"));
        assert_eq!(b.source(), ("bb", "2"));
        assert_eq!(b.tasks().collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(b.get("Depend"), None);
        assert_eq!(
            a.fields().map(|(name, _)| name).collect::<Vec<_>>(),
            ["Package", "Version", "Architecture", "Depends", "size"]
        );
        assert_eq!(b.filename(), Err(Error::Value { package: "b".into(), field: "Filename", value: "missing".into() }));
    }

    #[test]
    fn damage_has_a_line() {
        let missing = Index::parse("Package: a\nVersion: 1\nArchitecture: all\n\nPackage: b\nVersion: 1\n");
        assert_eq!(missing.err(), Some(Error::Missing { line: 5, field: "Architecture" }));
        assert_eq!(Index::parse(b"Package: a\n\xff").err(), Some(Error::Text(deb822::Error::NotUtf8 { line: 2 })));
        assert!(Index::parse("").unwrap().is_empty());
        let climbing = Index::parse("Package: ../a\nVersion: 1\nArchitecture: all\n");
        assert_eq!(
            climbing.err().map(|error| error.to_string()).as_deref(),
            Some("package `../a`: `Package` is `../a`")
        );
        let stanza = Stanza::new("Package: a\nFilename: pool/../../x\n");
        assert!(stanza.filename().is_err());
    }

    #[test]
    fn crlf_lists_read_the_same() {
        let index = Index::parse(LIST.replace('\n', "\r\n")).unwrap();
        assert_eq!(index.stanza(0).get("Depends"), Some("b,\n c"));
    }
}
