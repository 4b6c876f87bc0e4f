//! Triggers: scripts that run when directories that they watch were changed.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{Record, glob};
use crate::apk::checksum::{Checksum, NotAChecksum};

/// A trigger that runs, and the directories that it is told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fired {
    /// Place of its package in the order of installation.
    pub package: usize,
    pub directories: Vec<String>,
}

/// Returns `lib/apk/db/triggers`: for each package with a trigger its sum and its globs.
pub(super) fn database<'a>(records: impl Iterator<Item = &'a Record>) -> String {
    let mut text = String::new();
    for record in records.filter(|record| watches(record)) {
        let _ = writeln!(text, "{} {}", record.identity, record.info.triggers.join(" "));
    }
    text
}

fn watches(record: &Record) -> bool {
    !record.info.triggers.is_empty() && record.scripts.contains_key("trigger")
}

/// Gives packages the globs that a database has for them; those of others are passed over.
pub fn read(text: &str, records: &mut [Record]) -> Result<(), Damaged> {
    for (line, text) in (1..).zip(text.lines()) {
        let mut words = text.split_ascii_whitespace();
        let Some(sum) = words.next() else { continue };
        let identity = sum.parse::<Checksum>().map_err(|error| Damaged { line, error })?;
        if let Some(record) = records.iter_mut().find(|record| record.identity == identity) {
            record.info.triggers = words.map(str::to_owned).collect();
        }
    }
    Ok(())
}

/// Why `lib/apk/db/triggers` cannot be used.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line}: {error}")]
pub struct Damaged {
    pub line: usize,
    pub error: NotAChecksum,
}

/// Returns the directories that packages have.
pub fn directories(records: &[Record]) -> BTreeSet<String> {
    records.iter().flat_map(Record::folders).map(|folder| folder.to_string()).collect()
}

/// Returns the triggers that run after all of `records` went into a tree that had the directories `before`. The new ones among
/// the packages, which begin at `new`, are told of every directory, the others of those that were changed.
pub fn fired(records: &[Record], new: usize, before: &BTreeSet<String>) -> Vec<Fired> {
    let changed = directories(&records[new.min(records.len())..]);
    fired_by(records, new, &changed, before)
}

/// Does so where the changed directories are not those of the new packages alone: some went, too.
pub fn fired_by(
    records: &[Record],
    new: usize,
    changed: &BTreeSet<String>,
    unchanged: &BTreeSet<String>,
) -> Vec<Fired> {
    let all: BTreeSet<&String> = unchanged.union(changed).collect();
    let mut fired = Vec::new();
    for (package, record) in records.iter().enumerate().filter(|(_, record)| watches(record)) {
        let hits = |path: &&&String| {
            record.info.triggers.iter().any(|trigger| match trigger.strip_prefix('+') {
                Some(trigger) => changed.contains(**path) && glob::matches(trigger, path),
                None => (package >= new || changed.contains(**path)) && glob::matches(trigger, path),
            })
        };
        let directories: Vec<String> = all.iter().filter(hits).map(|path| (*path).clone()).collect();
        if !directories.is_empty() {
            fired.push(Fired { package, directories });
        }
    }
    fired
}
