//! A recipe with all the files it names in one archive, for another machine to build: the same content, the same bytes.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

use kiln_model::fault::OrFault as _;
use kiln_model::{Fault, FaultKind};
use tar::{Builder, EntryType, Header};

use crate::load::{Loaded, allows};
use crate::local;

/// How hard zstd tries: bundles are small.
const LEVEL: i32 = 6;

/// Writes a recipe's bundle and returns the recipe's path in it.
///
/// The archive begins at the folder that all files have in common, so that every path in the recipe leads where it did. A recipe
/// that was read by a relative path can go into one, an absolute path in it cannot.
pub fn write(loaded: &Loaded, to: impl Write) -> Result<String, Fault> {
    let refused = refusals(loaded).next();
    refused.map_or(Ok(()), Err)?;
    let here = std::env::current_dir().farm(|| "find the working folder".into())?;
    let mut named: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    let lock = Some(&loaded.lock_path).filter(|path| path.is_file());
    for path in loaded.named.iter().chain([&loaded.path]).chain(lock) {
        named.insert(tidy(&here.join(path)), path.clone());
    }
    let root = common(named.keys().filter_map(|path| path.parent()));
    let recipe = tidy(&here.join(&loaded.path));
    let recipe = recipe.strip_prefix(&root).unwrap_or(&recipe).display().to_string();
    let mut files = BTreeMap::new();
    for (at, path) in &named {
        let doing = || format!("read `{}` for the bundle", path.display());
        // The lock is nothing that was read so far.
        allows(loaded.within.as_deref(), path).fault(FaultKind::Recipe, doing)?;
        let meta = fs::metadata(path).fault(FaultKind::Recipe, doing)?;
        collect(at.strip_prefix(&root).unwrap_or(at), path, &meta, &mut files).fault(FaultKind::Recipe, doing)?;
    }
    archive(&files, to).farm(|| "write the bundle".into())?;
    Ok(recipe)
}

/// Returns what keeps a recipe from going anywhere.
fn refusals(loaded: &Loaded) -> impl Iterator<Item = Fault> {
    let spec = &loaded.completed.spec;
    let tree = spec.base.tree.iter().map(|tree| {
        let fault =
            Fault::recipe(format!("the tree `{}` cannot go with the recipe: its owners would be lost", tree.path));
        fault.hint("build it here: `kiln build`; or leave `base.tree` out")
    });
    let absolute = loaded.named.iter().filter(|path| path.is_absolute()).map(|path| {
        let fault = Fault::recipe(format!("`{}` cannot go with the recipe: its path is absolute", path.display()));
        fault.hint("put it beside the recipe, and name it by its path from there")
    });
    tree.chain(absolute)
}

/// Lists a file, a folder with all it holds, or a link; one at the top is what it points to.
fn collect(
    at: &Path,
    path: &Path,
    meta: &Metadata,
    files: &mut BTreeMap<PathBuf, (PathBuf, Metadata)>,
) -> io::Result<()> {
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            collect(&at.join(entry.file_name()), &entry.path(), &entry.metadata()?, files)?;
        }
    } else if !meta.is_file() && !meta.is_symlink() {
        return Err(io::Error::other(format!("`{}` is no file, folder or link", path.display())));
    }
    files.insert(at.to_owned(), (path.to_owned(), meta.clone()));
    Ok(())
}

fn archive(files: &BTreeMap<PathBuf, (PathBuf, Metadata)>, to: impl Write) -> io::Result<()> {
    let mut builder = Builder::new(zstd::Encoder::new(to, LEVEL)?);
    for (at, (path, meta)) in files.iter().filter(|(at, _)| !at.as_os_str().is_empty()) {
        let mut header = Header::new_gnu();
        header.set_mode(0o755);
        header.set_size(0);
        if meta.is_dir() {
            header.set_entry_type(EntryType::Directory);
            builder.append_data(&mut header, at, io::empty())?;
        } else if meta.is_symlink() {
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            builder.append_link(&mut header, at, fs::read_link(path)?)?;
        } else {
            header.set_mode(local::mode(&meta.permissions()));
            header.set_size(meta.len());
            // One that grows meanwhile must not spoil the archive, and one that shrinks is found by its padding.
            let mut whole = io::Read::take(File::open(path)?, meta.len());
            builder.append_data(&mut header, at, &mut whole)?;
            if whole.limit() > 0 {
                return Err(io::Error::other(format!("`{}` changed while it was read", path.display())));
            }
        }
    }
    builder.into_inner()?.finish()?.flush()
}

/// Drops `.` and names with the `..` after them; of an absolute path.
pub(crate) fn tidy(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(clean.pop()),
            part => clean.push(part),
        }
    }
    clean
}

/// Returns the innermost folder that all paths are in.
fn common<'a>(paths: impl Iterator<Item = &'a Path>) -> PathBuf {
    let shared = |one: PathBuf, other: &Path| {
        let same = one.components().zip(other.components()).take_while(|(one, other)| one == other);
        same.map(|(one, _)| one).collect()
    };
    let mut paths = paths;
    let first = paths.next().map(Path::to_owned).unwrap_or_default();
    paths.fold(first, shared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_tidied_and_their_common_folder_found() {
        assert_eq!(tidy(Path::new("/a/./b/../c")), Path::new("/a/c"));
        let paths = ["/a/b/c", "/a/b", "/a/bc"].map(Path::new);
        assert_eq!(common(paths.into_iter()), Path::new("/a"));
        assert_eq!(common([Path::new("/a/b")].into_iter()), Path::new("/a/b"));
    }

    #[test]
    fn the_same_content_has_the_same_bytes() {
        let bytes = |touched: bool| {
            let home = tempfile::tempdir().unwrap();
            fs::create_dir(home.path().join("files")).unwrap();
            for name in ["kiln.toml", "files/b", "files/a"] {
                fs::write(home.path().join(name), name).unwrap();
            }
            std::os::unix::fs::symlink("/usr/bin/x", home.path().join("files/link")).unwrap();
            if touched {
                let file = File::options().append(true).open(home.path().join("files/a")).unwrap();
                file.set_modified(std::time::UNIX_EPOCH).unwrap();
            }
            let (mut files, mut bytes) = (BTreeMap::new(), vec![]);
            let meta = fs::metadata(home.path()).unwrap();
            collect(Path::new(""), home.path(), &meta, &mut files).unwrap();
            archive(&files, &mut bytes).unwrap();
            bytes
        };
        assert_eq!(bytes(false), bytes(true));
        let plain = zstd::decode_all(bytes(false).as_slice()).unwrap();
        let mut archive = tar::Archive::new(plain.as_slice());
        let names: Vec<_> =
            archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().into_owned()).collect();
        assert_eq!(names, ["files", "files/a", "files/b", "files/link", "kiln.toml"].map(PathBuf::from));
    }
}
