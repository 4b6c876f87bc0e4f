//! What packages say of each other: `name`, `!name`, `name>=1.2`, `name~1.2`, `name><Q1…`, `so:libc.so=1`.
//!
//! The notation is that of apk-world(5); lists are separated by blanks.

use std::cmp::Ordering;
use std::fmt;

use super::version::Version;

/// How a version must compare; any mixture that apk can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Op {
    less: bool,
    equal: bool,
    greater: bool,
    /// Whether a version that begins with the wanted one will do.
    prefix: bool,
}

/// What an atom demands beyond its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Wanted<'a> {
    Any,
    Version(Op, &'a str),
    /// `><`: the very package with this checksum.
    Checksum(&'a str),
}

/// One demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Atom<'a> {
    /// `!`: what fits must not be installed.
    pub conflict: bool,
    /// A package, or something provided, as in `so:libc.musl-x86_64.so.1`.
    pub name: &'a str,
    /// `@tag`, in the world only: a tagged repository that may be used.
    pub tag: Option<&'a str>,
    pub wanted: Wanted<'a>,
}

/// Why a text is not an atom.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a relation: they are like `name`, `!name`, `name>=1.2` or `name~1.2`")]
pub struct NotARelation(pub String);

impl Op {
    pub const EQUAL: Self = Self { less: false, equal: true, greater: false, prefix: false };

    /// Reads `=`, `<`, `<=`, `>`, `>=`, `~`, `=~`, `<~` or `>~`, whose signs may come in any order.
    fn parse(signs: &str) -> Option<Self> {
        let count = |sign| signs.bytes().filter(|&byte| byte == sign).count();
        let [less, equal, greater, prefix] = [b'<', b'=', b'>', b'~'].map(count);
        let single = [less, equal, greater, prefix].iter().all(|&count| count <= 1);
        (single && less + greater < 2).then_some(Self {
            less: less == 1,
            equal: equal == 1 || prefix == 1,
            greater: greater == 1,
            prefix: prefix == 1,
        })
    }

    /// Whether a version will do.
    pub fn accepts(self, version: Version<'_>, wanted: Version<'_>) -> bool {
        if self.prefix && version.begins_with(wanted) {
            return true;
        }
        match version.cmp(&wanted) {
            Ordering::Less => self.less,
            Ordering::Equal => self.equal,
            Ordering::Greater => self.greater,
        }
    }

    pub fn is_equal(self) -> bool {
        self == Self::EQUAL
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let equal = self.equal && !self.prefix;
        let signs = [(self.greater, ">"), (self.less, "<"), (equal, "="), (self.prefix, "~")];
        signs.iter().filter(|(there, _)| *there).try_for_each(|(_, sign)| f.write_str(sign))
    }
}

impl<'a> Atom<'a> {
    /// Reads an atom of a package: without a tag.
    pub fn parse(text: &'a str) -> Result<Self, NotARelation> {
        Self::read(text).filter(|atom| atom.tag.is_none()).ok_or_else(|| NotARelation(text.to_owned()))
    }

    /// Reads an atom of the world, where a name may carry a tag.
    pub fn parse_world(text: &'a str) -> Result<Self, NotARelation> {
        Self::read(text).ok_or_else(|| NotARelation(text.to_owned()))
    }

    fn read(text: &'a str) -> Option<Self> {
        let (conflict, rest) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        let end = rest.find(['<', '>', '=', '~']).unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        let (name, tag) = name.split_once('@').map_or((name, None), |(name, tag)| (name, Some(tag)));
        let fits = is_name(name) && tag.is_none_or(is_tag);
        let wanted = wanted(rest)?;
        fits.then_some(Self { conflict, name, tag, wanted })
    }

    /// Returns the atom that this one forbids, or itself.
    pub fn positive(self) -> Self {
        Self { conflict: false, ..self }
    }

