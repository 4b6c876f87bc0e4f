//! Bundles: a recipe and the files it names, as somebody sent them; unpacked so that nothing lands outside of its folder.
//!
//! Links are kept as they are, since an image's files may well be links to what only the image has. Nothing is written
//! through one, and the kiln that builds follows none that leads out (`--within`).

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};

use tar::{Archive, Entry, EntryType};

/// Why a bundle is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("`{0}` in the bundle leads out of it")]
    Out(String),
    #[error("`{path}` in the bundle is neither a file, a folder nor a link")]
    Kind { path: String },
    #[error("`{0}` is in the bundle twice, or inside of a file or link")]
    Twice(String),
    #[error("the bundle unpacks to more than {0} bytes")]
    TooLarge(u64),
    #[error("the bundle holds more than {MOST} files")]
    TooMany,
    #[error("read the bundle")]
    Read(#[source] io::Error),
    #[error("unpack `{path}`")]
    Write { path: String, source: io::Error },
}

impl Error {
    /// Whether this machine is at fault rather than whoever made the bundle.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Write { .. })
    }
}

/// A bundle holds at most so many files, folders and links.
const MOST: usize = 200_000;
/// Memory that unpacking zstd may take, as a power of two.
const WINDOW: u32 = 27;

/// Unpacks a bundle into `to`, which is made.
pub fn unpack(bundle: &mut dyn Read, to: &Path, most_bytes: u64) -> Result<(), Error> {
    let mut zstd = zstd::Decoder::new(bundle).map_err(Error::Read)?;
    zstd.window_log_max(WINDOW).map_err(Error::Read)?;
    // Headers and padding count too: what is endless ends here.
    let limit = most_bytes.saturating_add(MOST as u64 * 4096);
    let mut archive = Archive::new(zstd.take(limit));
    folder(to, "")?;
    let mut left = most_bytes;
    for (count, entry) in archive.entries().map_err(Error::Read)?.enumerate() {
        let mut entry = entry.map_err(Error::Read)?;
        if count >= MOST {
            return Err(Error::TooMany);
        }
        left = left.checked_sub(entry.size()).ok_or(Error::TooLarge(most_bytes))?;
        one(&mut entry, to)?;
    }
    Ok(())
}

/// Moves a file into an unpacked bundle, where nothing may be in its place.
pub fn place(file: &Path, to: &Path, at: &str) -> Result<(), Error> {
    let inside = inside(Path::new(at)).filter(|path| !path.as_os_str().is_empty());
    let inside = inside.ok_or_else(|| Error::Out(at.to_owned()))?;
    parents(to, &inside, at)?;
    let path = to.join(&inside);
    if path.symlink_metadata().is_ok() {
        return Err(Error::Twice(at.to_owned()));
    }
    let moved = fs::set_permissions(file, Permissions::from_mode(0o644)).and_then(|()| fs::rename(file, &path));
    moved.map_err(|source| Error::Write { path: at.to_owned(), source })
}

fn one<R: Read>(entry: &mut Entry<'_, R>, to: &Path) -> Result<(), Error> {
    let shown = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
    let named = entry.path().map_err(Error::Read)?.into_owned();
    let inside = inside(&named).ok_or_else(|| Error::Out(shown.clone()))?;
    let kind = entry.header().entry_type();
    if inside.as_os_str().is_empty() {
        return if kind == EntryType::Directory { Ok(()) } else { Err(Error::Kind { path: shown }) };
    }
    let mode = entry.header().mode().map_err(Error::Read)? & 0o755 | 0o400;
    let path = to.join(&inside);
    parents(to, &inside, &shown)?;
    let doing = |source| Error::Write { path: shown.clone(), source };
    match kind {
        EntryType::Directory if path.is_dir() && !path.is_symlink() => Ok(()),
        _ if path.symlink_metadata().is_ok() => Err(Error::Twice(shown)),
        EntryType::Directory => folder(&path, &shown),
        EntryType::Regular | EntryType::Continuous => file(entry, &path, mode, &shown),
        EntryType::Symlink => {
            let target = entry.link_name().map_err(Error::Read)?;
            let target = target.ok_or_else(|| Error::Kind { path: shown.clone() })?;
            symlink(target, &path).map_err(doing)
        }
        _ => Err(Error::Kind { path: shown }),
    }
}

/// Returns a path without `.`; none where it is absolute or says `..`.
pub fn inside(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(clean)
}

/// Makes the folders above a path; each is a folder and no link to one.
fn parents(to: &Path, inside: &Path, shown: &str) -> Result<(), Error> {
    let mut path = to.to_owned();
    for name in inside.parent().into_iter().flat_map(Path::components) {
        path.push(name);
        match path.symlink_metadata() {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Err(Error::Twice(shown.to_owned())),
            Err(_) => folder(&path, shown)?,
        }
    }
    Ok(())
}

fn folder(path: &Path, shown: &str) -> Result<(), Error> {
    let made = DirBuilder::new().mode(0o755).create(path);
    made.map_err(|source| Error::Write { path: shown.to_owned(), source })
}

fn file<R: Read>(entry: &mut Entry<'_, R>, path: &Path, mode: u32, shown: &str) -> Result<(), Error> {
    let doing = |source| Error::Write { path: shown.to_owned(), source };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(doing)?;
    let mut piece = vec![0; 1 << 16];
    loop {
        let read = entry.read(&mut piece).map_err(Error::Read)?;
        if read == 0 {
            break;
        }
        io::Write::write_all(&mut file, &piece[..read]).map_err(doing)?;
    }
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(doing)
}

