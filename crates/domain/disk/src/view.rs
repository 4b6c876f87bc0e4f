//! The part of a tree that one filesystem holds: items with their names, hard links resolved.

use std::borrow::Cow;
use std::collections::HashMap;

use kiln_model::tree::by_parts;
use kiln_model::{Entry, GuestPath, Kind, Tree};

use crate::Error;

/// What of a tree lies below one directory; item 0 is that directory.
pub(crate) struct View<'a> {
    pub items: Vec<Item<'a>>,
}

/// A file of any type, under however many names.
pub(crate) struct Item<'a> {
    /// The entry that holds the metadata and the content; never a hard link.
    pub entry: Cow<'a, Entry>,
    /// The directory of its first name.
    pub parent: usize,
    /// How many names it has.
    pub names: u32,
    /// For directories: names and items, in byte order.
    pub children: Vec<(&'a [u8], usize)>,
}

impl<'a> Item<'a> {
    fn new(entry: Cow<'a, Entry>, parent: usize) -> Self {
        Self { entry, parent, names: 1, children: Vec::new() }
    }

    pub fn is_dir(&self) -> bool {
        self.entry.kind == Kind::Dir
    }

    pub fn path(&self) -> &GuestPath {
        &self.entry.path
    }
}

impl<'a> View<'a> {
    /// Collects what lies below `at`, leaving out the content of the directories in `skip`. Where the tree has no `at`,
    /// the root is an empty directory of the time `epoch`.
    pub fn of(tree: &'a Tree, at: &GuestPath, skip: &[GuestPath], epoch: i64) -> Result<Self, Error> {
        let root = match tree.get(at) {
            Some(entry) if entry.kind == Kind::Dir => Cow::Borrowed(entry),
            Some(entry) => return Err(Error::unfit(&entry.path, "a filesystem", "its root is not a directory")),
            None => Cow::Owned(Entry::dir(at.clone(), 0o755, epoch)),
        };
        let mut builder = Builder { tree, items: vec![Item::new(root, 0)], links: HashMap::new(), open: Vec::new() };
        builder.open.push((at.clone(), 0));
        let skipped = |path: &GuestPath| skip.iter().any(|dir| path != dir && path.is_under(dir) && dir.is_under(at));
        for entry in tree.entries.iter().filter(|entry| entry.path.is_under(at) && entry.path != *at) {
            if !skipped(&entry.path) {
                builder.add(entry)?;
            }
        }
        Ok(Self { items: builder.items })
    }

    /// Adds an empty directory below the root unless the name is taken; returns its item.
    pub fn add_dir(&mut self, name: &'static str, mode: u32, epoch: i64) -> Option<usize> {
        if self.items[0].children.iter().any(|(known, _)| *known == name.as_bytes()) {
            return None;
        }
        let path = self.items[0].path().join(name).ok()?;
        self.items.push(Item::new(Cow::Owned(Entry::dir(path, mode, epoch)), 0));
        let item = self.items.len() - 1;
        self.items[0].children.push((name.as_bytes(), item));
        Some(item)
    }

    /// Returns how many directories lie directly in a directory.
    pub fn subdirs(&self, item: &Item<'_>) -> u32 {
        item.children.iter().filter(|(_, child)| self.items[*child].is_dir()).count() as u32
    }
}

struct Builder<'a> {
    tree: &'a Tree,
    items: Vec<Item<'a>>,
    /// Items that hard links point at, by the path of the entry that holds the content.
    links: HashMap<&'a GuestPath, usize>,
    /// The directories that the next entry may lie in.
    open: Vec<(GuestPath, usize)>,
}

impl<'a> Builder<'a> {
    fn add(&mut self, entry: &'a Entry) -> Result<(), Error> {
        let parent = self.parent(entry)?;
        let name = entry.path.name();
        if self.items[parent].children.last().is_some_and(|(last, _)| *last >= name) {
            return Err(Error::unfit(&entry.path, "a filesystem", "the tree lists it twice or out of order"));
        }
        let real = resolve(self.tree, entry)?;
        let item = match self.links.get(&real.path) {
            Some(&item) if entry.kind != Kind::Dir => {
                self.items[item].names += 1;
                item
            }
            _ => self.new_item(real, parent),
        };
        self.items[parent].children.push((name, item));
        if entry.kind == Kind::Dir {
            self.open.push((entry.path.clone(), item));
        }
        Ok(())
    }

