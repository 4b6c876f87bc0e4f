//! Data: where the content of files lies, and the checksums of it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use kiln_model::Extents;
use kiln_model::tree::{Body, Place};

use super::key::{Item, Key, SECTOR, SUMS, kind};
use crate::Error;
use crate::body::Content;

/// Where data begins in the addresses of the filesystem: far behind anything that metadata may need.
pub(super) const START: u64 = 1 << 36;
/// No chunk is longer, so that the kernel can move it about.
pub(super) const CHUNK: u64 = 1 << 30;
/// No extent is longer.
const EXTENT: u64 = 128 << 20;
/// Checksums in one item.
const IN_ITEM: u64 = 4000;

/// Checksums (crc32c) of the files on the host whose content a btrfs holds: one for every 4096 bytes, the last ones filled up
/// with zeros.
pub type Sums = HashMap<PathBuf, Arc<[u32]>>;

/// Returns the checksums of a content, as [`Sums`] has them; whoever reads files calls this with whole blocks, the last part
/// excepted.
pub fn sums(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.chunks(SECTOR as usize).map(|block| {
        let rest = SECTOR as usize - block.len();
        let sum = crc32c::crc32c(block);
        if rest == 0 { sum } else { crc32c::crc32c_append(sum, &[0; SECTOR as usize][..rest]) }
    })
}

/// A run of a file's data.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// Which tree and inode it belongs to, and where in the file it begins.
    pub tree: u64,
    pub inode: u64,
    pub from: u64,
    /// Where it lies in the data, which begins at [`START`].
    pub at: u64,
    /// Length in bytes, whole sectors.
    pub len: u64,
}

/// All data, one piece after the other.
#[derive(Default)]
pub(super) struct Data<'a> {
    pub runs: Vec<Run>,
    bodies: Vec<(&'a Body, u64, u64)>,
    sums: Vec<u32>,
    /// Bytes used.
    pub used: u64,
}

impl<'a> Data<'a> {
    /// Gives a file's content its place and returns its runs.
    pub fn add(&mut self, owner: (u64, u64), body: &'a Body, known: &Sums) -> Result<Vec<Run>, Error> {
        let before = self.sums.len();
        match &body.place {
            Place::Inline(bytes) => self.sums.extend(sums(bytes)),
            Place::Host(path) => {
                self.sums.extend(known.get(path).ok_or_else(|| Error::NoSums(path.clone()))?.iter());
            }
        }
        if (self.sums.len() - before) as u64 != body.size.div_ceil(SECTOR) {
            let Place::Host(path) = &body.place else { unreachable!("a text is as long as it is") };
            return Err(Error::NoSums(path.clone()));
        }
        let (mut from, mut runs) = (0, vec![]);
        while from < body.size {
            let left = (body.size - from).next_multiple_of(SECTOR);
            let len = left.min(EXTENT).min(CHUNK - self.used % CHUNK);
            let run = Run { tree: owner.0, inode: owner.1, from, at: self.used, len };
            self.bodies.push((body, from, self.used));
            runs.push(run);
            (from, self.used) = (from + len, self.used + len);
        }
        self.runs.extend(&runs);
        Ok(runs)
    }

    /// Returns the items of the checksum tree; none spans two chunks.
    pub fn sum_items(&self) -> Vec<Item> {
        let in_chunk = (CHUNK / SECTOR) as usize;
        let chunks = self.sums.chunks(in_chunk).enumerate();
        let items = chunks.flat_map(|(number, sums)| {
            sums.chunks(IN_ITEM as usize).enumerate().map(move |(at, sums)| {
                let address = START + number as u64 * CHUNK + at as u64 * IN_ITEM * SECTOR;
                let bytes = sums.iter().flat_map(|sum| sum.to_le_bytes()).collect();
                Item::new(Key::new(SUMS, kind::SUM, address), bytes)
            })
        });
        items.collect()
    }

    /// Puts the content into the image, the data beginning at byte `start` of it.
    pub fn put(&self, start: u64, image: &mut Extents) {
        for ((body, from, at), run) in self.bodies.iter().zip(&self.runs) {
            Content::new(body).put(image, start + at, *from, run.len);
        }
    }
}
