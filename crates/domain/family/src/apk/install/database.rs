//! apk's database and settings, in the form of its second edition: `lib/apk/db`, `etc/apk`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kiln_model::GuestPath;

use super::conflicts::Owners;
use super::{Record, Written, scripts, triggers};
use crate::apk::package::File;
use crate::apk::pkginfo::PkgInfo;
use crate::apk::relation::{Atom, NotARelation};
use crate::deb::package::Kind;

/// A line of `etc/apk/repositories`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub uri: String,
    pub tag: Option<String>,
}

/// What the tree is told.
#[derive(Clone, Debug)]
pub struct Settings<'a> {
    pub world: &'a [String],
    pub sources: &'a [Source],
    pub arch: &'a str,
    /// Whether packages are listed by name, as apk does each time, rather than in the order of installation.
    pub by_name: bool,
}

/// Returns all files of the database.
pub fn files(records: &[Record], owners: &Owners, settings: &Settings<'_>) -> Result<Vec<Written>, NotARelation> {
    let mut order: Vec<usize> = (0..records.len()).collect();
    if settings.by_name {
        order.sort_by_key(|&at| &records[at].info.name);
    }
    let all = || order.iter().map(|&at| &records[at]);
    Ok(vec![
        Written::new("/etc/apk/arch", format!("{}\n", settings.arch)),
        Written::new("/etc/apk/repositories", repositories(settings.sources)),
        Written::new("/etc/apk/world", world(settings.world)?),
        Written::new("/lib/apk/db/installed", listed(records, &order, owners)),
        Written { mode: 0o600, ..Written::new("/lib/apk/db/lock", "") },
        Written::new("/lib/apk/db/scripts.tar", scripts::tar(all())),
        Written::new("/lib/apk/db/triggers", triggers::database(all())),
    ])
}

/// Returns `etc/apk/world`: by name, one atom a line.
pub fn world(atoms: &[String]) -> Result<String, NotARelation> {
    let mut atoms = atoms.iter().map(|text| Atom::parse_world(text)).collect::<Result<Vec<_>, _>>()?;
    atoms.sort_by_key(|atom| atom.name);
    atoms.dedup();
    Ok(atoms.iter().map(|atom| format!("{atom}\n")).collect())
}

/// Returns `etc/apk/repositories`.
pub fn repositories(sources: &[Source]) -> String {
    let tag = |source: &Source| source.tag.as_ref().map(|tag| format!("@{tag} ")).unwrap_or_default();
    sources.iter().map(|source| format!("{}{}\n", tag(source), source.uri)).collect()
}

/// Returns `lib/apk/db/installed`: for each package the fields of an index, then its directories and files.
pub fn installed(records: &[Record], owners: &Owners) -> String {
    listed(records, &(0..records.len()).collect::<Vec<_>>(), owners)
}

fn listed(records: &[Record], order: &[usize], owners: &Owners) -> String {
    let mut text = String::new();
    for (at, record) in order.iter().map(|&at| (at, &records[at])) {
        head(&mut text, record);
        paths(&mut text, record, |path| owners.of(path).is_none_or(|owner| owner == at));
        text.push('\n');
    }
    text
}

fn head(text: &mut String, record: &Record) {
    if let Some(listed) = &record.listed {
        text.push_str(listed);
        return;
    }
    let info = &record.info;
    let mut line = |field: char, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "{field}:{value}");
        }
    };
    line('C', &record.identity.to_string());
    single(info, record.size, &mut line);
    line('D', &info.depends.join(" "));
    line('p', &info.provides.join(" "));
    line('i', &info.install_if.join(" "));
    line('r', &info.replaces.join(" "));
    line('q', &info.replaces_priority.map(|priority| priority.to_string()).unwrap_or_default());
    line('s', record.tag.as_deref().unwrap_or_default());
}

fn single(info: &PkgInfo, size: u64, line: &mut impl FnMut(char, &str)) {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    line('P', &info.name);
    line('V', &info.version);
    line('A', &info.arch);
    line('S', &size.to_string());
    line('I', &info.size.to_string());
    line('T', &info.description);
    line('U', &info.url);
    line('L', &info.license);
    line('o', &text(&info.origin));
    line('m', &text(&info.maintainer));
    line('t', &info.build_date.map(|date| date.to_string()).unwrap_or_default());
    line('c', &text(&info.commit));
    line('k', &info.provider_priority.map(|priority| priority.to_string()).unwrap_or_default());
}

/// Writes `F:` and `M:` for each directory, and `R:`, `a:` and `Z:` for the files in it that the package keeps.
fn paths(text: &mut String, record: &Record, keeps: impl Fn(&GuestPath) -> bool) {
    let mut order: Vec<GuestPath> = Vec::new();
    let mut folders: BTreeMap<GuestPath, (Option<&File>, Vec<&File>)> = BTreeMap::new();
    for file in &record.files {
        let path = &file.member.path;
        let is_dir = file.member.kind == Kind::Dir;
        let folder = if is_dir { path.clone() } else { path.parent().unwrap_or_else(GuestPath::root) };
        let unnamed = is_dir && path.relative().is_empty() && record.listed.is_none();
        if !(folders.contains_key(&folder) || unnamed) {
            order.push(folder.clone());
        }
        let (own, files) = folders.entry(folder).or_default();
        if is_dir {
            *own = Some(file)
        } else if keeps(path) {
            files.push(file)
        }
    }
    for folder in order {
        let _ = writeln!(text, "F:{}", shown(folder.relative()));
        let (own, files) = &folders[&folder];
        own.iter().for_each(|dir| owner(text, 'M', dir, 0o755));
        files.iter().for_each(|file| leaf(text, file));
    }
}

fn leaf(text: &mut String, file: &File) {
    let _ = writeln!(text, "R:{}", shown(file.member.path.name()));
    owner(text, 'a', file, 0o644);
    if let Some(sum) = &file.checksum {
        let _ = writeln!(text, "Z:{sum}");
    }
}

/// Writes owner and mode where they are not root's and the usual ones.
fn owner(text: &mut String, field: char, file: &File, usual: u32) {
    let member = &file.member;
    if (member.uid, member.gid, member.mode) != (0, 0, usual) || file.xattrs.is_some() {
        let xattrs = file.xattrs.map(|sum| format!(":{sum}")).unwrap_or_default();
        let _ = writeln!(text, "{field}:{}:{}:{:o}{xattrs}", member.uid, member.gid, member.mode);
    }
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
