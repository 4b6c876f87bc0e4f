//! The difference of two views.

pub mod text;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::tree::{self, Body};
use crate::view::{PartitionView, UnitState, View};
use crate::{Entry, GuestPath, Kind, Tree};

/// What differs from one artifact to another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diff {
    /// Where the artifacts are of different formats: the two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Change<String>>,
    pub packages: Vec<Named<String>>,
    pub units: Vec<Named<UnitState>>,
    pub partitions: Vec<PartitionDiff>,
    pub files: Vec<FileDiff>,
    /// By directory, what its files weigh, the largest changes first; a directory whose change is all in one below it is
    /// left out.
    pub sizes: Vec<SizeDiff>,
}

/// A value before and after; one of them may be missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change<T> {
    pub before: Option<T>,
    pub after: Option<T>,
}

/// Something with a name that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named<T> {
    pub name: String,
    #[serde(flatten)]
    pub change: Change<T>,
}

/// A partition that came, went, or changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionDiff {
    pub number: u32,
    pub name: String,
    /// `added`, `removed` or empty; then `fields` tells.
    pub what: What,
    /// Field → before and after.
    pub fields: Vec<Named<String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    Added,
    Removed,
    Changed,
}

/// A file that came, went, or changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDiff {
    pub path: GuestPath,
    pub what: What,
    /// `mode`, `owner`, `type`, `size`, `content`, `target`, `device`, `mtime`, or an attribute's name → before and after.
    pub fields: Vec<Named<String>>,
    /// By how many bytes of content the artifact grew here.
    pub grew: i64,
}

/// How a directory's weight changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SizeDiff {
    pub path: GuestPath,
    /// Bytes of content below it.
    pub before: u64,
    pub after: u64,
}

impl Diff {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        let Self { format: _, packages, units, partitions, files, sizes: _ } = self;
        packages.is_empty() && units.is_empty() && partitions.is_empty() && files.is_empty()
    }
}

/// Compares two views. Different formats alone are no difference: a disk may hold what a tar holds.
pub fn diff(a: &View, b: &View) -> Diff {
    let format = (a.format != b.format).then(|| change(Some(&a.format), Some(&b.format)));
    // Of a disk and something that has no partitions, the table cannot be compared.
    let tables = !a.partitions.is_empty() && !b.partitions.is_empty();
    Diff {
        format,
        packages: maps(&a.packages, &b.packages),
        units: maps(&a.units, &b.units),
        partitions: if tables { partitions(&a.partitions, &b.partitions) } else { Vec::new() },
        files: files(&a.tree, &b.tree),
        sizes: sizes(&a.tree, &b.tree),
    }
}

fn change<T: Clone>(before: Option<&T>, after: Option<&T>) -> Change<T> {
    Change { before: before.cloned(), after: after.cloned() }
}

fn maps<T: Clone + PartialEq>(a: &BTreeMap<String, T>, b: &BTreeMap<String, T>) -> Vec<Named<T>> {
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let differing = names.into_iter().filter(|name| a.get(*name) != b.get(*name));
    differing.map(|name| Named { name: name.clone(), change: change(a.get(name), b.get(name)) }).collect()
}

fn partitions(a: &[PartitionView], b: &[PartitionView]) -> Vec<PartitionDiff> {
    let numbers: BTreeSet<u32> = a.iter().chain(b).map(|partition| partition.number).collect();
    let find = |all: &'_ [PartitionView], number| all.iter().find(|partition| partition.number == number).cloned();
    let compare = |number: u32| {
        let (before, after) = (find(a, number), find(b, number));
        let what = what(before.is_some(), after.is_some());
        let name = after.as_ref().or(before.as_ref()).map(|partition| partition.name.clone()).unwrap_or_default();
        let fields = maps(
            &before.map(fields_of_partition).unwrap_or_default(),
            &after.map(fields_of_partition).unwrap_or_default(),
        );
        PartitionDiff { number, name, what, fields }
    };
    numbers.into_iter().map(compare).filter(|diff| !diff.fields.is_empty()).collect()
}

fn what(before: bool, after: bool) -> What {
    match (before, after) {
        (false, _) => What::Added,
        (true, false) => What::Removed,
        (true, true) => What::Changed,
    }
}

fn fields_of_partition(partition: PartitionView) -> BTreeMap<String, String> {
    let PartitionView { number: _, name, offset, size, r#type, id, filesystem, label, uuid } = partition;
    let fields = [
        ("name", name),
        ("offset", offset.to_string()),
        ("size", size.to_string()),
        ("type", r#type),
        ("id", id),
        ("filesystem", filesystem),
        ("label", label),
        ("uuid", uuid),
    ];
    fields.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name.to_owned(), value)).collect()
}

