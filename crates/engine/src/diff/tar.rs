//! Tar archives, also compressed.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::path::Path;

use kiln_model::tree::{Body, Place, by_parts};
use kiln_model::{Digest, Entry, GuestPath, Kind};
use sha2::{Digest as _, Sha256};
use tar::EntryType;

use super::walk::broken;

/// Returns whether bytes begin like a tar archive.
pub(super) fn is(head: &[u8]) -> bool {
    head.get(257..262).is_some_and(|magic| magic == b"ustar")
}

/// Returns every file of an archive with the digest of its content; what `keep` names is kept inline.
pub(super) fn walk(archive: impl Read, artifact: &Path, keep: &dyn Fn(&GuestPath) -> bool) -> io::Result<Vec<Entry>> {
    let mut archive = tar::Archive::new(archive);
    // A later member of the same name replaces the earlier one, as it does when unpacking.
    let mut entries: BTreeMap<Vec<u8>, Entry> = BTreeMap::new();
    for member in archive.entries()? {
        let mut member = member?;
        if let Some(entry) = read(&mut member, artifact, keep)? {
            entries.insert(entry.path.as_bytes().to_vec(), entry);
        }
    }
    let mut entries: Vec<Entry> = entries.into_values().collect();
    first_names(&mut entries);
    Ok(entries)
}

fn read<R: Read>(
    member: &mut tar::Entry<'_, R>,
    artifact: &Path,
    keep: &dyn Fn(&GuestPath) -> bool,
) -> io::Result<Option<Entry>> {
    let path = guest(&member.path_bytes())?;
    let header = member.header();
    let (mode, mtime) = (header.mode()? & 0o7777, header.mtime()? as i64);
    let (uid, gid) = (header.uid()? as u32, header.gid()? as u32);
    // Other members may leave the fields empty.
    let device = || Ok::<_, io::Error>((header.device_major()?.unwrap_or(0), header.device_minor()?.unwrap_or(0)));
    let link = || {
        member
            .link_name_bytes()
            .map(|name| name.into_owned())
            .ok_or_else(|| broken(format!("`{path}` links to nothing")))
    };
    let kind = match header.entry_type() {
        EntryType::Directory => Kind::Dir,
        EntryType::Symlink => Kind::Symlink(link()?),
        EntryType::Link => Kind::Hardlink(guest(&link()?)?),
        EntryType::Fifo => Kind::Fifo,
        EntryType::Char => device().map(|(major, minor)| Kind::Char { major, minor })?,
        EntryType::Block => device().map(|(major, minor)| Kind::Block { major, minor })?,
        EntryType::XGlobalHeader => return Ok(None),
        _ => Kind::File(body(member, artifact, keep(&path))?),
    };
    let xattrs = xattrs(member)?;
    Ok(Some(Entry { path, mode, uid, gid, mtime, xattrs, kind }))
}

fn body<R: Read>(member: &mut tar::Entry<'_, R>, artifact: &Path, keep: bool) -> io::Result<Body> {
    let (mut hash, mut kept, mut size, mut buffer) = (Sha256::new(), Vec::new(), 0, vec![0; 256 * 1024]);
    loop {
        let length = member.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        hash.update(&buffer[..length]);
        size += length as u64;
        if keep {
            kept.extend_from_slice(&buffer[..length]);
        }
    }
    let digest = Some(Digest::from_bytes(hash.finalize().into()));
    let place = if keep { Place::Inline(kept.into()) } else { Place::Host(artifact.to_owned()) };
    Ok(Body { size, digest, token: None, place })
}

fn xattrs<R: Read>(member: &mut tar::Entry<'_, R>) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    if let Some(extensions) = member.pax_extensions()? {
        for extension in extensions {
            let extension = extension?;
            if let Some(name) = extension.key().ok().and_then(|key| key.strip_prefix("SCHILY.xattr.")) {
                found.insert(name.to_owned(), extension.value_bytes().to_vec());
            }
        }
    }
    Ok(found)
}

fn guest(bytes: &[u8]) -> io::Result<GuestPath> {
    GuestPath::new(bytes).map_err(|error| broken(error.to_string()))
}

/// Makes the name that sorts first hold each hard-linked file's content, the others point at it.
pub(super) fn first_names(entries: &mut [Entry]) {
    entries.sort_by(|a, b| by_parts(&a.path, &b.path));
    let places: HashMap<GuestPath, usize> =
        entries.iter().enumerate().map(|(at, entry)| (entry.path.clone(), at)).collect();
    for at in 0..entries.len() {
        let Kind::Hardlink(target) = &entries[at].kind else { continue };
        let Some(&holder) = places.get(target).filter(|holder| **holder > at) else { continue };
        let (first, old) = (entries[at].path.clone(), target.clone());
        entries[at] = Entry { path: first.clone(), ..entries[holder].clone() };
        entries[holder].kind = Kind::Hardlink(first.clone());
        let others = entries.iter_mut().filter(|entry| matches!(&entry.kind, Kind::Hardlink(target) if *target == old));
        others.for_each(|entry| entry.kind = Kind::Hardlink(first.clone()));
    }
}
