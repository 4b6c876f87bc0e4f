//! Folders of the host.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use kiln_model::tree::{Body, Place};
use kiln_model::{Digest, Entry, GuestPath, Kind};
use rustix::fs::{lgetxattr, llistxattr, major, minor};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::walk::broken;

/// Returns every file below `root` with the digest of its content; what `keep` names is kept inline.
pub(super) fn walk(root: &Path, keep: &dyn Fn(&GuestPath) -> bool) -> io::Result<Vec<Entry>> {
    let mut walk = Walk { keep, entries: Vec::new(), seen: HashMap::new() };
    walk.visit(root, GuestPath::root())?;
    Ok(walk.entries)
}

struct Walk<'a> {
    keep: &'a dyn Fn(&GuestPath) -> bool,
    entries: Vec<Entry>,
    /// Files with more than one name: device and inode → first name.
    seen: HashMap<(u64, u64), GuestPath>,
}

impl Walk<'_> {
    fn visit(&mut self, host: &Path, path: GuestPath) -> io::Result<()> {
        let doing = |error: io::Error| io::Error::new(error.kind(), format!("`{path}`: {error}"));
        let data = fs::symlink_metadata(host).map_err(doing)?;
        let kind = self.kind(host, &path, &data).map_err(doing)?;
        let xattrs = xattrs(host).map_err(doing)?;
        let (uid, gid, mtime) = (data.uid(), data.gid(), data.mtime());
        self.entries.push(Entry { path: path.clone(), mode: data.mode() & 0o7777, uid, gid, mtime, xattrs, kind });
        if !data.is_dir() {
            return Ok(());
        }
        let names = fs::read_dir(host).map_err(doing)?.map(|item| item.map(|item| item.file_name()));
        let mut names = names.collect::<io::Result<Vec<_>>>()?;
        names.sort();
        for name in names {
            let below = path.join(name.as_bytes()).map_err(|error| broken(error.to_string()))?;
            self.visit(&host.join(&name), below)?;
        }
        Ok(())
    }

    fn kind(&mut self, host: &Path, path: &GuestPath, data: &Metadata) -> io::Result<Kind> {
        if !data.is_dir() && data.nlink() > 1 {
            if let Some(first) = self.seen.get(&(data.dev(), data.ino())) {
                return Ok(Kind::Hardlink(first.clone()));
            }
            self.seen.insert((data.dev(), data.ino()), path.clone());
        }
        let (major, minor) = (major(data.rdev()), minor(data.rdev()));
        Ok(match data.mode() & 0o170_000 {
            0o040_000 => Kind::Dir,
            0o120_000 => Kind::Symlink(fs::read_link(host)?.as_os_str().as_bytes().to_vec()),
            0o010_000 => Kind::Fifo,
            0o140_000 => Kind::Socket,
            0o020_000 => Kind::Char { major, minor },
            0o060_000 => Kind::Block { major, minor },
            _ => Kind::File(body(host, (self.keep)(path))?),
        })
    }
}

fn body(host: &Path, keep: bool) -> io::Result<Body> {
    let (mut hash, mut size, mut buffer, mut file) = (Sha256::new(), 0, vec![0; 256 * 1024], File::open(host)?);
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        hash.update(&buffer[..length]);
        size += length as u64;
    }
    let digest = Some(Digest::from_bytes(hash.finalize().into()));
    let place = if keep { Place::Inline(fs::read(host)?.into()) } else { Place::Host(host.to_owned()) };
    Ok(Body { size, digest, token: None, place })
}

fn xattrs(host: &Path) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut names = vec![0; 64 * 1024];
    let length = match llistxattr(host, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::NOTSUP) => 0,
        Err(error) => return Err(error.into()),
    };
    let mut found = BTreeMap::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 64 * 1024];
        let length = lgetxattr(host, name, &mut value[..])?;
        value.truncate(length);
        found.insert(String::from_utf8_lossy(name).into_owned(), value);
    }
    // The host's own labels are no part of an artifact.
    found.remove("security.selinux");
    Ok(found)
}
