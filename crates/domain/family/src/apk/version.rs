//! Alpine version numbers, `1.2.3b_rc1_p2~0fe-r4`, ordered as apk orders them; the grammar is that of apk-package(5).

use std::cmp::Ordering;
use std::fmt;

mod token;

use token::{Kind, Tokens};

/// A version as written; ordered as apk orders, by its parts from left to right.
#[derive(Clone, Copy, Debug)]
pub struct Version<'a>(&'a str);

/// Why a text is not a version.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a version: they are like `1.2.3b_rc1-r0`")]
pub struct NotAVersion(pub String);

impl<'a> Version<'a> {
    /// Wraps a text of an index without looking at it; comparing never fails.
    pub const fn raw(text: &'a str) -> Self {
        Self(text)
    }

    /// Checks a text against the grammar.
    pub fn parse(text: &'a str) -> Result<Self, NotAVersion> {
        let mut tokens = Tokens::new(text);
        let kinds = std::iter::from_fn(|| tokens.next_token().map(|token| token.kind));
        match kinds.last() {
            Some(kind) if kind != Kind::Invalid => Ok(Self(text)),
            _ => Err(NotAVersion(text.to_owned())),
        }
    }

    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// Whether this version begins with all parts of `prefix`, as `3.6.1_rc1` does with `3.6`, but `3.60` does not.
    pub fn begins_with(self, prefix: Version<'_>) -> bool {
        let (mut own, mut wanted) = (Tokens::new(self.0), Tokens::new(prefix.0));
        while let Some(part) = wanted.next_token() {
            let same = own.next_token().is_some_and(|token| token.compare(&part).is_eq());
            if !same {
                return false;
            }
        }
        true
    }
}

impl fmt::Display for Version<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Ord for Version<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.0 == other.0 {
            return Ordering::Equal;
        }
        let (mut a, mut b) = (Tokens::new(self.0), Tokens::new(other.0));
        loop {
            let order = match (a.next_token(), b.next_token()) {
                (None, None) => return Ordering::Equal,
                (Some(a), Some(b)) => a.compare(&b),
                (Some(more), None) => more.against_the_end(),
                (None, Some(more)) => more.against_the_end().reverse(),
            };
            if order.is_ne() {
                return order;
            }
        }
    }
}

impl PartialOrd for Version<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_says_what_is_a_version() {
        let good =
            "1.2 0.1_pre2 0.1_pre2~1234abcd 0.1_p1_pre2 0.1_alpha1_pre2 0.1_git20240101_pre1 1b-r3 1.0~ab-r0 007";
        good.split(' ').for_each(|text| assert!(Version::parse(text).is_ok(), "{text}"));
        let bad = "0.1bc 0.1bc1 0.1a1 0.1a.1 0.1_pre2~ 0.1_pre2~1234xbcd 0.1_pre2~1234abcd_pre1 0.1_pre2-r1~1234abcd \
                   0.1_foobar 0.1_foobar1 0.1-pre1.1 0.1-r 0.1-r2_pre1 0.1-r2_p3_pre1 0.1-r2-r3 0.1-r2.1 .1 a _pre1 -r1 0.1_ \
                   0.1_-r0 0.1__alpha 0.1_1_alpha 1. 1..2 1.0A";
        bad.split_ascii_whitespace().for_each(|text| assert!(Version::parse(text).is_err(), "{text}"));
        assert!(Version::parse("").is_err());
    }

    #[test]
    fn a_prefix_is_one_of_whole_parts() {
        for version in ["3.6", "3.6.0", "3.6.9", "3.6_pre1", "3.6.0_pre1", "3.6-r1", "3.6a", "3.6~ab"] {
            assert!(Version::raw(version).begins_with(Version::raw("3.6")), "{version}");
        }
        for (version, prefix) in
            [("3.6.0", "3.8"), ("3.8", "3.8.1"), ("3.8.0.1", "3.8.1"), ("3.60", "3.6"), ("3", "3.6")]
        {
            assert!(!Version::raw(version).begins_with(Version::raw(prefix)), "{version} {prefix}");
        }
    }
}
