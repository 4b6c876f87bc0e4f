//! Files of a target tree, reached so that no symbolic link in the tree leads out of it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use kiln_model::GuestPath;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags, chownat,
    fchmod, fchown, fsetxattr, fstat, futimens, linkat, mkdirat, openat, openat2, readlinkat, renameat, statat,
    symlinkat, unlinkat,
};
use rustix::io::Errno;

/// A tree that a build works on.
#[derive(Debug)]
pub struct Target {
    root: PathBuf,
    dir: OwnedFd,
}

/// Numeric owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    pub uid: u32,
    pub gid: u32,
}

/// What tells one file from another that takes its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    pub is_folder: bool,
    pub is_link: bool,
    size: i64,
    /// Seconds since 1970, and nanoseconds.
    modified: (i64, u64),
    inode: u64,
}

/// How a file of a directory begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beginning {
    pub name: Vec<u8>,
    pub bytes: Vec<u8>,
    /// The same for hard links of one file.
    pub inode: u64,
}

/// A path split into an open parent directory and a last name.
struct Place {
    parent: OwnedFd,
    name: Vec<u8>,
}

impl Target {
    pub fn open(root: &Path) -> io::Result<Self> {
        let dir = openat(CWD, root, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { root: root.to_owned(), dir })
    }

    /// Returns the tree's folder on the host.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Opens below the root; `..` and absolute links stay inside.
    fn open_inside(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        openat2(&self.dir, OsStr::from_bytes(path), flags | OFlags::CLOEXEC, Mode::empty(), resolve)
    }

    /// Opens a directory, making it and its parents (mode 0755, owned by root) where they are missing.
    fn directory(&self, path: &GuestPath) -> io::Result<OwnedFd> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY;
        match self.open_inside(path.relative(), flags) {
            Ok(directory) => Ok(directory),
            Err(Errno::NOENT) => {
                let Some(parent) = path.parent() else { return Err(Errno::NOENT.into()) };
                let parent = self.directory(&parent)?;
                mkdirat(&parent, OsStr::from_bytes(path.name()), Mode::from_raw_mode(0o755))?;
                let directory = self.open_inside(path.relative(), flags)?;
                fchmod(&directory, Mode::from_raw_mode(0o755))?;
                Ok(directory)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn place(&self, path: &GuestPath) -> io::Result<Place> {
        let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Place { parent: self.directory(&parent)?, name: path.name().to_vec() })
    }

    /// Writes a file beside its place and renames it there, so that links and hard links are replaced, not followed.
    pub fn write(&self, path: &GuestPath, mode: u32, ids: Ids, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.create(path, mode, ids)?;
        file.file.write_all(bytes)?;
        file.finish()
    }

    /// Starts a file to be written piece by piece; without [`Pending::finish`] nothing is there.
    pub fn create(&self, path: &GuestPath, mode: u32, ids: Ids) -> io::Result<Pending> {
        let place = self.place(path)?;
        let hidden = [b".kiln-", place.name.as_slice()].concat();
        let hidden: Vec<u8> = hidden.into_iter().take(255).collect();
        // What a tree that was given has there may be anything, a pipe even.
        vacate(&place.parent, &hidden)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&place.parent, OsStr::from_bytes(&hidden), flags, Mode::from_raw_mode(0o600))?;
        Ok(Pending { file: file.into(), hidden, place, mode, ids })
    }

    /// Makes a directory, or gives an existing one this mode and owner.
    pub fn mkdir(&self, path: &GuestPath, mode: u32, ids: Ids) -> io::Result<()> {
        own(&self.directory(path)?, mode, ids)
    }

