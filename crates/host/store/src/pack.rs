//! Layers on their way to another machine's store: one stream of bytes, packed with zstd.
//!
//! `kiln-layer-1`, what is said about the layer, its manifest, then the bytes of its regular files in the manifest's order, of each inode
//! once. What is unpacked is read again and compared with the manifest before anyone may use it: owners, modes, times, links, attributes,
//! devices and what it takes away from the layers below are as they were, or it is refused.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use kiln_model::StageId;
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};
use rustix::fs::{chmodat, chownat, lsetxattr, makedev, mknodat, utimensat};

use crate::check::is_alike;
use crate::manifest::kind;
use crate::scan::scan;
use crate::{Error, Item, Layer, Manifest, Mark, Meta, Result, Store, codec};

const MAGIC: &[u8] = b"kiln-layer-1\n";
/// Quick, and smaller than what a network is faster with.
const LEVEL: i32 = 3;
/// Longest description and longest manifest, bytes.
const LONGEST: [u64; 2] = [1 << 20, 1 << 30];
/// What overlayfs reads on a folder that hides everything below.
const OPAQUE: &str = "user.overlay.opaque";

impl Store {
    /// Writes a layer to `to`.
    pub fn pack(&self, layer: &Layer, to: impl Write) -> Result<()> {
        let failed = |error| Error::io("pack", &layer.path)(error);
        if layer.manifest.items.iter().any(|item| item.mark == Mark::Whiteout && item.kind() != kind::CHAR) {
            return Err(failed(io::Error::other("a whiteout of an unknown kind")));
        }
        write(layer, to).map_err(failed)
    }

    /// Reads what [`Store::pack`] wrote and publishes it as the layer of `id`.
    pub fn unpack(&self, id: &StageId, from: impl Read) -> Result<Layer> {
        let folder = self.scratch("unpacked")?;
        let upper = folder.join("root");
        let (meta, manifest) = read(id, from, &upper).map_err(|source| match source.raw_os_error() {
            // What the kernel says is this machine's affair.
            Some(_) => Error::io("unpack a layer into", &upper)(source),
            None => Error::NoLayer { stage: *id, source },
        })?;
        let now = scan(*id, &upper)?.manifest;
        let same = now.items.len() == manifest.items.len()
            && now.items.iter().zip(&manifest.items).all(|(now, then)| is_same(now, then));
        if !same {
            let why = io::Error::other("this filesystem does not keep all that the layer is made of");
            return Err(Error::io("unpack a layer into", &upper)(why));
        }
        self.publish(id, &upper, meta)
    }
}

/// How many names a whiteout has is overlayfs's own affair.
fn is_same(now: &Item, then: &Item) -> bool {
    match now.mark {
        Mark::Whiteout => is_alike(now, &Item { links: now.links, ..then.clone() }),
        _ => is_alike(now, then),
    }
}

fn write(layer: &Layer, to: impl Write) -> io::Result<()> {
    let mut out = zstd::Encoder::new(to, LEVEL)?;
    out.write_all(MAGIC)?;
    for part in [serde_json::to_vec(&layer.meta)?, codec::encode(&layer.manifest)] {
        out.write_all(&(part.len() as u64).to_le_bytes())?;
        out.write_all(&part)?;
    }
    let mut seen = HashSet::new();
    for item in layer.manifest.files().filter(|item| item.links == 1 || seen.insert(item.print.inode)) {
        let file = File::open(item.path.under(&layer.path))?;
        if io::copy(&mut file.take(item.print.size), &mut out)? != item.print.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    out.finish()?.flush()
}

fn read(id: &StageId, from: impl Read, upper: &Path) -> io::Result<(Meta, Manifest)> {
    let bad = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut from = zstd::Decoder::new(from)?;
    let mut magic = [0; MAGIC.len()];
    from.read_exact(&mut magic)?;
    if magic != MAGIC {
        return Err(bad("it is no packed layer"));
    }
    let [meta, manifest] = LONGEST.map(|longest| part(&mut from, longest));
    let meta: Meta = serde_json::from_slice(&meta?)?;
    let manifest = codec::decode(*id, upper, &manifest?).ok_or_else(|| bad("its manifest is damaged"))?;
    fill(&manifest, &mut from)?;
    match from.read(&mut [0])? {
        0 => Ok((meta, manifest)),
        _ => Err(bad("it goes on after its end")),
    }
}

fn part(from: &mut impl Read, longest: u64) -> io::Result<Vec<u8>> {
    let mut length = [0; 8];
    from.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > longest {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a part of it is too long"));
    }
    let mut bytes = vec![];
    match from.take(length).read_to_end(&mut bytes)? as u64 {
        read if read == length => Ok(bytes),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Makes everything in a manifest at its root, which is not there yet.
fn fill(manifest: &Manifest, from: &mut impl Read) -> io::Result<()> {
    // Nothing is made behind a symbolic link: only below folders that were made here.
    let (mut folders, mut first) = (HashSet::new(), HashMap::new());
    for item in &manifest.items {
        if !item.path.parent().is_none_or(|parent| folders.contains(&parent)) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("`{}` is in no folder", item.path)));
        }
        if item.is_dir() && !folders.insert(item.path.clone()) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let path = item.path.under(&manifest.root);
        if item.links > 1 && !item.is_dir() {
            let (known, other) = first.entry(item.print.inode).or_insert_with(|| (path.clone(), item));
            if *known != path {
                // A name of a link is no name of a file, whatever the list says: what is done to files would go through it.
                if other.kind() != item.kind() || other.target != item.target {
                    let why = format!("`{}` and `{}` are not one", other.path, item.path);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, why));
                }
                std::fs::hard_link(known, &path)?;
                continue;
            }
        }
        make(item, &path, from)?;
    }
    // Folders last: what is made in them changes their times.
    manifest.items.iter().rev().try_for_each(|item| dress(item, &item.path.under(&manifest.root)))
}

fn make(item: &Item, path: &Path, from: &mut impl Read) -> io::Result<()> {
    let node = |kind| mknodat(CWD, path, kind, Mode::empty(), makedev(item.device.0, item.device.1));
    match item.kind() {
        kind::DIR => std::fs::create_dir(path)?,
        kind::SYMLINK => std::os::unix::fs::symlink(OsStr::from_bytes(&item.target), path)?,
        kind::FILE => {
            let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
            if io::copy(&mut from.take(item.print.size), &mut file)? != item.print.size {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        kind::FIFO => node(FileType::Fifo)?,
        kind::SOCKET => node(FileType::Socket)?,
        kind::CHAR => node(FileType::CharacterDevice)?,
        kind::BLOCK => node(FileType::BlockDevice)?,
        _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "a file of an unknown kind")),
    }
    Ok(())
}

/// Owner before mode, since changing it clears setuid bits, and time last.
fn dress(item: &Item, path: &Path) -> io::Result<()> {
    let (uid, gid) = (rustix::fs::Uid::from_raw(item.uid), rustix::fs::Gid::from_raw(item.gid));
    chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if item.kind() != kind::SYMLINK {
        chmodat(CWD, path, Mode::from_raw_mode(item.mode & !kind::MASK), AtFlags::empty())?;
    }
    for (name, value) in &item.xattrs {
        lsetxattr(path, name.as_str(), value, XattrFlags::empty())?;
    }
    if item.mark == Mark::Opaque {
        lsetxattr(path, OPAQUE, b"y", XattrFlags::empty())?;
    }
    let time = Timespec { tv_sec: item.print.mtime.0, tv_nsec: item.print.mtime.1.into() };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}
