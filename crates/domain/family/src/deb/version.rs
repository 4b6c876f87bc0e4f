//! Debian version numbers: `[epoch:]upstream[-revision]`, ordered as `dpkg --compare-versions` orders them.

use std::cmp::Ordering;
use std::fmt;

/// A version as written; ordered as dpkg orders, so `1.0` equals `0:1.0-0`.
#[derive(Clone, Copy, Debug)]
pub struct Version<'a>(&'a str);

/// Why a text is not a version.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("a version cannot be empty")]
    Empty,
    #[error("the epoch of version `{0}` is not a number")]
    Epoch(String),
    #[error("version `{0}` has nothing before its revision")]
    NoUpstream(String),
    #[error("version `{0}` ends in `-`")]
    NoRevision(String),
    #[error("version `{0}` does not start with a digit")]
    Start(String),
    #[error("version `{version}` holds `{letter}`")]
    Letter { version: String, letter: char },
}

impl<'a> Version<'a> {
    /// Wraps a text of an archive index without looking at it; comparing never fails.
    pub const fn raw(text: &'a str) -> Self {
        Self(text)
    }

    /// Checks a text as dpkg does.
    pub fn parse(text: &'a str) -> Result<Self, Error> {
        let owned = || text.to_owned();
        if text.is_empty() {
            return Err(Error::Empty);
        }
        let (epoch, rest) = text.split_once(':').unwrap_or(("0", text));
        if epoch.is_empty() || !epoch.bytes().all(|b| b.is_ascii_digit()) || epoch.parse::<i32>().is_err() {
            return Err(Error::Epoch(owned()));
        }
        let (upstream, revision) = rest.rsplit_once('-').map_or((rest, None), |(u, r)| (u, Some(r)));
        match upstream.bytes().next() {
            None => return Err(Error::NoUpstream(owned())),
            Some(first) if !first.is_ascii_digit() => return Err(Error::Start(owned())),
            Some(_) => {}
        }
        if revision == Some("") {
            return Err(Error::NoRevision(owned()));
        }
        let in_upstream = |c: char| c.is_ascii_alphanumeric() || "-+.~:".contains(c);
        let in_revision = |c: char| c.is_ascii_alphanumeric() || "+.~".contains(c);
        let wrong = upstream
            .chars()
            .find(|&c| !in_upstream(c))
            .or_else(|| revision.and_then(|revision| revision.chars().find(|&c| !in_revision(c))));
        match wrong {
            Some(letter) => Err(Error::Letter { version: owned(), letter }),
            None => Ok(Self(text)),
        }
    }

    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// Returns the part that upstream chose.
    pub fn upstream(self) -> &'a str {
        self.parts().1
    }

    /// Returns epoch, upstream version and revision; what is missing is empty.
    fn parts(self) -> (&'a str, &'a str, &'a str) {
        let (epoch, rest) = self.0.split_once(':').unwrap_or(("", self.0));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        (epoch, upstream, revision)
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
        let (a, b) = (self.parts(), other.parts());
        compare_digits(a.0.as_bytes(), b.0.as_bytes())
            .then_with(|| compare_part(a.1.as_bytes(), b.1.as_bytes()))
            .then_with(|| compare_part(a.2.as_bytes(), b.2.as_bytes()))
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

/// Compares upstream versions or revisions: runs of non-digits and of digits, in turn.
fn compare_part(mut a: &[u8], mut b: &[u8]) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let (words_a, words_b) =
            (split_run(&mut a, |byte| !byte.is_ascii_digit()), split_run(&mut b, |byte| !byte.is_ascii_digit()));
        let by_words = compare_words(words_a, words_b);
        if by_words != Ordering::Equal {
            return by_words;
        }
        let digits =
            compare_digits(split_run(&mut a, |b| b.is_ascii_digit()), split_run(&mut b, |b| b.is_ascii_digit()));
        if digits != Ordering::Equal {
            return digits;
        }
    }
    Ordering::Equal
}

fn split_run<'a>(text: &mut &'a [u8], belongs: impl Fn(u8) -> bool) -> &'a [u8] {
    let end = text.iter().position(|&byte| !belongs(byte)).unwrap_or(text.len());
    let (run, rest) = text.split_at(end);
    *text = rest;
    run
}

/// Compares non-digits: `~` before the end, the end before letters, letters before the rest.
fn compare_words(a: &[u8], b: &[u8]) -> Ordering {
    let weight = |byte: Option<&u8>| match byte {
        Some(b'~') => -1,
        None => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    };
    (0..a.len().max(b.len()))
        .map(|at| weight(a.get(at)).cmp(&weight(b.get(at))))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// Compares numbers of any length; no digits count as zero.
fn compare_digits(a: &[u8], b: &[u8]) -> Ordering {
    let significant = |digits: &[u8]| digits.iter().position(|&d| d != b'0').unwrap_or(digits.len());
    let (a, b) = (&a[significant(a)..], &b[significant(b)..]);
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_the_cases_of_the_policy_manual() {
        let rising = [
            "0~~",
            "0~~a",
            "0~",
            "0",
            "0a",
            "0+",
            "1.0~beta1~svc1245",
            "1.0~beta1",
            "1.0",
            "1.0-0.1",
            "1.0-1~bpo1",
            "1.0-1",
            "1.0-1+b1",
            "1.0+dfsg-1",
            "1.0.1-1",
            "1.2a",
            "1.2.3",
            "1.10",
            "1:0.1",
            "10:0",
        ];
        for (at, a) in rising.iter().enumerate() {
            for (bt, b) in rising.iter().enumerate() {
                assert_eq!(Version::raw(a).cmp(&Version::raw(b)), at.cmp(&bt), "{a} {b}");
            }
        }
    }

    #[test]
    fn equal_though_written_differently() {
        for (a, b) in
            [("1.0", "0:1.0"), ("1.0", "1.0-0"), ("1.00", "1.0"), ("1.0-01", "1.0-1"), ("1.", "1.0"), ("001", "1")]
        {
            assert_eq!(Version::raw(a), Version::raw(b));
        }
    }

    #[test]
    fn parse_refuses_what_dpkg_refuses() {
        for bad in ["", "a:1", ":1", "1:", "-1", "1-", "a", "1_2", "1.0-a:b", "99999999999:1", "1 2", "1:a"] {
            assert!(Version::parse(bad).is_err(), "{bad}");
        }
        for good in ["1", "1:2-3-4", "1.0~rc1+dfsg-1~bpo12+1", "0:1.2:3-1"] {
            assert!(Version::parse(good).is_ok(), "{good}");
        }
    }
}
