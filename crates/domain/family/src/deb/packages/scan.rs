//! The one pass over a package list: line by line, looking only at the fields that every search needs.

use std::ops::Range;

use memchr::memchr;

use super::Error;

/// Where a text lies in its list; empty where a field is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    pub(crate) fn new(range: Range<usize>) -> Self {
        Self { start: range.start as u32, end: range.end as u32 }
    }

    pub(crate) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    pub(crate) fn start(self) -> usize {
        self.start as usize
    }

    pub(crate) fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// How a package behaves beside its siblings of other architectures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum MultiArch {
    #[default]
    No,
    Same,
    Foreign,
    Allowed,
}

/// What every search needs of a stanza.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Head {
    pub stanza: Span,
    pub name: Span,
    pub version: Span,
    pub architecture: Span,
    pub provides: Span,
    pub multi_arch: MultiArch,
    /// 1 required, 2 important, 3 standard, 4 optional, 5 extra; 0 none.
    pub priority: u8,
    pub essential: bool,
    /// `Protected: yes`, or `Important: yes` as it was called first.
    pub protected: bool,
}

/// Finds the stanzas: what lies between blank lines and holds more than comments.
pub(super) fn heads(text: &str) -> Result<Vec<Head>, Error> {
    u32::try_from(text.len()).map_err(|_| Error::TooLarge)?;
    let bytes = text.as_bytes();
    let mut heads = Vec::with_capacity(text.len() / 800);
    let (mut head, mut from, mut fields, mut at) = (Head::default(), 0, 0, 0);
    while at < bytes.len() {
        let end = memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |found| at + found);
        match bytes[at] {
            b'\n' => {
                if fields > 0 {
                    finish(text, &mut heads, &mut head, from..at)?;
                }
                (from, fields) = (end + 1, 0);
            }
            b' ' | b'\t' | b'#' => {}
            first => {
                fields += 1;
                let end = if first == b'P' || first == b'p' { folded_end(bytes, end) } else { end };
                field(&mut head, text, at..end);
            }
        }
        at = end + 1;
    }
    if fields > 0 {
        finish(text, &mut heads, &mut head, from..bytes.len())?;
    }
    Ok(heads)
}

fn finish(text: &str, heads: &mut Vec<Head>, head: &mut Head, stanza: Range<usize>) -> Result<(), Error> {
    let wanted = [("Package", head.name), ("Version", head.version), ("Architecture", head.architecture)];
    if let Some((field, _)) = wanted.into_iter().find(|(_, span)| span.is_empty()) {
        return Err(Error::Missing { line: line(text, stanza.start), field });
    }
    check_name(&text[head.name.range()])?;
    head.stanza = Span::new(stanza);
    heads.push(std::mem::take(head));
    Ok(())
}

/// A package's name becomes part of file names.
fn check_name(name: &str) -> Result<(), Error> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte);
    if name.as_bytes()[0].is_ascii_alphanumeric() && name.bytes().all(fits) {
        return Ok(());
    }
    Err(Error::Value { package: name.to_owned(), field: "Package", value: name.to_owned() })
}

/// Returns where a field whose first line ends at `end` ends with its folded lines.
fn folded_end(bytes: &[u8], mut end: usize) -> usize {
    while matches!(bytes.get(end + 1), Some(b' ' | b'\t')) {
        end = memchr(b'\n', &bytes[end + 1..]).map_or(bytes.len(), |found| end + 1 + found);
    }
    end
}

/// Takes a field into the head if it is one of the few.
fn field(head: &mut Head, text: &str, line: Range<usize>) {
    let bytes = &text.as_bytes()[line.clone()];
    let value = |name: &str| {
        let hit = bytes.len() > name.len()
            && bytes[name.len()] == b':'
            && bytes[..name.len()].eq_ignore_ascii_case(name.as_bytes());
        hit.then(|| trimmed(text, line.start + name.len() + 1..line.end))
    };
    let word = |name: &str| value(name).map(|span| &text[span.range()]);
    match bytes[0].to_ascii_lowercase() {
        b'p' => {
            if let Some(span) = value("Package") {
                first(&mut head.name, span);
            } else if let Some(span) = value("Provides") {
                first(&mut head.provides, span);
            } else if let Some(word) = word("Priority") {
                head.priority = priority(word);
            } else if let Some(word) = word("Protected") {
                head.protected |= word.eq_ignore_ascii_case("yes");
            }
        }
        b'v' => first(&mut head.version, value("Version").unwrap_or_default()),
        b'a' => first(&mut head.architecture, value("Architecture").unwrap_or_default()),
        b'e' => head.essential |= word("Essential").is_some_and(|word| word.eq_ignore_ascii_case("yes")),
        b'i' => head.protected |= word("Important").is_some_and(|word| word.eq_ignore_ascii_case("yes")),
        b'm' => head.multi_arch = word("Multi-Arch").map_or(head.multi_arch, multi_arch),
        _ => {}
    }
}

/// A field that is there twice counts the first time, as for every reader of the stanza.
fn first(field: &mut Span, span: Span) {
    if field.is_empty() {
        *field = span;
    }
}

fn trimmed(text: &str, range: Range<usize>) -> Span {
    let value = &text[range.clone()];
    let start = range.start + (value.len() - value.trim_start().len());
    Span::new(start..start + value.trim().len())
}

fn priority(word: &str) -> u8 {
    let names = ["required", "important", "standard", "optional", "extra"];
    names.iter().position(|name| name.eq_ignore_ascii_case(word)).map_or(5, |at| at as u8 + 1)
}

fn multi_arch(word: &str) -> MultiArch {
    match word {
        "same" => MultiArch::Same,
        "foreign" => MultiArch::Foreign,
        "allowed" => MultiArch::Allowed,
        _ => MultiArch::No,
    }
}

/// Returns the line number, counted from 1, of a position.
fn line(text: &str, at: usize) -> usize {
    memchr::memchr_iter(b'\n', &text.as_bytes()[..at]).count() + 1
}
