//! Files that several packages have: who keeps them (apk-package(5), `replaces`, `origin`).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kiln_model::{Fault, GuestPath};

use super::Record;
use crate::apk::relation::Atom;
use crate::deb::package::Kind;

/// Which package each file belongs to. Directories belong to nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners {
    /// Where folders are that links lead to, as `/bin` where it is `/usr/bin`.
    folders: HashMap<GuestPath, GuestPath>,
    /// By where a file really is: whose it is, under which name.
    files: BTreeMap<GuestPath, (usize, GuestPath)>,
    /// Where all folders of the packages really are.
    homes: BTreeSet<GuestPath>,
}

/// What the tree has before, where it has anything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tree<'a> {
    /// How many of the packages, from the first on, are in it: their files are settled among them.
    pub kept: usize,
    /// Packages whose files are looked for, and which own none.
    pub gone: &'a [Record],
}

/// Two packages with the same file, neither of which may replace the other's.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{late}` has `{path}`, which {} `{early}` already", self.belongs())]
pub struct Conflict {
    pub path: GuestPath,
    /// What the earlier package calls it.
    pub known: GuestPath,
    pub early: String,
    pub late: String,
}

impl Conflict {
    fn belongs(&self) -> String {
        if self.known == self.path { "belongs to".into() } else { format!("is `{}` and belongs to", self.known) }
    }
}

impl From<Conflict> for Fault {
    fn from(error: Conflict) -> Self {
        Fault::package(error.to_string())
    }
}

/// Settles whose each file is. `link` says where a link of the tree leads to; those of the packages count, too.
pub fn owners(records: &[Record], link: &dyn Fn(&GuestPath) -> Option<Vec<u8>>) -> Result<Owners, Conflict> {
    owners_upon(records, Tree::default(), link)
}

/// Does so upon a tree that has packages.
pub fn owners_upon(
    records: &[Record],
    tree: Tree<'_>,
    link: &dyn Fn(&GuestPath) -> Option<Vec<u8>>,
) -> Result<Owners, Conflict> {
    let members = || records.iter().flat_map(|record| &record.files).map(|file| &file.member);
    let links: HashMap<&GuestPath, &Vec<u8>> = members()
        .filter_map(|member| match &member.kind {
            Kind::Symlink(to) => Some((&member.path, to)),
            _ => None,
        })
        .collect();
    let either = |path: &GuestPath| links.get(path).map(|to| (*to).clone()).or_else(|| link(path));
    let mut owners = Owners::default();
    let folders = |records: &[Record]| {
        let parents = records.iter().flat_map(|record| &record.files).filter_map(|file| file.member.path.parent());
        records.iter().flat_map(Record::folders).chain(parents).collect::<BTreeSet<_>>()
    };
    let own = folders(records);
    for folder in own.iter().chain(&folders(tree.gone)) {
        let place = real(folder, &either);
        if place != *folder {
            owners.folders.insert(folder.clone(), place);
        }
    }
    owners.homes = own.iter().map(|folder| owners.home(folder).clone()).collect();
    for (at, record) in records.iter().enumerate() {
        for file in record.files.iter().filter(|file| file.member.kind != Kind::Dir) {
            owners.add(records, tree.kept, at, &file.member.path)?;
        }
    }
    Ok(owners)
}

impl Owners {
    /// Returns whose a file is, by its package's place in the order of installation.
    pub fn of(&self, path: &GuestPath) -> Option<usize> {
        self.files.get(&self.place(path)).map(|(owner, _)| *owner)
    }

    /// Returns where a file really is.
    pub fn place(&self, path: &GuestPath) -> GuestPath {
        let folder = path.parent().and_then(|folder| self.folders.get(&folder));
        folder.and_then(|folder| folder.join(path.name()).ok()).unwrap_or_else(|| path.clone())
    }

    /// Returns where a folder really is.
    fn home<'a>(&'a self, folder: &'a GuestPath) -> &'a GuestPath {
        self.folders.get(folder).unwrap_or(folder)
    }

    /// Whether a folder is one of the packages', under any name.
    pub fn has_folder(&self, folder: &GuestPath) -> bool {
        self.homes.contains(self.home(folder))
    }

    fn add(&mut self, records: &[Record], kept: usize, at: usize, path: &GuestPath) -> Result<(), Conflict> {
        let place = self.place(path);
        let known = self.files.get(&place).filter(|(early, _)| *early != at);
        let is_kept = known.map(|(early, known)| {
            let name = |at: usize| records[at].info.full_name();
            let keeper = keeper(records, *early, at).or((at < kept).then_some(*early));
            let conflict =
                || Conflict { path: path.clone(), known: known.clone(), early: name(*early), late: name(at) };
            keeper.map(|keeper| keeper != at).ok_or_else(conflict)
        });
        if !is_kept.transpose()?.unwrap_or(false) {
            self.files.insert(place, (at, path.clone()));
        }
        Ok(())
    }
}

/// Links on the way to a folder, at most; as Linux has it.
const LINKS: usize = 40;

/// Returns where a folder is.
fn real(folder: &GuestPath, link: &dyn Fn(&GuestPath) -> Option<Vec<u8>>) -> GuestPath {
    let names = |path: &[u8]| path.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec).collect::<Vec<_>>();
    let (mut left, mut at, mut followed) = (names(folder.relative()), GuestPath::root(), 0);
    while let Some(name) = left.pop() {
        let next = match name.as_slice() {
            b"" | b"." => continue,
            b".." => at.parent().unwrap_or_else(GuestPath::root),
            name => match at.join(name) {
                Ok(next) => next,
                Err(_) => return folder.clone(),
            },
        };
        match link(&next).filter(|_| followed < LINKS) {
            Some(to) => {
                followed += 1;
                if to.starts_with(b"/") {
                    at = GuestPath::root();
                }
                left.extend(names(&to));
            }
            None => at = next,
        }
    }
    at
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
