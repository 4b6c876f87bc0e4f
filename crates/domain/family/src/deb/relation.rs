//! Relations between packages: `a (>= 1) | b:any, c [amd64]`.

use std::cmp::Ordering;

use super::version::Version;

/// How a version must compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    Earlier,
    EarlierOrEqual,
    Equal,
    LaterOrEqual,
    Later,
}

impl Op {
    /// Whether a version that compares as `order` to the wanted one will do.
    pub fn accepts(self, order: Ordering) -> bool {
        match self {
            Self::Earlier => order.is_lt(),
            Self::EarlierOrEqual => order.is_le(),
            Self::Equal => order.is_eq(),
            Self::LaterOrEqual => order.is_ge(),
            Self::Later => order.is_gt(),
        }
    }

    /// Returns the operator as written in relations.
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Earlier => "<<",
            Self::EarlierOrEqual => "<=",
            Self::Equal => "=",
            Self::LaterOrEqual => ">=",
            Self::Later => ">>",
        }
    }

    /// Splits the operator off; `<` and `>` are the old spelling of `<=` and `>=`.
    fn split(text: &str) -> Option<(Self, &str)> {
        let table = [
            ("<<", Self::Earlier),
            ("<=", Self::EarlierOrEqual),
            (">>", Self::Later),
            (">=", Self::LaterOrEqual),
            ("=", Self::Equal),
            ("<", Self::EarlierOrEqual),
            (">", Self::LaterOrEqual),
        ];
        table.into_iter().find_map(|(sign, op)| Some((op, text.strip_prefix(sign)?.trim())))
    }
}

/// One named package, maybe with a version and an architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Atom<'a> {
    pub name: &'a str,
    /// `any`, `native` or an architecture, after the colon.
    pub qualifier: Option<&'a str>,
    pub version: Option<(Op, &'a str)>,
}

impl Atom<'_> {
    /// Whether a version will do.
    pub fn accepts(&self, version: &str) -> bool {
        self.version.is_none_or(|(op, wanted)| op.accepts(Version::raw(version).cmp(&Version::raw(wanted))))
    }
}

impl std::fmt::Display for Atom<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)?;
        if let Some(qualifier) = self.qualifier {
            write!(f, ":{qualifier}")?;
        }
        match self.version {
            Some((op, version)) => write!(f, " ({} {version})", op.sign()),
            None => Ok(()),
        }
    }
}

/// Why a relation field cannot be read.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a relation")]
pub struct NotARelation(pub String);

/// Parses one field into its alternatives, comma by comma; what is restricted to other architectures than `arch` is left out.
pub fn parse<'a>(field: &'a str, arch: &str) -> Result<Vec<Vec<Atom<'a>>>, NotARelation> {
    let mut groups = Vec::new();
    each(field, arch, |first, atom| {
        if first {
            groups.push(Vec::with_capacity(1));
        }
        groups.last_mut().expect("a first atom comes first").push(atom);
    })?;
    Ok(groups)
}

/// Calls `tell(begins_a_group, atom)` for every atom of a field.
pub fn each<'a>(field: &'a str, arch: &str, mut tell: impl FnMut(bool, Atom<'a>)) -> Result<(), NotARelation> {
    for group in field.split(',') {
        let mut first = true;
        for text in group.split('|') {
            let text = text.trim();
            if text.is_empty() && group.trim().is_empty() {
                continue;
            }
            let (atom, applies) = atom(text, arch).ok_or_else(|| NotARelation(text.to_owned()))?;
            if applies {
                tell(first, atom);
                first = false;
            }
        }
    }
    Ok(())
}

/// Parses one atom and whether it applies on `arch`.
fn atom<'a>(text: &'a str, arch: &str) -> Option<(Atom<'a>, bool)> {
    let end = text.find(|c: char| c.is_ascii_whitespace() || "([<".contains(c)).unwrap_or(text.len());
    let (name, mut rest) = text.split_at(end);
    let (name, qualifier) = name.split_once(':').map_or((name, None), |(name, arch)| (name, Some(arch)));
    let wrong = |c: char| !(c.is_ascii_alphanumeric() || "+-._".contains(c));
    if name.is_empty() || name.contains(wrong) || qualifier == Some("") {
        return None;
    }
    let (mut version, mut applies) = (None, true);
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return Some((Atom { name, qualifier, version }, applies));
        }
        let (open, close) = match rest.as_bytes()[0] {
            b'(' => (b'(', b')'),
            b'[' => (b'[', b']'),
            b'<' => (b'<', b'>'),
            _ => return None,
        };
        let end = memchr::memchr(close, rest.as_bytes())?;
        let inner = rest[1..end].trim();
        match open {
            b'(' => version = Some(Op::split(inner).filter(|(_, wanted)| !wanted.is_empty())?),
            b'[' => applies &= on_arch(inner, arch),
            _ => applies &= outside_build_profiles(inner),
        }
        rest = &rest[end + 1..];
    }
}

/// Whether `[amd64 !i386 linux-any]` covers an architecture.
fn on_arch(list: &str, arch: &str) -> bool {
    let matches = |pattern: &str| {
        matches!(pattern, "any" | "linux-any") || pattern == arch || pattern.strip_prefix("any-") == Some(arch)
    };
    let negative = list.trim_start().starts_with('!');
    let hit = list.split_ascii_whitespace().any(|pattern| matches(pattern.trim_start_matches('!')));
    hit != negative
}

/// Whether `<!nocheck>` holds where no build profile is on.
fn outside_build_profiles(list: &str) -> bool {
    list.split_ascii_whitespace().all(|profile| profile.starts_with('!'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_alternatives_versions_and_restrictions() {
        let groups =
            parse("a (>= 1:2~), b:any|c (<<3) ,\n d [i386], e [!i386], f <!nocheck>, g [amd64] (= 1),", "amd64")
                .unwrap();
        let text: Vec<String> =
            groups.iter().map(|group| group.iter().map(Atom::to_string).collect::<Vec<_>>().join("|")).collect();
        assert_eq!(text, ["a (>= 1:2~)", "b:any|c (<< 3)", "e", "f", "g (= 1)"]);
    }

    #[test]
    fn refuses_nonsense() {
        for bad in ["a (", "a (>= )", "a ()", "(>= 1)", "a b", "a || b", "a:", "a (1)", "a)"] {
            assert!(parse(bad, "amd64").is_err(), "{bad}");
        }
        assert_eq!(parse("", "amd64"), Ok(vec![]));
    }

    #[test]
    fn operators_accept_what_they_say() {
        let table = [("<<", [1, 0, 0]), ("<=", [1, 1, 0]), ("=", [0, 1, 0]), (">=", [0, 1, 1]), (">>", [0, 0, 1])];
        for (sign, wanted) in table {
            let text = format!("a ({sign} 2)");
            let groups = parse(&text, "amd64").unwrap();
            let got = ["1", "2", "3"].map(|version| u8::from(groups[0][0].accepts(version)));
            assert_eq!(got, wanted, "{sign}");
        }
    }
}
