//! How a tree that has packages comes to have others: what stays, what comes, what goes, and in which order.
//!
//! As apk has it: what nothing needs any more goes as soon as that is so, and before anything comes where it is so from the
//! beginning; what comes does so in the order of the answer.

use std::collections::BTreeSet;

use super::Record;
use crate::apk::relation::Atom;

/// A change of a tree's packages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Those that stay, then those that come, in their order.
    pub records: Vec<Record>,
    /// How many stay.
    pub kept: usize,
    /// Those that the tree has and will not have, not in this version.
    pub gone: Vec<Record>,
    pub steps: Vec<Step>,
}

/// One package's part in a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// One of [`Change::records`] comes, in place of one of [`Change::gone`] where there is one of its name.
    Come { new: usize, old: Option<usize> },
    /// One of [`Change::gone`] goes, and nothing of its name comes.
    Go { old: usize },
}

impl Change {
    /// Returns the change from what a tree has, where `fresh` come to it and of the rest those stay that `names` has.
    pub fn new(tree: Vec<Record>, fresh: Vec<Record>, names: &[String]) -> Self {
        let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let renewed: BTreeSet<&str> = fresh.iter().map(|record| record.info.name.as_str()).collect();
        let stays = |record: &Record| {
            let name = record.info.name.as_str();
            names.contains(name) && !renewed.contains(name)
        };
        let (mut records, gone): (Vec<_>, Vec<_>) = tree.into_iter().partition(stays);
        let kept = records.len();
        records.extend(fresh);
        let steps = Steps { records: &records, gone: &gone, left: gone.iter().map(|_| false).collect(), come: kept };
        let steps = steps.all();
        Self { records, kept, gone, steps }
    }
}

/// Steps in the making.
struct Steps<'a> {
    records: &'a [Record],
    gone: &'a [Record],
    /// Which of the gone have left already.
    left: Vec<bool>,
    /// How many of the records are there.
    come: usize,
}

impl Steps<'_> {
    fn all(mut self) -> Vec<Step> {
        let mut steps = vec![];
        self.let_go(&mut steps);
        while let Some(record) = self.records.get(self.come) {
            let old = self.gone.iter().position(|gone| gone.info.name == record.info.name);
            steps.push(Step::Come { new: self.come, old });
            self.come += 1;
            if let Some(old) = old {
                self.left[old] = true;
                self.let_go(&mut steps);
            }
        }
        // Those that need each other.
        let rest: Vec<usize> = (0..self.gone.len()).filter(|&old| !self.left[old]).collect();
        steps.extend(rest.into_iter().rev().map(|old| Step::Go { old }));
        steps
    }

    /// Lets go whatever is not needed, until all that is left is.
    fn let_go(&mut self, steps: &mut Vec<Step>) {
        while let Some(old) = (0..self.gone.len()).find(|&old| self.may_go(old)) {
            self.left[old] = true;
            steps.push(Step::Go { old });
        }
    }

    fn may_go(&self, old: usize) -> bool {
        let own = &self.gone[old];
        let comes_again = self.records[self.come..].iter().any(|record| record.info.name == own.info.name);
        let others =
            self.gone.iter().enumerate().filter(|(at, _)| *at != old && !self.left[*at]).map(|(_, other)| other);
        !self.left[old]
            && !comes_again
            && !self.records[..self.come].iter().chain(others).any(|other| needs(other, own))
    }
}

/// Whether a package names another one, or what that provides, among its needs.
fn needs(record: &Record, other: &Record) -> bool {
    let wanted = record.info.depends.iter().filter_map(|text| Atom::parse(text).ok()).filter(|atom| !atom.conflict);
    let mut wanted = wanted.map(|atom| atom.name);
    let provided: BTreeSet<&str> =
        other.info.provides.iter().filter_map(|text| Atom::parse(text).ok()).map(|atom| atom.name).collect();
    wanted.any(|name| name == other.info.name || provided.contains(name))
}

#[cfg(test)]
mod tests {
    use super::super::installed;
    use super::*;

    /// Packages as `name-version`, with what they need and provide.
    fn records(packages: &[(&str, &str, &str)]) -> Vec<Record> {
        let text = packages.iter().map(|(name, depends, provides)| {
            let (name, version) = name.split_once('-').unwrap();
            let sum = crate::apk::Checksum::sha1(format!("{name}{version}").as_bytes());
            format!("C:{sum}\nP:{name}\nV:{version}\nD:{depends}\np:{provides}\n\n")
        });
        installed::parse(text.collect::<String>().as_bytes()).unwrap()
    }

    fn told(tree: &[(&str, &str, &str)], fresh: &[(&str, &str, &str)], names: &[&str]) -> Vec<String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let change = Change::new(records(tree), records(fresh), &names);
        let gone = |old: usize| change.gone[old].info.full_name();
        let step = |step: &Step| match step {
            Step::Come { new, old: Some(old) } => {
                format!("{} for {}", change.records[*new].info.full_name(), gone(*old))
            }
            Step::Come { new, old: None } => change.records[*new].info.full_name(),
            Step::Go { old } => format!("no {}", gone(*old)),
        };
        change.steps.iter().map(step).collect()
    }

    #[test]
    fn what_is_not_needed_goes_as_soon_as_that_is_so() {
        let tree = [("a-1", "so:b", ""), ("b-1", "", "so:b=1"), ("c-1", "d", ""), ("d-1", "", ""), ("e-1", "", "")];
        assert_eq!(told(&tree, &[], &["a", "b", "c", "d", "e"]), [""; 0]);
        assert_eq!(told(&tree, &[], &["a", "b", "e"]), ["no c-1", "no d-1"]);
        // The library goes when the last program that needs it has been renewed.
        let fresh = [("x-1", "", ""), ("a-2", "x", ""), ("e-2", "", "")];
        assert_eq!(told(&tree, &fresh, &["x", "a", "c", "d", "e"]), ["x-1", "a-2 for a-1", "no b-1", "e-2 for e-1"]);
        // One that stays and seems to need it holds it to the end; so do circles.
        assert_eq!(told(&tree, &[("e-2", "", "")], &["a", "c", "d", "e"]), ["e-2 for e-1", "no b-1"]);
        let circle = [("a-1", "b", ""), ("b-1", "a !c", ""), ("c-1", "", "")];
        assert_eq!(told(&circle, &[], &[]), ["no c-1", "no b-1", "no a-1"]);
    }
}
