//! `SHA256SUMS`: one line for every file of a folder, as `sha256sum --check` reads it.

use std::collections::BTreeMap;
use std::fmt;

use kiln_model::Digest;

/// The file's name in every folder.
pub const NAME: &str = "SHA256SUMS";

/// Digests by the names of files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums(BTreeMap<String, Digest>);

impl Sums {
    /// Takes what is such a line; folders of artifacts have nothing else in it.
    pub fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let (sum, name) = line.split_once(' ')?;
            // Text or binary, which are one here.
            let name = name.strip_prefix([' ', '*'])?;
            Some((name.to_owned(), sum.parse().ok()?))
        };
        Self(text.lines().filter_map(line).collect())
    }

    pub fn put(&mut self, name: impl Into<String>, sum: Digest) {
        self.0.insert(name.into(), sum);
    }

    pub fn take(&mut self, name: &str) -> Option<Digest> {
        self.0.remove(name)
    }

    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.0.retain(|name, _| keep(name));
    }
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, sum)| writeln!(f, "{sum}  {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_by_name_and_others_are_none() {
        let sum = |text: &str| Digest::of(text);
        let (a, b) = (sum("a"), sum("b"));
        let mut sums = Sums::parse(&format!("{b}  b.img\n{a} *a b.img\n# a word\nshort  x\n\n"));
        assert_eq!(sums.to_string(), format!("{a}  a b.img\n{b}  b.img\n"));
        assert_eq!((sums.take("b.img"), sums.take("b.img")), (Some(b), None));
        sums.put("a b.img", b);
        assert_eq!(sums.to_string(), format!("{b}  a b.img\n"));
        sums.retain(|name| name.is_empty());
        assert_eq!(sums, Sums::default());
    }
}