    /// Makes a symbolic link, replacing a file or link.
    pub fn symlink(&self, path: &GuestPath, target: &[u8], ids: Ids) -> io::Result<()> {
        let place = self.place(path)?;
        let name = OsStr::from_bytes(&place.name);
        vacate(&place.parent, &place.name)?;
        symlinkat(OsStr::from_bytes(target), &place.parent, name)?;
        chownat(&place.parent, name, uid(ids), gid(ids), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    /// Gives a file a further name, replacing what has it.
    pub fn hardlink(&self, from: &GuestPath, to: &GuestPath) -> io::Result<()> {
        let (from, to) = (self.place(from)?, self.place(to)?);
        vacate(&to.parent, &to.name)?;
        let (first, further) = (OsStr::from_bytes(&from.name), OsStr::from_bytes(&to.name));
        Ok(linkat(&from.parent, first, &to.parent, further, AtFlags::empty())?)
    }

    /// Reads a file; none when there is none, or when it is no regular file (a pipe would have no end). Links are
    /// followed inside the tree.
    pub fn read(&self, path: &GuestPath) -> io::Result<Option<Vec<u8>>> {
        match self.open_inside(path.relative(), OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(file) => {
                let (mut file, mut bytes) = (File::from(file), Vec::new());
                if !file.metadata()?.is_file() {
                    return Ok(None);
                }
                file.read_to_end(&mut bytes)?;
                Ok(Some(bytes))
            }
            // Sockets cannot be opened.
            Err(Errno::NXIO) => Ok(None),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads a text; what is not UTF-8 is replaced, and a missing file is empty.
    pub fn text(&self, path: &GuestPath) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&self.read(path)?.unwrap_or_default()).into_owned())
    }

    /// Whether something is there, dangling links included.
    pub fn exists(&self, path: &GuestPath) -> bool {
        let Some(parent) = path.parent() else { return true };
        let Ok(parent) = self.open_inside(parent.relative(), OFlags::DIRECTORY | OFlags::RDONLY) else { return false };
        statat(&parent, OsStr::from_bytes(path.name()), AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Returns the facts of what is there; a link is not followed.
    pub fn facts(&self, path: &GuestPath) -> io::Result<Facts> {
        let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = self.open_inside(parent.relative(), OFlags::DIRECTORY | OFlags::RDONLY)?;
        let stat = statat(&parent, OsStr::from_bytes(path.name()), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(Facts {
            is_folder: FileType::from_raw_mode(stat.st_mode) == FileType::Directory,
            is_link: FileType::from_raw_mode(stat.st_mode) == FileType::Symlink,
            size: stat.st_size,
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            inode: stat.st_ino,
        })
    }

    /// Returns permission bits and owner of what is there; links are followed inside the tree.
    pub fn looks(&self, path: &GuestPath) -> io::Result<(u32, Ids)> {
        let stat = fstat(self.open_inside(path.relative(), OFlags::PATH)?)?;
        Ok((stat.st_mode & 0o7777, Ids { uid: stat.st_uid, gid: stat.st_gid }))
    }

    /// Returns the names in a directory, sorted; a missing directory has none.
    pub fn names(&self, path: &GuestPath) -> io::Result<Vec<Vec<u8>>> {
        match self.open_inside(path.relative(), OFlags::DIRECTORY | OFlags::RDONLY) {
            Ok(directory) => names(&directory),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(vec![]),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the first bytes of every regular file in a directory, `length` at most; a missing directory has none.
    pub fn beginnings(&self, path: &GuestPath, length: usize) -> io::Result<Vec<Beginning>> {
        let directory = match self.open_inside(path.relative(), OFlags::DIRECTORY | OFlags::RDONLY) {
            Ok(directory) => directory,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(vec![]),
            Err(error) => return Err(error.into()),
        };
        let mut beginnings = vec![];
        for name in names(&directory)? {
            let file = OsStr::from_bytes(&name);
            let stat = statat(&directory, file, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                continue;
            }
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = File::from(openat(&directory, file, flags, Mode::empty())?);
            let mut bytes = Vec::with_capacity(length);
            file.take(length as u64).read_to_end(&mut bytes)?;
            beginnings.push(Beginning { name, bytes, inode: stat.st_ino });
        }
        Ok(beginnings)
    }

    /// Returns what matches a glob: `*` and `?` inside one name; a glob's `*` matches no leading dot. Sorted.
    pub fn glob(&self, glob: &str) -> io::Result<Vec<GuestPath>> {
        let mut found = vec![GuestPath::root()];
        for part in glob.split('/').filter(|part| !part.is_empty()) {
            let mut next = vec![];
            for directory in &found {
                if part.contains(['*', '?']) {
                    let names = self.names(directory)?.into_iter().filter(|name| matches(part.as_bytes(), name));
                    next.extend(names.filter_map(|name| directory.join(name).ok()));
                } else if let Ok(path) = directory.join(part) {
                    next.extend(self.exists(&path).then_some(path));
                }
            }
            found = next;
        }
        Ok(found)
    }

    /// Removes a file, link or directory with all it holds; nothing there is fine.
    pub fn remove(&self, path: &GuestPath) -> io::Result<()> {
        let Some(parent) = path.parent() else { return Err(io::ErrorKind::InvalidInput.into()) };
        match self.open_inside(parent.relative(), OFlags::DIRECTORY | OFlags::RDONLY) {
            Ok(parent) => remove(&parent, path.name()),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a file or link; what is a directory, or not there, stays so.
    pub fn unlink(&self, path: &GuestPath) -> io::Result<()> {
        match self.facts(path) {
            Ok(facts) if !facts.is_folder => self.remove(path),
            Err(error) if !is_absent(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes a directory that nothing is in; anything else stays.
    pub fn remove_empty(&self, path: &GuestPath) -> io::Result<()> {
        let Some(parent) = path.parent() else { return Ok(()) };
        let removed = self
            .open_inside(parent.relative(), OFlags::DIRECTORY | OFlags::RDONLY)
            .and_then(|parent| unlinkat(&parent, OsStr::from_bytes(path.name()), AtFlags::REMOVEDIR));
        match removed {
            Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOENT | Errno::NOTDIR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives a name another place, replacing what is there.
    pub fn rename(&self, from: &GuestPath, to: &GuestPath) -> io::Result<()> {
        let (from, to) = (self.place(from)?, self.place(to)?);
        Ok(renameat(&from.parent, OsStr::from_bytes(&from.name), &to.parent, OsStr::from_bytes(&to.name))?)
    }

    /// Empties a regular file.
    pub fn truncate(&self, path: &GuestPath) -> io::Result<()> {
        let place = self.place(path)?;
        let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match openat(&place.parent, OsStr::from_bytes(&place.name), flags, Mode::empty()) {
            Ok(_) | Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the target of a symbolic link; none when it is none.
    pub fn link(&self, path: &GuestPath) -> Option<Vec<u8>> {
        let parent = self.open_inside(path.parent()?.relative(), OFlags::DIRECTORY | OFlags::RDONLY).ok()?;
        readlinkat(&parent, OsStr::from_bytes(path.name()), Vec::new()).ok().map(|target| target.into_bytes())
    }
}

/// A file that is not in its place yet.
pub struct Pending {
    pub file: File,
    hidden: Vec<u8>,
    place: Place,
    mode: u32,
    ids: Ids,
}

impl Pending {
    /// Gives the file its owner and mode, last, since writing clears setuid bits, and puts it in its place.
    pub fn finish(self) -> io::Result<()> {
        own(&self.file, self.mode, self.ids)?;
        self.rename()
    }

    /// Does the same for a file that a package brings, with its time (seconds since 1970) and extended attributes.
    pub fn finish_as(self, mtime: i64, xattrs: &BTreeMap<String, Vec<u8>>) -> io::Result<()> {
        own(&self.file, self.mode, self.ids)?;
        // Capabilities are lost with a change of the owner.
        for (name, value) in xattrs {
            fsetxattr(&self.file, name.as_str(), value, XattrFlags::empty())?;
        }
        let time = Timespec { tv_sec: mtime, tv_nsec: 0 };
        futimens(&self.file, &Timestamps { last_access: time, last_modification: time })?;
        self.rename()
    }

    fn rename(self) -> io::Result<()> {
        let Self { hidden, place, .. } = self;
        Ok(renameat(&place.parent, OsStr::from_bytes(&hidden), &place.parent, OsStr::from_bytes(&place.name))?)
    }
}

/// Makes a name of a folder free; what is a directory is an error.
fn vacate(folder: &OwnedFd, name: &[u8]) -> io::Result<()> {
    match unlinkat(folder, OsStr::from_bytes(name), AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn uid(ids: Ids) -> Option<Uid> {
    Some(Uid::from_raw(ids.uid))
}

fn gid(ids: Ids) -> Option<Gid> {
    Some(Gid::from_raw(ids.gid))
}

/// The owner first, since changing it clears setuid bits.
fn own(file: &impl AsFd, mode: u32, ids: Ids) -> io::Result<()> {
    fchown(file, uid(ids), gid(ids))?;
    Ok(fchmod(file, Mode::from_raw_mode(mode))?)
}

fn names(directory: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = vec![];
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn remove(parent: &OwnedFd, name: &[u8]) -> io::Result<()> {
    let name = OsStr::from_bytes(name);
    let stat = match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(unlinkat(parent, name, AtFlags::empty())?);
    }
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = openat(parent, name, flags, Mode::empty())?;
    for inner in names(&directory)? {
        remove(&directory, &inner)?;
    }
    Ok(unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

/// Shell-like matching of one name.
fn matches(glob: &[u8], name: &[u8]) -> bool {
    if name.first() == Some(&b'.') && glob.first() != Some(&b'.') {
        return false;
    }
    matches_rest(glob, name)
}

fn matches_rest(glob: &[u8], name: &[u8]) -> bool {
    match (glob.first(), name.first()) {
        (None, None) => true,
        (Some(b'*'), _) => matches_rest(&glob[1..], name) || (!name.is_empty() && matches_rest(glob, &name[1..])),
        (Some(b'?'), Some(_)) => matches_rest(&glob[1..], &name[1..]),
        (Some(a), Some(b)) if a == b => matches_rest(&glob[1..], &name[1..]),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_in_a_shell() {
        let cases =
            [("*", "a", true), ("*", ".a", false), ("*-", "passwd-", true), ("a*b?", "axxbc", true), ("a", "b", false)];
        for (glob, name, wanted) in cases {
            assert_eq!(matches(glob.as_bytes(), name.as_bytes()), wanted, "{glob} {name}");
        }
    }

    #[test]
    fn a_written_file_keeps_its_set_id_bits() {
        use std::os::unix::fs::MetadataExt as _;
        let inside = tempfile::tempdir().unwrap();
        let meta = std::fs::metadata(inside.path()).unwrap();
        let (ids, path) = (Ids { uid: meta.uid(), gid: meta.gid() }, "/bin/run".parse().unwrap());
        Target::open(inside.path()).unwrap().write(&path, 0o6750, ids, b"x").unwrap();
        assert_eq!(std::fs::metadata(inside.path().join("bin/run")).unwrap().mode() & 0o7777, 0o6750);
    }

    #[test]
    fn beginnings_are_those_of_regular_files() {
        let inside = tempfile::tempdir().unwrap();
        let folder = inside.path().join("bin");
        std::fs::create_dir_all(folder.join("folder")).unwrap();
        for (name, bytes) in [("empty", ""), ("long", "abcdefgh"), ("short", "xy")] {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
        std::fs::hard_link(folder.join("long"), folder.join("again")).unwrap();
        std::os::unix::fs::symlink("long", folder.join("link")).unwrap();
        let pipe = (FileType::Fifo, Mode::from_raw_mode(0o644));
        rustix::fs::mknodat(CWD, folder.join("pipe"), pipe.0, pipe.1, 0).unwrap();
        let target = Target::open(inside.path()).unwrap();
        let of = |path: &str, length| target.beginnings(&path.parse().unwrap(), length).unwrap();
        let found = of("/bin", 4);
        let texts: Vec<_> = found.iter().map(|one| (&one.name[..], &one.bytes[..])).collect();
        let wanted: [(&[u8], &[u8]); 4] = [(b"again", b"abcd"), (b"empty", b""), (b"long", b"abcd"), (b"short", b"xy")];
        assert_eq!(texts, wanted);
        let same: Vec<_> = found.iter().map(|one| one.inode == found[0].inode).collect();
        assert_eq!(same, [true, false, true, false]);
        assert_eq!((of("/missing", 4), of("/bin/long", 4), of("/bin/folder", 4)), (vec![], vec![], vec![]));
    }

    #[test]
    fn a_pipe_in_the_way_holds_nobody_up() {
        let inside = tempfile::tempdir().unwrap();
        let target = Target::open(inside.path()).unwrap();
        let hidden = inside.path().join(".kiln-file");
        rustix::fs::mknodat(rustix::fs::CWD, &hidden, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        target.write(&"/file".parse().unwrap(), 0o644, Ids::default(), b"written").unwrap();
        assert_eq!(std::fs::read(inside.path().join("file")).unwrap(), b"written");
        assert!(!hidden.exists());
    }

    #[test]
    fn what_is_removed_is_a_file_or_an_empty_directory() {
        let inside = tempfile::tempdir().unwrap();
        let at = |name: &str| inside.path().join(name);
        std::fs::create_dir_all(at("usr/full/empty")).unwrap();
        std::fs::write(at("usr/file"), "x").unwrap();
        std::os::unix::fs::symlink("usr", at("link")).unwrap();
        let target = Target::open(inside.path()).unwrap();
        let path = |text: &str| text.parse::<GuestPath>().unwrap();
        for name in ["/usr/full", "/usr/none", "/none/none", "/usr/file/none"] {
            target.unlink(&path(name)).unwrap();
            target.remove_empty(&path(name)).unwrap();
        }
        target.remove_empty(&path("/usr/file")).unwrap();
        target.remove_empty(&path("/link")).unwrap();
        assert!(at("usr/full/empty").is_dir() && at("usr/file").is_file() && at("link").is_symlink());
        let (mode, ids) = target.looks(&path("/link/file")).unwrap();
        let facts = std::fs::metadata(at("usr/file")).unwrap();
        use std::os::unix::fs::MetadataExt as _;
        assert_eq!((mode, ids), (facts.mode() & 0o7777, Ids { uid: facts.uid(), gid: facts.gid() }));
        target.unlink(&path("/link/file")).unwrap();
        target.unlink(&path("/link")).unwrap();
        target.remove_empty(&path("/usr/full/empty")).unwrap();
        target.remove_empty(&path("/usr/full")).unwrap();
        assert!(!at("usr/full").exists() && !at("usr/file").exists() && at("usr").is_dir() && !at("link").is_symlink());
    }

    #[test]
    fn no_link_leads_out() {
        let outside = tempfile::tempdir().unwrap();
        let inside = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), inside.path().join("etc")).unwrap();
        std::fs::write(outside.path().join("secret"), "x").unwrap();
        let target = Target::open(inside.path()).unwrap();
        let path: GuestPath = "/etc/secret".parse().unwrap();
        assert_eq!(target.read(&path).unwrap(), None);
        assert!(target.write(&path, 0o644, Ids::default(), b"y").is_err());
        target.remove(&path).unwrap();
        assert_eq!(std::fs::read(outside.path().join("secret")).unwrap(), b"x");
    }
}