#[cfg(test)]
mod tests {
    use tar::{Builder, Header};

    use super::*;

    /// A tar of anything at all: the crate's own builder refuses to make what is hostile.
    fn tar(entries: &[(&str, EntryType, &str, &[u8])]) -> Vec<u8> {
        let mut builder = Builder::new(vec![]);
        for (name, kind, link, bytes) in entries {
            let mut header = Header::new_gnu();
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o4755);
            header.set_size(bytes.len() as u64);
            header.set_cksum();
            builder.append(&header, *bytes).unwrap();
        }
        zstd::encode_all(builder.into_inner().unwrap().as_slice(), 1).unwrap()
    }

    fn unpacked(bundle: &[u8], most: u64) -> (tempfile::TempDir, Result<(), Error>) {
        let home = tempfile::tempdir().unwrap();
        let done = unpack(&mut &*bundle, &home.path().join("bundle"), most);
        (home, done)
    }

    const FILE: EntryType = EntryType::Regular;
    const LINK: EntryType = EntryType::Symlink;
    const FOLDER: EntryType = EntryType::Directory;

    #[test]
    fn a_good_bundle_is_unpacked() {
        let bundle = tar(&[
            ("./", FOLDER, "", b""),
            ("kiln.toml", FILE, "", b"name"),
            ("files/etc/x", FILE, "", b"x"),
            ("files/", FOLDER, "", b""),
            ("files/link", LINK, "/usr/bin/y", b""),
        ]);
        let (home, done) = unpacked(&bundle, 100);
        done.unwrap();
        let at = |name: &str| home.path().join("bundle").join(name);
        assert_eq!(fs::read_to_string(at("kiln.toml")).unwrap(), "name");
        assert_eq!(fs::metadata(at("files/etc/x")).unwrap().permissions().mode() & 0o7777, 0o755);
        assert_eq!(fs::read_link(at("files/link")).unwrap(), Path::new("/usr/bin/y"));
    }

    #[test]
    fn hostile_bundles_are_refused() {
        type Case<'a> = (&'a str, &'a [(&'a str, EntryType, &'a str, &'a [u8])], &'a str);
        let cases: &[Case<'_>] = &[
            ("absolute", &[("/tmp/x", FILE, "", b"x")], "leads out"),
            ("parent", &[("../x", FILE, "", b"x")], "leads out"),
            ("parent within", &[("a/../../x", FILE, "", b"x")], "leads out"),
            ("through a link", &[("a", LINK, "/tmp", b""), ("a/x", FILE, "", b"x")], "twice"),
            ("over a link", &[("a", LINK, "/tmp/x", b""), ("a", FILE, "", b"x")], "twice"),
            ("folder over a link", &[("a", LINK, "/tmp", b""), ("a", FOLDER, "", b"")], "twice"),
            ("through a file", &[("a", FILE, "", b"x"), ("a/b", FILE, "", b"x")], "twice"),
            ("hard link", &[("a", EntryType::Link, "/etc/passwd", b"")], "neither a file"),
            ("device", &[("a", EntryType::Char, "", b"")], "neither a file"),
            ("pipe", &[("a", EntryType::Fifo, "", b"")], "neither a file"),
            ("the folder itself", &[(".", FILE, "", b"x")], "neither a file"),
            ("large", &[("a", FILE, "", &[0; 101])], "more than 100 bytes"),
        ];
        for (case, entries, why) in cases {
            let (home, done) = unpacked(&tar(entries), 100);
            let error = done.unwrap_err();
            assert!(error.to_string().contains(why) && !error.is_ours(), "{case}: {error}");
            assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "{case}");
        }
    }

    #[test]
    fn what_others_made_lands_in_the_bundle_or_nowhere() {
        let bundle = tar(&[("kiln.toml", FILE, "", b"name"), ("out", LINK, "..", b"")]);
        let (home, done) = unpacked(&bundle, 100);
        done.unwrap();
        let to = home.path().join("bundle");
        let cases = [
            ("debs/a.deb", Ok(())),
            ("debs/a.deb", Err("twice")),
            ("kiln.toml", Err("twice")),
            ("kiln.toml/x", Err("twice")),
            ("out/x", Err("twice")),
            ("../x", Err("leads out")),
            ("/x", Err("leads out")),
            (".", Err("leads out")),
        ];
        for (at, wanted) in cases {
            let file = home.path().join("file");
            fs::write(&file, "made").unwrap();
            match (place(&file, &to, at), wanted) {
                (Ok(()), Ok(())) => assert_eq!(fs::read_to_string(to.join(at)).unwrap(), "made"),
                (Err(error), Err(why)) => assert!(error.to_string().contains(why), "{at}: {error}"),
                (got, _) => panic!("{at}: {got:?}"),
            }
        }
        assert!(!home.path().join("x").exists());
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        for bytes in [&b"hello"[..], &zstd::encode_all(&b"hello"[..], 1).unwrap()] {
            assert!(unpacked(bytes, 100).1.is_err());
        }
        let whole = tar(&[("a", FILE, "", b"hello")]);
        assert!(unpacked(&whole[..whole.len() - 10], 100).1.is_err());
    }
}
