//! Files and folders beside a recipe: read once, for their digest and for whoever takes their bytes.

use std::ffi::OsString;
use std::fs::{self, File, FileType, Metadata, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use kiln_model::Digest;

use crate::image::Hashing;

/// What becomes of the files that are read; `at` is relative to the first, which itself is empty.
pub trait Taker {
    fn folder(&mut self, at: &Path) -> io::Result<()>;
    fn link(&mut self, at: &Path, target: &[u8]) -> io::Result<()>;
    /// Takes all of a file's bytes; `mode` is as [`mode`] has it.
    fn file(&mut self, at: &Path, mode: u32, bytes: &mut dyn io::Read) -> io::Result<()>;
}

/// Takes nothing: for the digest alone.
pub struct Nobody;

impl Taker for Nobody {
    fn folder(&mut self, _at: &Path) -> io::Result<()> {
        Ok(())
    }

    fn link(&mut self, _at: &Path, _target: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn file(&mut self, _at: &Path, _mode: u32, bytes: &mut dyn io::Read) -> io::Result<()> {
        io::copy(bytes, &mut io::sink()).map(drop)
    }
}

/// Returns the mode a file has in an image: its own but for what a umask changes.
pub fn mode(permissions: &Permissions) -> u32 {
    permissions.mode() & 0o755 | 0o400
}

/// Reads a file, or a folder with all it holds; returns the digest of what was taken: of a file's bytes, of a folder's names,
/// kinds, modes as [`mode`] has them, and contents. A link at the top is followed, others are taken as links.
pub fn take(path: &Path, taker: &mut dyn Taker) -> io::Result<Digest> {
    let mode = |meta: &Metadata| if meta.is_dir() { String::new() } else { format!("{:o}", mode(&meta.permissions())) };
    Walk { taker, facts: &mode }.start(path)
}

/// Returns the digest of a folder's names, kinds, modes, owners and contents.
pub fn digest_with_owners(folder: &Path) -> io::Result<Digest> {
    let facts = |meta: &Metadata| format!("{:o} {} {}", meta.mode(), meta.uid(), meta.gid());
    Walk { taker: &mut Nobody, facts: &facts }.start(folder)
}

struct Walk<'a> {
    taker: &'a mut dyn Taker,
    /// What counts of a file or folder besides its name and content.
    facts: &'a dyn Fn(&Metadata) -> String,
}

impl Walk<'_> {
    fn start(&mut self, path: &Path) -> io::Result<Digest> {
        let at = Path::new("");
        if fs::metadata(path)?.is_dir() { self.folder(path, at) } else { self.file(path, at) }
    }

    fn folder(&mut self, path: &Path, at: &Path) -> io::Result<Digest> {
        self.taker.folder(at)?;
        let mut listing = vec![];
        for (name, kind) in sorted(path)? {
            let (path, at) = (path.join(&name), at.join(&name));
            let facts = (self.facts)(&fs::symlink_metadata(&path)?);
            let (word, digest) = if kind.is_dir() {
                ("folder", self.folder(&path, &at)?)
            } else if kind.is_symlink() {
                ("link", self.link(&path, &at)?)
            } else {
                ("file", self.file(&path, &at)?)
            };
            listing.extend_from_slice(name.as_bytes());
            listing.extend_from_slice(format!("\0{word} {facts} {digest}\n").as_bytes());
        }
        Ok(Digest::of(listing))
    }

    fn link(&mut self, path: &Path, at: &Path) -> io::Result<Digest> {
        let target = fs::read_link(path)?;
        self.taker.link(at, target.as_os_str().as_bytes())?;
        Ok(Digest::of(target.as_os_str().as_bytes()))
    }

    fn file(&mut self, path: &Path, at: &Path) -> io::Result<Digest> {
        let meta = fs::metadata(path)?;
        if !meta.is_file() {
            // A pipe would have no end.
            return Err(io::Error::other(format!("`{}` is no file, folder or link", path.display())));
        }
        let mut reading = Hashed { file: File::open(path)?, hashing: Hashing::new(io::sink()) };
        self.taker.file(at, mode(&meta.permissions()), &mut reading)?;
        Ok(reading.hashing.finish().2)
    }
}

/// A file whose bytes are hashed as they are read.
struct Hashed {
    file: File,
    hashing: Hashing<io::Sink>,
}

impl io::Read for Hashed {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(bytes)?;
        io::Write::write_all(&mut self.hashing, &bytes[..read])?;
        Ok(read)
    }
}

fn sorted(folder: &Path) -> io::Result<Vec<(OsString, FileType)>> {
    let entries =
        fs::read_dir(folder)?.map(|entry| entry.and_then(|entry| Ok((entry.file_name(), entry.file_type()?))));
    let mut entries: Vec<_> = entries.collect::<io::Result<_>>()?;
    entries.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A umask or a fresh clone changes nothing; whether a file can be executed, its bytes and its name do.
    #[test]
    fn the_digest_is_of_what_images_get() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a/b/file");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "one").unwrap();
        symlink("b/file", home.path().join("a/link")).unwrap();
        let digest = || take(home.path(), &mut Nobody).unwrap();
        let allow = |mode| fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        allow(0o644);
        let first = digest();
        for (mode, same) in [(0o664, true), (0o600, false), (0o755, false), (0o644, true)] {
            allow(mode);
            assert_eq!(digest() == first, same, "{mode:o}");
        }
        fs::set_permissions(path.parent().unwrap(), Permissions::from_mode(0o700)).unwrap();
        assert_eq!(digest(), first);
        fs::write(&path, "two").unwrap();
        assert_ne!(digest(), first);
    }

    #[test]
    fn a_link_at_the_top_is_what_it_points_to() {
        let home = tempfile::tempdir().unwrap();
        let [file, link, pipe] = ["file", "link", "pipe"].map(|name| home.path().join(name));
        fs::write(&file, "one").unwrap();
        symlink("file", &link).unwrap();
        assert_eq!(take(&link, &mut Nobody).unwrap(), Digest::of("one"));
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(take(&pipe, &mut Nobody).unwrap_err().to_string().contains("is no file"));
        assert!(take(home.path(), &mut Nobody).is_err());
    }
}