    fn new_item(&mut self, real: &'a Entry, parent: usize) -> usize {
        self.items.push(Item::new(Cow::Borrowed(real), parent));
        let item = self.items.len() - 1;
        if real.kind != Kind::Dir {
            self.links.insert(&real.path, item);
        }
        item
    }

    fn parent(&mut self, entry: &Entry) -> Result<usize, Error> {
        let wanted = entry.path.parent();
        while self.open.last().is_some_and(|(dir, _)| Some(dir) != wanted.as_ref()) {
            self.open.pop();
        }
        let found = self.open.last().map(|(_, item)| *item);
        found.ok_or_else(|| Error::unfit(&entry.path, "a filesystem", "its directory is not before it in the tree"))
    }
}

/// Follows a hard link to the entry that holds the content.
pub(crate) fn resolve<'a>(tree: &'a Tree, entry: &'a Entry) -> Result<&'a Entry, Error> {
    let mut at = entry;
    while let Kind::Hardlink(target) = &at.kind {
        let dead = || Error::DeadLink { path: entry.path.clone(), target: target.clone() };
        let next = tree.get(target).ok_or_else(dead)?;
        if by_parts(&next.path, &at.path).is_ge() || next.kind == Kind::Dir {
            return Err(dead());
        }
        at = next;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> GuestPath {
        text.parse().unwrap()
    }

    fn tree(paths: &[&str]) -> Tree {
        let entries = paths.iter().map(|text| match text.split_once("->") {
            Some((name, target)) => Entry { kind: Kind::Hardlink(path(target)), ..Entry::dir(path(name), 0o644, 0) },
            None if text.ends_with('/') || *text == "/" => Entry::dir(path(text), 0o755, 0),
            None => Entry::inline(path(text), 0o644, 0, *b"x"),
        });
        Tree { entries: entries.collect() }
    }

    fn names(view: &View<'_>, item: usize) -> Vec<String> {
        let name = |(name, _): &(&[u8], usize)| String::from_utf8_lossy(name).into_owned();
        view.items[item].children.iter().map(name).collect()
    }

    #[test]
    fn mount_points_stay_and_their_content_does_not() {
        let tree = tree(&["/", "/boot/", "/boot/efi/", "/boot/efi/a", "/boot/vmlinuz", "/boot.txt"]);
        let view = View::of(&tree, &GuestPath::root(), &[path("/boot/efi")], 0).unwrap();
        assert_eq!(names(&view, 0), ["boot", "boot.txt"]);
        assert_eq!(names(&view, 1), ["efi", "vmlinuz"]);
        assert!(names(&view, 2).is_empty());
        let esp = View::of(&tree, &path("/boot/efi"), &[], 0).unwrap();
        assert_eq!(names(&esp, 0), ["a"]);
        assert!(View::of(&tree, &path("/missing"), &[], 0).unwrap().items[0].children.is_empty());
    }

    #[test]
    fn a_hard_link_across_filesystems_becomes_a_file() {
        let tree = tree(&["/", "/a", "/b/", "/b/c->/a", "/b/d->/a"]);
        let whole = View::of(&tree, &GuestPath::root(), &[], 0).unwrap();
        assert_eq!(whole.items[1].names, 3);
        let part = View::of(&tree, &path("/b"), &[], 0).unwrap();
        assert_eq!((part.items.len(), part.items[1].names), (2, 2));
    }

    #[test]
    fn broken_trees_are_refused() {
        let cases: [&[&str]; 5] =
            [&["/", "/a/b"], &["/", "/a", "/a"], &["/", "/b", "/a"], &["/", "/a->/b"], &["/", "/a->/a"]];
        for paths in cases {
            assert!(View::of(&tree(paths), &GuestPath::root(), &[], 0).is_err(), "{paths:?}");
        }
    }
}
