//! `etc/apk/world` read back: what somebody asked for, an atom a line.

use std::collections::BTreeSet;

use crate::apk::relation::{Atom, NotARelation};

/// Why a world cannot be used.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line}: {error}")]
pub struct Damaged {
    pub line: usize,
    pub error: NotARelation,
}

/// Returns the atoms of a world.
pub fn parse(text: &str) -> Result<Vec<String>, Damaged> {
    let words =
        (1..).zip(text.lines()).flat_map(|(line, text)| text.split_ascii_whitespace().map(move |word| (line, word)));
    let read = |(line, word): (usize, &str)| match Atom::parse_world(word) {
        Ok(atom) => Ok(atom.to_string()),
        Err(error) => Err(Damaged { line, error }),
    };
    words.map(read).collect()
}

/// Returns the world of a tree with other words added, which win where both speak of one name.
///
/// Tags go: the repositories that they speak of are not those of the words.
pub fn merged(tree: &[String], words: &[String]) -> Vec<String> {
    let said: BTreeSet<&str> = atoms(words).map(|atom| atom.name).collect();
    let stays = atoms(tree).filter(|atom| !said.contains(atom.name));
    let stays = stays.map(|atom| Atom { tag: None, ..atom }.to_string());
    let mut all: Vec<String> = stays.chain(words.iter().cloned()).collect();
    all.sort();
    all.dedup();
    all
}

fn atoms(texts: &[String]) -> impl Iterator<Item = Atom<'_>> {
    texts.iter().filter_map(|text| Atom::parse_world(text).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_is_read_as_apk_reads_it() {
        assert_eq!(parse("b\na>=1 !c\n\n.v=2\n").unwrap(), ["b", "a>=1", "!c", ".v=2"]);
        let damaged = parse("a\nb=\n").unwrap_err();
        assert_eq!((damaged.line, damaged.error), (2, NotARelation("b=".into())));
    }

    #[test]
    fn words_win_over_what_was_asked_for_before() {
        let list = |text: &str| parse(text).unwrap();
        let merged = merged(&list("a=1 b !c d@edge e"), &list("a f !e c>2"));
        assert_eq!(merged, ["!e", "a", "b", "c>2", "d", "f"]);
    }
}
