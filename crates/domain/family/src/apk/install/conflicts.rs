//! Files that several packages have: who keeps them (apk-package(5), `replaces`, `origin`).

use std::collections::BTreeMap;

use kiln_model::{Fault, GuestPath};

use super::Record;
use crate::apk::relation::Atom;
use crate::deb::package::Kind;

/// Which package each path belongs to: its place in the order of installation. Directories belong to nobody.
pub type Owners = BTreeMap<GuestPath, usize>;

/// Two packages with the same file, neither of which may replace the other's.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{late}` has `{path}`, which belongs to `{early}` already")]
pub struct Conflict {
    pub path: GuestPath,
    pub early: String,
    pub late: String,
}

impl From<Conflict> for Fault {
    fn from(error: Conflict) -> Self {
        Fault::package(error.to_string())
    }
}

/// Settles whose each file is.
pub fn owners(records: &[Record]) -> Result<Owners, Conflict> {
    let mut owners = Owners::new();
    for (at, record) in records.iter().enumerate() {
        for file in record.files.iter().filter(|file| file.member.kind != Kind::Dir) {
            let path = &file.member.path;
            let owner = match owners.get(path) {
                Some(&early) => keeper(records, early, at).ok_or_else(|| conflict(records, path, early, at))?,
                None => at,
            };
            owners.insert(path.clone(), owner);
        }
    }
    Ok(owners)
}

/// Returns who keeps a file. Where each may replace the other's, the higher priority decides, and then who comes later.
fn keeper(records: &[Record], early: usize, late: usize) -> Option<usize> {
    let (one, two) = (&records[early].info, &records[late].info);
    let priority = |at: usize| records[at].info.replaces_priority.unwrap_or(0);
    match (replaces(&records[early], &records[late]), replaces(&records[late], &records[early])) {
        (true, true) if priority(early) > priority(late) => Some(early),
        (_, true) => Some(late),
        (true, false) => Some(early),
        (false, false) => (one.origin.is_some() && one.origin == two.origin).then_some(late),
    }
}

fn replaces(record: &Record, other: &Record) -> bool {
    let mut atoms = record.info.replaces.iter().filter_map(|text| Atom::parse(text).ok());
    atoms.any(|atom| atom.name == other.info.name && atom.accepts(Some(&other.info.version)))
}

fn conflict(records: &[Record], path: &GuestPath, early: usize, late: usize) -> Conflict {
    let name = |at: usize| records[at].info.full_name();
    Conflict { path: path.clone(), early: name(early), late: name(late) }
}
