//! Whether a layer is still what was published: by fingerprints in milliseconds, by content when these differ.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use kiln_model::Digest;
use rayon::prelude::*;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::files::{hash, read_if_there};
use crate::scan::{print, scan, statx};
use crate::{Error, Item, Manifest, Result};

/// Names one thread looks at before it asks for more.
const CHUNK: usize = 512;

/// Whether every name of a layer has the fingerprint it was published with.
///
/// Names that were added or removed show in the times of their folder, so no folder needs to be read.
pub(crate) fn untouched(manifest: &Manifest) -> Result<bool> {
    let root = &manifest.root;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = match rustix::fs::open(root, flags, Mode::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
        other => other.map_err(Error::io("open", root))?,
    };
    Ok(manifest.items.par_chunks(CHUNK).all(|items| items.iter().all(|item| is_as_it_was(&root, item))))
}

fn is_as_it_was(root: &OwnedFd, item: &Item) -> bool {
    let name = if item.path.relative().is_empty() { b"." } else { item.path.relative() };
    statx(root, name).is_ok_and(|stat| {
        let owner = (stat.stx_uid, stat.stx_gid) == (item.uid, item.gid);
        print(&stat) == item.print && u32::from(stat.stx_mode) == item.mode && owner
    })
}

/// Returns the manifest of the layer as it is now if all of it, read anew, is what `manifest` and `digests` say; inodes
/// and change times may differ, as they do after a restored backup.
pub(crate) fn same_content(manifest: &Manifest, digests: &[Digest]) -> Result<Option<Manifest>> {
    let now = match scan(manifest.stage, &manifest.root) {
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other?.manifest,
    };
    let alike = now.items.len() == manifest.items.len()
        && now.items.iter().zip(&manifest.items).all(|(now, then)| is_alike(now, then))
        && read_all(&now)? == digests;
    Ok(alike.then_some(now))
}

/// Whether two items are one but for inode and change time.
pub(crate) fn is_alike(now: &Item, then: &Item) -> bool {
    let mut now = now.clone();
    now.print.inode = then.print.inode;
    now.print.ctime = then.print.ctime;
    if now.is_dir() {
        // What a folder takes, and how many folders it holds, is the filesystem's way of counting.
        (now.print.size, now.links) = (then.print.size, then.links);
    }
    now == *then
}

/// Reads every regular file of a layer and returns the digests in order.
pub(crate) fn read_all(manifest: &Manifest) -> Result<Vec<Digest>> {
    let files: Vec<&Item> = manifest.files().collect();
    let read = |item: &&Item| {
        let path = item.path.under(&manifest.root);
        File::open(&path).and_then(hash).map_err(Error::io("read", &path))
    };
    files.par_iter().map(read).collect()
}

/// Returns the digests kept beside a layer, if they are there and whole.
pub(crate) fn digests(folder: &Path) -> Result<Option<Vec<Digest>>> {
    Ok(read_if_there(&folder.join("digests"))?.and_then(|bytes| decode_digests(&bytes)))
}

pub(crate) fn encode_digests(digests: &[Digest]) -> Vec<u8> {
    let mut bytes: Vec<u8> = digests.iter().flat_map(|digest| *digest.as_bytes()).collect();
    let whole = Digest::of(&bytes);
    bytes.extend_from_slice(whole.as_bytes());
    bytes
}

fn decode_digests(bytes: &[u8]) -> Option<Vec<Digest>> {
    let (body, whole) = bytes.split_last_chunk::<32>()?;
    let (digests, rest) = body.as_chunks::<32>();
    let sound = rest.is_empty() && Digest::of(body).as_bytes() == whole;
    sound.then(|| digests.iter().map(|digest| Digest::from_bytes(*digest)).collect())
}