fn files(a: &Tree, b: &Tree) -> Vec<FileDiff> {
    let (before, after) = (index(a), index(b));
    let removed = a.entries.iter().filter(|entry| !after.contains_key(&entry.path)).map(|entry| (entry, None));
    let mut all: Vec<FileDiff> = removed.map(|(entry, none)| file(a, b, Some(entry), none)).collect();
    for entry in &b.entries {
        let diff = file(a, b, before.get(&entry.path).copied(), Some(entry));
        if diff.what != What::Changed || !diff.fields.is_empty() {
            all.push(diff);
        }
    }
    all.sort_by(|x, y| tree::by_parts(&x.path, &y.path));
    all
}

fn index(tree: &Tree) -> HashMap<&GuestPath, &Entry> {
    tree.entries.iter().map(|entry| (&entry.path, entry)).collect()
}

fn file(a: &Tree, b: &Tree, before: Option<&Entry>, after: Option<&Entry>) -> FileDiff {
    let path = after.or(before).map_or_else(GuestPath::root, |entry| entry.path.clone());
    let what = what(before.is_some(), after.is_some());
    let described =
        |tree: &Tree, entry: Option<&Entry>| entry.map(|entry| fields_of_file(tree, entry)).unwrap_or_default();
    let fields = match what {
        What::Changed => maps(&described(a, before), &described(b, after)),
        What::Added | What::Removed => Vec::new(),
    };
    FileDiff { path, what, fields, grew: weight(after) as i64 - weight(before) as i64 }
}

/// Bytes of content that lie under this very name.
fn weight(entry: Option<&Entry>) -> u64 {
    match entry.map(|entry| &entry.kind) {
        Some(Kind::File(body)) => body.size,
        _ => 0,
    }
}

fn fields_of_file(tree: &Tree, entry: &Entry) -> BTreeMap<String, String> {
    // A hard link shows what its file shows; which name is the first says nothing.
    let real = match &entry.kind {
        Kind::Hardlink(target) => tree.get(target).unwrap_or(entry),
        _ => entry,
    };
    let mut fields = BTreeMap::new();
    let mut put = |name: &str, value: String| fields.insert(name.to_owned(), value);
    put("mode", format!("{:04o}", real.mode));
    put("owner", format!("{}:{}", real.uid, real.gid));
    put("mtime", real.mtime.to_string());
    match &real.kind {
        Kind::Dir => put("type", "directory".into()),
        Kind::Fifo => put("type", "fifo".into()),
        Kind::Socket => put("type", "socket".into()),
        Kind::Char { major, minor } => put("type", format!("character device {major}:{minor}")),
        Kind::Block { major, minor } => put("type", format!("block device {major}:{minor}")),
        Kind::Hardlink(target) => put("type", format!("hard link to `{target}`, which is missing")),
        Kind::Symlink(target) => {
            put("type", "symbolic link".into());
            put("target", String::from_utf8_lossy(target).into_owned())
        }
        Kind::File(Body { size, digest, .. }) => {
            put("type", "file".into());
            put("size", size.to_string());
            put("content", digest.map(|digest| digest.short()).unwrap_or_default())
        }
    };
    for (name, value) in &real.xattrs {
        fields.insert(name.clone(), value.iter().map(|byte| format!("{byte:02x}")).collect());
    }
    fields
}

fn sizes(a: &Tree, b: &Tree) -> Vec<SizeDiff> {
    let (before, after) = (weights(a), weights(b));
    let paths: BTreeSet<&[u8]> = before.keys().chain(after.keys()).copied().collect();
    let get = |map: &HashMap<&[u8], u64>, path: &[u8]| map.get(path).copied().unwrap_or(0);
    let all = paths.into_iter().map(|path| (path, get(&before, path), get(&after, path)));
    let changed: Vec<(&[u8], u64, u64)> = all.filter(|(_, before, after)| before != after).collect();
    let grew = |before: u64, after: u64| after as i64 - before as i64;
    let carried: HashSet<(&[u8], i64)> =
        changed.iter().filter_map(|&(path, before, after)| Some((holder(path)?, grew(before, after)))).collect();
    let shown = changed.into_iter().filter(|&(path, before, after)| !carried.contains(&(path, grew(before, after))));
    let mut shown: Vec<SizeDiff> = shown
        .map(|(path, before, after)| SizeDiff {
            path: GuestPath::new(path).expect("the beginning of a path is a path"),
            before,
            after,
        })
        .collect();
    shown.sort_by_key(|size| (std::cmp::Reverse(grew(size.before, size.after).abs()), size.path.clone()));
    shown
}

/// Returns what the files below each directory weigh.
fn weights(tree: &Tree) -> HashMap<&[u8], u64> {
    let mut all = HashMap::new();
    for entry in &tree.entries {
        let mut path = holder(entry.path.as_bytes());
        while let Some(dir) = path {
            *all.entry(dir).or_insert(0) += weight(Some(entry));
            path = holder(dir);
        }
    }
    all
}

/// Returns the directory that holds a path.
fn holder(path: &[u8]) -> Option<&[u8]> {
    let cut = path.iter().rposition(|&byte| byte == b'/').filter(|_| path != b"/")?;
    Some(&path[..cut.max(1)])
}
