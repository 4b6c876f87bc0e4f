//! The control format: `Name: value` fields in stanzas, parsed without copying.
//!
//! Lenient where archives are (CRLF, comments, several blank lines), strict where silence would hide damage:
//! a line that is neither field, continuation, comment nor blank is an error with its number.

use std::borrow::Cow;

use memchr::memchr;

/// One stanza: its fields in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paragraph<'a> {
    pub fields: Vec<Field<'a>>,
}

/// One field; `value` keeps the line breaks and leading blanks of folded lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    pub name: &'a str,
    pub value: &'a str,
    /// Line number of the name, counted from 1.
    pub line: usize,
}

/// Why a text is not in the control format.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("line {line}: not UTF-8")]
    NotUtf8 { line: usize },
    #[error("line {line}: `{text}` is neither a field nor a continuation")]
    NotAField { line: usize, text: String },
    #[error("line {line}: a continuation without a field before it")]
    LoneContinuation { line: usize },
    #[error("line {line}: field `{name}` appears twice")]
    Twice { line: usize, name: String },
    #[error("expected one stanza, found {found}")]
    NotOne { found: usize },
}

impl<'a> Paragraph<'a> {
    /// Returns the value of a field, without blanks around it; names compare without case.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value.trim())
    }
}

impl<'a> Field<'a> {
    /// Returns the value's lines, trimmed, without empty ones and comments.
    pub fn lines(&self) -> impl Iterator<Item = &'a str> {
        self.value.lines().filter(|line| !line.starts_with('#')).map(str::trim).filter(|line| !line.is_empty())
    }

    /// Returns the value with its folds joined by one blank.
    pub fn unfolded(&self) -> Cow<'a, str> {
        if self.value.contains('\n') {
            Cow::Owned(self.lines().collect::<Vec<_>>().join(" "))
        } else {
            Cow::Borrowed(self.value.trim())
        }
    }
}

/// Reads bytes as UTF-8 text; a byte that is not has its line named.
pub fn text(bytes: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(bytes).map_err(|error| {
        let line = memchr::memchr_iter(b'\n', &bytes[..error.valid_up_to()]).count() + 1;
        Error::NotUtf8 { line }
    })
}

/// Parses every stanza of a text.
pub fn parse(text: &str) -> Result<Vec<Paragraph<'_>>, Error> {
    let mut paragraphs = Vec::new();
    let mut current = Paragraph::default();
    for (line, start, end) in Lines::new(text) {
        let content = text[start..end].strip_suffix('\r').unwrap_or(&text[start..end]);
        match content.as_bytes().first() {
            Some(b'#') => {}
            _ if content.trim().is_empty() => {
                if !current.fields.is_empty() {
                    paragraphs.push(std::mem::take(&mut current));
                }
            }
            Some(b' ' | b'\t') => {
                let field = current.fields.last_mut().ok_or(Error::LoneContinuation { line })?;
                let from = offset(text, field.value);
                field.value = &text[from..start + content.len()];
            }
            _ => push_field(&mut current, content, line)?,
        }
    }
    if !current.fields.is_empty() {
        paragraphs.push(current);
    }
    Ok(paragraphs)
}

/// Parses a text that must hold exactly one stanza.
pub fn parse_one(text: &str) -> Result<Paragraph<'_>, Error> {
    let mut paragraphs = parse(text)?;
    match paragraphs.len() {
        1 => Ok(paragraphs.remove(0)),
        found => Err(Error::NotOne { found }),
    }
}

fn push_field<'a>(paragraph: &mut Paragraph<'a>, content: &'a str, line: usize) -> Result<(), Error> {
    let not_a_field = || Error::NotAField { line, text: content.chars().take(60).collect() };
    let (name, value) = content.split_once(':').ok_or_else(not_a_field)?;
    if name.is_empty() || name.starts_with('-') || !name.bytes().all(|byte| (33..=126).contains(&byte)) {
        return Err(not_a_field());
    }
    if paragraph.fields.iter().any(|field| field.name.eq_ignore_ascii_case(name)) {
        return Err(Error::Twice { line, name: name.to_owned() });
    }
    paragraph.fields.push(Field { name, value, line });
    Ok(())
}

/// Returns where `part`, a slice of `whole`, begins in it.
fn offset(whole: &str, part: &str) -> usize {
    part.as_ptr() as usize - whole.as_ptr() as usize
}

/// Lines as (number from 1, start, end without the line feed).
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    line: usize,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        Self { bytes: text.as_bytes(), at: 0, line: 0 }
    }
}

impl Iterator for Lines<'_> {
    type Item = (usize, usize, usize);

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.at;
        if start >= self.bytes.len() {
            return None;
        }
        let end = memchr(b'\n', &self.bytes[start..]).map_or(self.bytes.len(), |found| start + found);
        self.at = end + 1;
        self.line += 1;
        Some((self.line, start, end))
    }
}

/// Feeds arbitrary bytes to the parser; for fuzzing, must never panic.
pub fn fuzz(bytes: &[u8]) {
    if let Ok(text) = text(bytes)
        && let Ok(paragraphs) = parse(text)
    {
        paragraphs.iter().flat_map(|paragraph| &paragraph.fields).for_each(|field| drop(field.unfolded()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stanzas_folds_comments_and_crlf() {
        let text = "# head\nPackage: a\r\nDescription: short\r\n long\r\n .\n# inside\n more\n\n\n \nPackage:b\n";
        let paragraphs = parse(text).unwrap();
        assert_eq!(paragraphs.len(), 2);
        assert_eq!(paragraphs[0].get("package"), Some("a"));
        assert_eq!(paragraphs[0].fields[1].unfolded(), "short long . more");
        assert_eq!(paragraphs[0].fields[1].line, 3);
        assert_eq!(paragraphs[1].get("Package"), Some("b"));
    }

    #[test]
    fn errors_name_the_line() {
        let cases = [
            ("A: 1\nnonsense\n", Error::NotAField { line: 2, text: "nonsense".into() }),
            (" x\n", Error::LoneContinuation { line: 1 }),
            ("A: 1\n\n x\n", Error::LoneContinuation { line: 3 }),
            ("A: 1\na: 2\n", Error::Twice { line: 2, name: "a".into() }),
            (": 1\n", Error::NotAField { line: 1, text: ": 1".into() }),
        ];
        for (given, wanted) in cases {
            assert_eq!(parse(given), Err(wanted), "{given:?}");
        }
        assert_eq!(super::text(b"a\nb\xff"), Err(Error::NotUtf8 { line: 2 }));
        assert_eq!(parse_one("A: 1\n\nB: 2\n"), Err(Error::NotOne { found: 2 }));
    }
}
