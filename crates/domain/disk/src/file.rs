//! One file of a tree, as it is.

use std::collections::VecDeque;

use kiln_model::{Entry, Extents, GuestPath, Kind, Tree};

use crate::Error;
use crate::body::Content;
use crate::view::resolve;

/// Most symbolic links on one way, as in Linux.
const LINKS: usize = 40;
/// Most names that are told of a folder where a file was looked for.
const TOLD: usize = 8;

/// Returns the content of the file at `path`; links are followed as on the running system.
pub fn layout(tree: &Tree, path: &GuestPath) -> Result<Extents, Error> {
    let entry = resolve(tree, find(tree, path)?)?;
    let Kind::File(body) = &entry.kind else {
        let what = if entry.kind == Kind::Dir { "is a folder" } else { "is no file with content" };
        return Err(Error::NoFile { path: path.clone(), why: what.into() });
    };
    let mut extents = Extents { size: body.size, list: vec![] };
    Content::new(body).put(&mut extents, 0, 0, body.size);
    Ok(extents)
}

fn find<'t>(tree: &'t Tree, path: &GuestPath) -> Result<&'t Entry, Error> {
    let wrong = |why: String| Error::NoFile { path: path.clone(), why };
    let names = |path: &[u8]| path.split(|&byte| byte == b'/').map(<[u8]>::to_vec).collect::<Vec<_>>();
    let (mut at, mut links) = (GuestPath::root(), 0);
    let mut rest: VecDeque<Vec<u8>> = names(path.as_bytes()).into();
    while let Some(name) = rest.pop_front() {
        if name == b".." {
            at = at.parent().unwrap_or(at);
            continue;
        }
        let next = at.join(&name).map_err(|error| wrong(format!("cannot be followed: {error}")))?;
        let Some(entry) = tree.get(&next) else {
            return Err(wrong(format!("is not in the tree; {}", listed(tree, &at))));
        };
        let Kind::Symlink(target) = &entry.kind else {
            at = next;
            continue;
        };
        links += 1;
        if links > LINKS {
            return Err(wrong(format!("is behind more than {LINKS} symbolic links")));
        }
        if target.starts_with(b"/") {
            at = GuestPath::root();
        }
        names(target).into_iter().rev().for_each(|name| rest.push_front(name));
    }
    tree.get(&at).ok_or_else(|| wrong("is not in the tree".into()))
}

fn listed(tree: &Tree, folder: &GuestPath) -> String {
    let mut names = tree.entries.iter().filter(|entry| entry.path.parent().as_ref() == Some(folder));
    let told: Vec<String> =
        names.by_ref().take(TOLD).map(|entry| String::from_utf8_lossy(entry.path.name()).into_owned()).collect();
    let more = names.count();
    match (told.as_slice(), more) {
        ([], _) => format!("`{folder}` has nothing"),
        (told, 0) => format!("`{folder}` has {}", told.join(", ")),
        (told, more) => format!("`{folder}` has {} and {more} more", told.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a/` is a folder, `a -> b` a symbolic link, `a => b` a hard link, `a` a file that holds its own path.
    fn tree(lines: &[&str]) -> Tree {
        let at = |text: &str| text.parse::<GuestPath>().unwrap();
        let entry = |line: &&str| match (line.split_once(" -> "), line.split_once(" => ")) {
            (Some((path, to)), _) => Entry { kind: Kind::Symlink(to.into()), ..Entry::dir(at(path), 0o777, 0) },
            (_, Some((path, to))) => Entry { kind: Kind::Hardlink(at(to)), ..Entry::dir(at(path), 0o644, 0) },
            _ if line.ends_with('/') => Entry::dir(at(line), 0o755, 0),
            _ => Entry::inline(at(line), 0o644, 0, line.as_bytes()),
        };
        let mut tree = Tree { entries: lines.iter().map(entry).collect() };
        tree.sort();
        tree
    }

    #[test]
    fn links_are_followed_and_what_is_not_there_is_told() {
        let tree = tree(&[
            "/",
            "/boot/",
            "/boot/vmlinuz-6",
            "/vmlinuz -> boot/vmlinuz",
            "/boot/vmlinuz -> vmlinuz-6",
            "/usr/",
            "/usr/lib/",
            "/usr/lib/a.deb",
            "/usr/lib/b.deb => /usr/lib/a.deb",
            "/lib -> usr/lib",
            "/up -> ../../usr/lib/../lib/a.deb",
            "/round -> /round",
            "/out -> /proc/x",
        ]);
        let cases = [
            ("/boot/vmlinuz-6", Ok("/boot/vmlinuz-6")),
            ("/vmlinuz", Ok("/boot/vmlinuz-6")),
            ("/lib/a.deb", Ok("/usr/lib/a.deb")),
            ("/lib/b.deb", Ok("/usr/lib/a.deb")),
            ("/up", Ok("/usr/lib/a.deb")),
            ("/lib", Err("`/lib`, which is to be an artifact, is a folder")),
            ("/", Err("`/`, which is to be an artifact, is a folder")),
            (
                "/lib/c.deb",
                Err("`/lib/c.deb`, which is to be an artifact, is not in the tree; `/usr/lib` has a.deb, b.deb"),
            ),
            ("/round", Err("`/round`, which is to be an artifact, is behind more than 40 symbolic links")),
            (
                "/out",
                Err(
                    "`/out`, which is to be an artifact, is not in the tree; `/` has boot, lib, out, round, up, usr, vmlinuz",
                ),
            ),
        ];
        for (path, wanted) in cases {
            let found = layout(&tree, &path.parse().unwrap()).map_err(|error| error.to_string());
            let wanted = wanted.map_err(str::to_owned).map(|text| {
                let mut extents = Extents { size: text.len() as u64, list: vec![] };
                extents.bytes(0, text.as_bytes());
                extents
            });
            assert_eq!(found, wanted, "{path}");
        }
    }
}
