//! The tree that a recipe builds upon: read with all that its files have, wherever and by whom.

use std::io;
use std::path::Path;

use kiln_model::{Digest, GuestPath, Kind, Tree};
use kiln_recipe::spec::Family;

use crate::installed::INSTALLED;
use crate::run::folder;
use crate::target::Target;

/// Where dpkg says what the tree has.
pub const STATUS: &str = "/var/lib/dpkg/status";

/// Reads a folder as a tree of a family. Device nodes below its `/dev` are left out: a system makes its own.
pub fn read(root: &Path, family: Family) -> io::Result<Tree> {
    let database = match family {
        Family::Deb => STATUS,
        Family::Apk => INSTALLED,
    };
    if Target::open(root)?.read(&path(database))?.is_none() {
        return Err(io::Error::other(format!("it has no `{}`", database.trim_start_matches('/'))));
    }
    mounted(root)?;
    let mut tree = kiln_store::tree(root).map_err(io::Error::other)?;
    let is_device = |kind: &Kind| matches!(kind, Kind::Char { .. } | Kind::Block { .. });
    tree.entries.retain(|entry| !(is_device(&entry.kind) && entry.path.is_under(&path("/dev"))));
    match tree.entries.iter().find(|entry| is_device(&entry.kind)) {
        Some(entry) => Err(io::Error::other(format!("`{}` is a device; remove it from the tree", entry.path))),
        None => Ok(tree),
    }
}

fn path(text: &str) -> GuestPath {
    kiln_plan::context::path(text)
}

/// Refuses a tree that somebody works in: what is mounted there is not the tree's.
fn mounted(root: &Path) -> io::Result<()> {
    let root = root.canonicalize()?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(Path::new);
    match points.filter(|point| point.starts_with(&root) && *point != root).min() {
        Some(point) => Err(io::Error::other(format!("`{}` is mounted; `umount` it first", point.display()))),
        None => Ok(()),
    }
}

/// Returns the digest of everything in a tree. Owners count as those outside of a user namespace know them, so that it is the same
/// inside.
pub fn digest(tree: &Tree) -> io::Result<Digest> {
    let (users, groups) = (Map::of("uid"), Map::of("gid"));
    let mut outside = Tree { entries: tree.entries.clone() };
    for entry in &mut outside.entries {
        (entry.uid, entry.gid) = (users.outside(entry.uid), groups.outside(entry.gid));
    }
    folder::digest(&outside)
}

/// Returns the first name whose owner this user namespace does not know.
pub fn unmapped(tree: &Tree) -> Option<&GuestPath> {
    let unknown = tree.entries.iter().find(|entry| entry.uid == OVERFLOW || entry.gid == OVERFLOW);
    unknown.map(|entry| &entry.path)
}

/// What the kernel calls accounts that a user namespace has no number for.
const OVERFLOW: u32 = 65534;

/// `/proc/self/uid_map`: the first number inside, the first outside, how many.
struct Map(Vec<[u32; 3]>);

impl Map {
    fn of(kind: &str) -> Self {
        let text = std::fs::read_to_string(format!("/proc/self/{kind}_map")).unwrap_or_default();
        Self::parse(&text)
    }

    fn parse(text: &str) -> Self {
        let row = |line: &str| {
            let numbers: Vec<u32> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
            <[u32; 3]>::try_from(numbers).ok()
        };
        Self(text.lines().filter_map(row).collect())
    }

    fn outside(&self, id: u32) -> u32 {
        let row = self.0.iter().find(|[inside, _, count]| id >= *inside && id - inside < *count);
        row.map_or(id, |[inside, outside, _]| outside + (id - inside))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_those_outside() {
        let map = Map::parse("         0       1000          1\n         1     100000      65536\n");
        assert_eq!([0, 1, 34, 70_000].map(|id| map.outside(id)), [1000, 100_000, 100_033, 70_000]);
        assert_eq!(Map::parse("0 0 4294967295").outside(1234), 1234);
    }

    #[test]
    fn what_is_no_tree_says_so() {
        let home = tempfile::tempdir().unwrap();
        let told = |family| read(home.path(), family).unwrap_err().to_string();
        assert_eq!(told(Family::Deb), "it has no `var/lib/dpkg/status`");
        assert_eq!(told(Family::Apk), "it has no `lib/apk/db/installed`");
        // A link out of the tree leads back into it.
        std::fs::create_dir_all(home.path().join("var/lib")).unwrap();
        std::os::unix::fs::symlink("/var/lib/dpkg", home.path().join("var/lib/dpkg")).unwrap();
        assert!(read(home.path(), Family::Deb).is_err());
        assert!(read(&home.path().join("missing"), Family::Deb).is_err());
    }
}
