//! Triggers: scripts that run when directories that they watch were changed.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{Record, glob};
use crate::deb::package::Kind;

/// A trigger that runs, and the directories that it is told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fired {
    /// Place of its package in the order of installation.
    pub package: usize,
    pub directories: Vec<String>,
}

/// Returns `lib/apk/db/triggers`: for each package with a trigger its sum and its globs.
pub(super) fn database(records: &[Record]) -> String {
    let mut text = String::new();
    for record in records.iter().filter(|record| watches(record)) {
        let _ = writeln!(text, "{} {}", record.identity, record.info.triggers.join(" "));
    }
    text
}

fn watches(record: &Record) -> bool {
    !record.info.triggers.is_empty() && record.scripts.contains_key("trigger")
}

/// Returns the directories that packages have.
pub fn directories(records: &[Record]) -> BTreeSet<String> {
    records.iter().flat_map(folders).collect()
}

/// Returns the triggers that run after all of `records` went into a tree that had the directories `before`. The new ones among
/// the packages, which begin at `new`, are told of every directory, the others of those that were changed.
pub fn fired(records: &[Record], new: usize, before: &BTreeSet<String>) -> Vec<Fired> {
    let changed: BTreeSet<String> = records[new.min(records.len())..].iter().flat_map(folders).collect();
    let all: BTreeSet<String> = before.union(&changed).cloned().collect();
    let mut fired = Vec::new();
    for (package, record) in records.iter().enumerate().filter(|(_, record)| watches(record)) {
        let hits = |path: &&String| {
            record.info.triggers.iter().any(|trigger| match trigger.strip_prefix('+') {
                Some(trigger) => changed.contains(*path) && glob::matches(trigger, path),
                None => (package >= new || changed.contains(*path)) && glob::matches(trigger, path),
            })
        };
        let directories: Vec<String> = all.iter().filter(hits).cloned().collect();
        if !directories.is_empty() {
            fired.push(Fired { package, directories });
        }
    }
    fired
}

/// Returns the directories that a package puts something into, or has.
fn folders(record: &Record) -> Vec<String> {
    let folder = |file: &crate::apk::package::File| match file.member.kind {
        Kind::Dir => Some(file.member.path.to_string()),
        _ => file.member.path.parent().map(|parent| parent.to_string()),
    };
    record.files.iter().filter_map(folder).collect()
}