    /// Whether something of this name will do. What has no version fits only a bare name.
    pub fn accepts(&self, version: Option<&str>) -> bool {
        match (self.wanted, version) {
            (Wanted::Any, _) => true,
            (Wanted::Version(op, wanted), Some(version)) => op.accepts(Version::raw(version), Version::raw(wanted)),
            _ => false,
        }
    }
}

/// Reads what follows a name: nothing, or an operator with a version or a checksum.
fn wanted(rest: &str) -> Option<Wanted<'_>> {
    if rest.is_empty() {
        return Some(Wanted::Any);
    }
    let end = rest.find(|sign| !"<>=~".contains(sign))?;
    let (signs, value) = rest.split_at(end);
    if signs == "><" {
        return value.parse::<super::Checksum>().is_ok().then_some(Wanted::Checksum(value));
    }
    let op = Op::parse(signs)?;
    Version::parse(value).is_ok().then_some(Wanted::Version(op, value))
}

/// Whether a text may name a package or what one provides (apk-package(5)); a leading `.` is a virtual package's.
pub fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-,[]:/".contains(&byte);
    !name.is_empty() && name.bytes().all(fits)
}

/// Whether a text may name a package that has an archive: its name becomes part of file names.
pub fn is_package_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
    name.starts_with(|first: char| first.is_ascii_alphanumeric()) && name.bytes().all(fits)
}

/// Whether a text may be a repository's tag.
pub fn is_tag(tag: &str) -> bool {
    !tag.is_empty() && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte))
}

/// Reads a list of a package.
pub fn parse(field: &str) -> Result<Vec<Atom<'_>>, NotARelation> {
    field.split_ascii_whitespace().map(Atom::parse).collect()
}

impl fmt::Display for Atom<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.conflict { "!" } else { "" }, self.name)?;
        if let Some(tag) = self.tag {
            write!(f, "@{tag}")?;
        }
        match self.wanted {
            Wanted::Any => Ok(()),
            Wanted::Version(op, version) => write!(f, "{op}{version}"),
            Wanted::Checksum(sum) => write!(f, "><{sum}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn atoms_read_as_written() {
        let texts =
            "a !a a=1.2 a<2 a>2 a>=1-r0 a<=3 a~1.2 a>~1 a<~1 so:libc.musl-x86_64.so.1 cmd:[ pc:x>=1 /bin/sh .virtual=1";
        for text in texts.split(' ') {
            assert_eq!(Atom::parse(text).map(|atom| atom.to_string()), Ok(text.to_owned()));
        }
        let sum = "a><Q12jmj7l5rSw0yVb/vlWAYkK/YBwk=";
        assert_eq!(Atom::parse_world(sum).unwrap().to_string(), sum);
        assert_eq!(Atom::parse_world("busybox@edge>=1").unwrap().tag, Some("edge"));
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in
            ["", "!", "foo=", "foo==", "foo=invalid", "a=1=2", "a><1", "<1", "a b", "a@", "a@x@y", "a=1@x", "é", "a<>1"]
        {
            assert_eq!(Atom::parse_world(bad), Err(NotARelation(bad.to_owned())), "{bad}");
        }
        assert!(Atom::parse("a@tag").is_err());
    }

    #[test]
    fn operators_accept_what_they_say() {
        let table = [
            ("a", "1110"),
            ("a=2", "0100"),
            ("a<2", "1000"),
            ("a>2", "0010"),
            ("a<=2", "1100"),
            ("a>=2", "0110"),
            ("a~2", "0101"),
            ("a>~2", "0111"),
            ("a<~2", "1101"),
        ];
        for (text, wanted) in table {
            let atom = Atom::parse(text).unwrap();
            let got: String =
                ["1", "2", "3", "2.5"].iter().map(|one| if atom.accepts(Some(one)) { '1' } else { '0' }).collect();
            assert_eq!(&got[..3], &wanted[..3], "{text}");
            if text.contains('~') {
                assert_eq!(&got[3..], &wanted[3..], "{text}");
            }
        }
        assert!(Atom::parse("a").unwrap().accepts(None) && !Atom::parse("a>0").unwrap().accepts(None));
    }
}
