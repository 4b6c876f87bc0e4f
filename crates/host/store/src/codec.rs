//! The manifest as bytes: `kiln-manifest-2`, the items, the SHA-256 of all before it.
//!
//! Numbers are little-endian. A path is told by how many bytes it shares with the one before, and the rest.

use std::collections::BTreeMap;
use std::path::Path;

use kiln_model::{Digest, GuestPath, StageId};

use crate::{Fingerprint, Item, Manifest, Mark};

const MAGIC: &[u8] = b"kiln-manifest-2\n";

pub(crate) fn encode(manifest: &Manifest) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(manifest.stage.0.as_bytes());
    out.extend_from_slice(&(manifest.items.len() as u64).to_le_bytes());
    let mut before: &[u8] = b"";
    for item in &manifest.items {
        put_item(&mut out, before, item);
        before = item.path.as_bytes();
    }
    let digest = Digest::of(&out);
    out.extend_from_slice(digest.as_bytes());
    out
}

/// Reads the manifest of `stage`, whose layer is at `root`; none when a bit of it is wrong.
pub(crate) fn decode(stage: StageId, root: &Path, bytes: &[u8]) -> Option<Manifest> {
    let (body, digest) = bytes.split_last_chunk::<32>()?;
    if Digest::of(body).as_bytes() != digest {
        return None;
    }
    let mut input = Input(body.strip_prefix(MAGIC)?);
    if input.array::<32>()? != *stage.0.as_bytes() {
        return None;
    }
    let count = input.u64()? as usize;
    let mut items = Vec::with_capacity(count.min(body.len()));
    let mut path = Vec::new();
    for _ in 0..count {
        items.push(input.item(&mut path)?);
    }
    Some(Manifest { stage, root: root.to_owned(), items })
}

fn put_item(out: &mut Vec<u8>, before: &[u8], item: &Item) {
    let path = item.path.as_bytes();
    let shared = before.iter().zip(path).take_while(|(a, b)| a == b).count();
    out.extend_from_slice(&(shared as u16).to_le_bytes());
    put_bytes(out, &path[shared..]);
    out.push(match item.mark {
        Mark::Plain => 0,
        Mark::Whiteout => 1,
        Mark::Opaque => 2,
    });
    let Fingerprint { size, inode, mtime, ctime } = item.print;
    [item.mode, item.uid, item.gid, item.links, item.device.0, item.device.1, mtime.1, ctime.1]
        .iter()
        .for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
    [size, inode, mtime.0 as u64, ctime.0 as u64]
        .iter()
        .for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
    put_bytes(out, &item.target);
    out.extend_from_slice(&(item.xattrs.len() as u32).to_le_bytes());
    for (name, value) in &item.xattrs {
        put_bytes(out, name.as_bytes());
        put_bytes(out, value);
    }
}

/// Writes bytes behind their length.
fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()? as usize;
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    fn item(&mut self, path: &mut Vec<u8>) -> Option<Item> {
        path.truncate(usize::from(self.array().map(u16::from_le_bytes)?));
        path.extend_from_slice(self.bytes()?);
        let [mark] = self.array()?;
        let mark = [Mark::Plain, Mark::Whiteout, Mark::Opaque].get(usize::from(mark)).copied()?;
        let (mode, uid, gid, links) = (self.u32()?, self.u32()?, self.u32()?, self.u32()?);
        let device = (self.u32()?, self.u32()?);
        let nanos = (self.u32()?, self.u32()?);
        let (size, inode) = (self.u64()?, self.u64()?);
        let (mtime, ctime) = ((self.u64()? as i64, nanos.0), (self.u64()? as i64, nanos.1));
        let print = Fingerprint { size, inode, mtime, ctime };
        let target = self.bytes()?.to_vec();
        let xattrs = self.xattrs()?;
        let path = GuestPath::new(&path).ok()?;
        Some(Item { path, mark, mode, uid, gid, links, print, device, target, xattrs })
    }

    fn xattrs(&mut self) -> Option<BTreeMap<String, Vec<u8>>> {
        let count = self.u32()?;
        (0..count).map(|_| Some((String::from_utf8(self.bytes()?.to_vec()).ok()?, self.bytes()?.to_vec()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_attributes_than_a_byte_counts_read_back() {
        let stage = StageId(Digest::of("x"));
        let print = Fingerprint { size: 1, inode: u64::MAX, mtime: (-1, 999_999_999), ctime: (i64::MAX, 0) };
        let item = Item {
            path: "/file".parse().unwrap(),
            mark: Mark::Opaque,
            mode: 0o100_644,
            uid: 1,
            gid: 2,
            links: 3,
            print,
            device: (4, 5),
            target: b"there".to_vec(),
            xattrs: (0..300).map(|number| (format!("user.{number}"), vec![7; number])).collect(),
        };
        let items = vec![item];
        let manifest = Manifest { stage, root: "/layer".into(), items };
        assert_eq!(decode(stage, Path::new("/layer"), &encode(&manifest)), Some(manifest));
    }
}
