//! The parts of a version, read from left to right.

use std::cmp::Ordering;

/// What a part is. Where two versions first differ in kind, the one whose part comes earlier here is the later version:
/// `1.0.1` is later than `1.0a`, that than `1.0_p1`, that than `1.0-r1`, that than `1.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The number that a version begins with.
    First,
    /// A number after a dot.
    Number,
    Letter,
    Suffix,
    SuffixNumber,
    Commit,
    Revision,
    /// What follows no rule; always the last part.
    Invalid,
}

/// Suffixes in their order; those before the middle come before the version without a suffix.
const SUFFIXES: [&str; 9] = ["alpha", "beta", "pre", "rc", "cvs", "svn", "git", "hg", "p"];
/// How many of them come before.
const BEFORE: usize = 4;

#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    pub kind: Kind,
    text: &'a str,
    /// Place among the suffixes.
    suffix: usize,
}

impl Token<'_> {
    /// Compares two parts at the same place of their versions.
    pub fn compare(&self, other: &Self) -> Ordering {
        if self.kind != other.kind {
            return match (self.comes_before(), other.comes_before()) {
                (true, false) => Ordering::Less,
                (false, true) => Ordering::Greater,
                _ => other.kind.cmp(&self.kind),
            };
        }
        match self.kind {
            Kind::First | Kind::SuffixNumber | Kind::Revision => by_value(self.text, other.text),
            Kind::Number if self.text.starts_with('0') || other.text.starts_with('0') => self.text.cmp(other.text),
            Kind::Number => by_value(self.text, other.text),
            Kind::Suffix => self.suffix.cmp(&other.suffix),
            Kind::Letter | Kind::Commit | Kind::Invalid => self.text.cmp(other.text),
        }
    }

    /// Compares with a version that ends before this part.
    pub fn against_the_end(&self) -> Ordering {
        if self.comes_before() { Ordering::Less } else { Ordering::Greater }
    }

    fn comes_before(&self) -> bool {
        self.kind == Kind::Suffix && self.suffix < BEFORE
    }
}

/// Compares numbers of any length.
fn by_value(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

pub(super) struct Tokens<'a> {
    rest: &'a str,
    last: Option<Kind>,
}

impl<'a> Tokens<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { rest: text, last: None }
    }

    /// Returns the next part; none at the end and after an invalid part.
    pub fn next_token(&mut self) -> Option<Token<'a>> {
        if self.last == Some(Kind::Invalid) || (self.rest.is_empty() && self.last.is_some()) {
            return None;
        }
        let whole = self.rest;
        let token = self.read().unwrap_or(Token { kind: Kind::Invalid, text: whole, suffix: 0 });
        self.last = Some(token.kind);
        Some(token)
    }

    fn read(&mut self) -> Option<Token<'a>> {
        use Kind::{Commit, First, Letter, Number, Revision, Suffix, SuffixNumber};
        let Some(last) = self.last else { return self.run(0, First, |byte| byte.is_ascii_digit()) };
        let mark = self.rest.as_bytes()[0];
        match mark {
            b'.' if last <= Number => self.run(1, Number, |byte| byte.is_ascii_digit()),
            b'a'..=b'z' if last <= Number => Some(self.take(1, 0, Letter)),
            b'_' if last <= SuffixNumber => self.suffix(),
            b'0'..=b'9' if last == Suffix => self.run(0, SuffixNumber, |byte| byte.is_ascii_digit()),
            b'~' if last < Commit => self.run(1, Commit, |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')),
            b'-' if last < Revision && self.rest.starts_with("-r") => {
                self.run(2, Revision, |byte| byte.is_ascii_digit())
            }
            _ => None,
        }
    }

    /// Takes a mark and the run of bytes after it, which must not be empty.
    fn run(&mut self, mark: usize, kind: Kind, belongs: impl Fn(u8) -> bool) -> Option<Token<'a>> {
        let after = &self.rest.as_bytes()[mark..];
        let length = after.iter().position(|&byte| !belongs(byte)).unwrap_or(after.len());
        (length > 0).then(|| self.take(mark + length, mark, kind))
    }

    fn suffix(&mut self) -> Option<Token<'a>> {
        let word = self.rest[1..].bytes().position(|byte| !byte.is_ascii_lowercase());
        let end = word.map_or(self.rest.len(), |length| 1 + length);
        let suffix = SUFFIXES.iter().position(|&suffix| suffix == &self.rest[1..end])?;
        Some(Token { suffix, ..self.take(end, 1, Kind::Suffix) })
    }

    fn take(&mut self, end: usize, from: usize, kind: Kind) -> Token<'a> {
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        Token { kind, text: &text[from..], suffix: 0 }
    }
}
