//! What an image was made of, kept beside it so that the next one rewrites only what changed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;

use kiln_disk::bmap::Blocks;
use kiln_model::{Digest, Extent, Extents, Source};
use kiln_store::Boot;

use super::window::Window;

/// A compact record of an image's extents, its checksums on the way, and the file it was written to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    pub(super) stamp: Stamp,
    /// In order of offset.
    pub(super) runs: Vec<Run>,
    /// SHA-256 of the image up to an offset, not finished.
    pub(super) states: BTreeMap<u64, Vec<u8>>,
    /// Digests of the ranges of the block map.
    pub(super) ranges: Vec<(Blocks, Digest)>,
}

/// What shows that a file is as it was left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    pub size: u64,
    /// Modification and change time in nanoseconds since 1970.
    times: [i64; 2],
    /// The machine's boot in which it was written: after a crash, size and times may be there without the bytes.
    boot: u64,
}

impl Stamp {
    pub fn of(file: &File) -> io::Result<Self> {
        let meta = file.metadata()?;
        let nanos = |seconds: i64, rest: i64| seconds.wrapping_mul(1_000_000_000).wrapping_add(rest);
        let times = [nanos(meta.mtime(), meta.mtime_nsec()), nanos(meta.ctime(), meta.ctime_nsec())];
        Ok(Self { device: meta.dev(), inode: meta.ino(), size: meta.size(), times, boot: Boot::current().0 })
    }
}

/// An extent without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub offset: u64,
    pub len: u64,
    /// Digest of the bytes, or of what stands for them; equal keys mean equal bytes.
    key: Option<Digest>,
}

impl Run {
    fn of(extent: &Extent) -> Self {
        let key = match &extent.source {
            Source::Bytes(bytes) => Some(Digest::of(bytes)),
            Source::File { token: None, .. } => None,
            Source::File { token: Some(token), from, .. } => Some(Digest::of(format!("file {from} {token}"))),
        };
        Self { offset: extent.offset, len: extent.len, key }
    }

    fn end(&self) -> u64 {
        self.offset + self.len
    }
}

/// Returns the runs of an image.
pub(super) fn runs(extents: &Extents) -> Vec<Run> {
    extents.list.iter().map(Run::of).collect()
}

impl Index {
    /// Whether the image of `runs` has, in `window`, the bytes that this one has.
    pub(super) fn agrees(&self, window: &Window, runs: &[Run]) -> bool {
        let first = self.runs.partition_point(|run| run.end() <= window.offset);
        let count = self.runs[first..].iter().take_while(|run| run.offset < window.end()).count();
        let (old, new) = (&self.runs[first..first + count], &runs[window.extents.clone()]);
        old == new && new.iter().all(|run| run.key.is_some())
    }

    /// Returns the digest of a range that lies in windows which agree.
    pub(super) fn range(&self, blocks: Blocks, size: u64) -> Option<Digest> {
        let at = self.ranges.binary_search_by_key(&blocks.first, |(known, _)| known.first).ok()?;
        let (known, digest) = self.ranges[at];
        (known == blocks && blocks.bytes(size) == blocks.bytes(self.stamp.size)).then_some(digest)
    }

    /// Notes that the image got a new name, which moves its change time; anything else that changed stays a difference.
    pub fn renamed(&mut self, image: &File) -> io::Result<()> {
        self.stamp.times[1] = Stamp::of(image)?.times[1];
        Ok(())
    }

    /// Returns the index as bytes to keep.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Out(MAGIC.to_vec());
        let Stamp { device, inode, size, times: [modified, changed], boot } = self.stamp;
        let numbers = [device, inode, size, modified as u64, changed as u64, boot, self.runs.len() as u64];
        numbers.into_iter().for_each(|number| out.number(number));
        for run in &self.runs {
            out.number(run.offset);
            out.number(run.len);
            out.0.push(u8::from(run.key.is_some()));
            out.0.extend(run.key.iter().flat_map(Digest::as_bytes));
        }
        out.number(self.states.len() as u64);
        for (offset, state) in &self.states {
            out.number(*offset);
            out.number(state.len() as u64);
            out.0.extend(state);
        }
        out.number(self.ranges.len() as u64);
        for (blocks, digest) in &self.ranges {
            out.number(blocks.first);
            out.number(blocks.last);
            out.0.extend(digest.as_bytes());
        }
        let own = Digest::of(&out.0);
        out.0.extend(own.as_bytes());
        out.0
    }

    /// Reads back what [`Index::to_bytes`] gave; anything else, even by one bit, is an error.
    pub fn from_bytes(bytes: &[u8]) -> io::Result<Self> {
        let broken =
            || io::Error::new(io::ErrorKind::InvalidData, "the index of an image is damaged or of another version");
        let (body, own) = bytes.split_last_chunk::<32>().ok_or_else(broken)?;
        if Digest::of(body).as_bytes() != own {
            return Err(broken());
        }
        let mut from = body.strip_prefix(MAGIC).map(In).ok_or_else(broken)?;
        from.index().filter(|_| from.0.is_empty()).ok_or_else(broken)
    }
}

const MAGIC: &[u8] = b"kiln-image-index-2\n";

struct Out(Vec<u8>);

impl Out {
    fn number(&mut self, number: u64) {
        self.0.extend(number.to_le_bytes());
    }
}

struct In<'i>(&'i [u8]);

impl In<'_> {
    fn index(&mut self) -> Option<Index> {
        let (device, inode, size) = (self.number()?, self.number()?, self.number()?);
        let times = [self.number()? as i64, self.number()? as i64];
        let stamp = Stamp { device, inode, size, times, boot: self.number()? };
        let runs = self.list(|from| {
            let (offset, len) = (from.number()?, from.number()?);
            let key = if from.take::<1>()? == [0] { None } else { Some(from.digest()?) };
            Some(Run { offset, len, key })
        })?;
        let states = self.list(|from| {
            let (offset, len) = (from.number()?, from.number()?);
            let (state, rest) = from.0.split_at_checked(usize::try_from(len).ok()?)?;
            from.0 = rest;
            Some((offset, state.to_vec()))
        })?;
        let ranges =
            self.list(|from| Some((Blocks { first: from.number()?, last: from.number()? }, from.digest()?)))?;
        Some(Index { stamp, runs, states: states.into_iter().collect(), ranges })
    }

    fn list<T>(&mut self, mut one: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        (0..self.number()?).map(|_| one(self)).collect()
    }

    fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn digest(&mut self) -> Option<Digest> {
        self.take().map(Digest::from_bytes)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_reads_back_and_a_damaged_one_does_not() {
        let mut extents = Extents { size: 100, list: Vec::new() };
        extents.bytes(3, *b"abc");
        let index = Index {
            stamp: Stamp { device: 1, inode: 2, size: 100, times: [-5, 7], boot: 3 },
            runs: runs(&extents),
            states: [(64, vec![1, 2, 3])].into(),
            ranges: vec![(Blocks { first: 0, last: 0 }, Digest::of("x"))],
        };
        let bytes = index.to_bytes();
        assert_eq!(Index::from_bytes(&bytes).unwrap(), index);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(Index::from_bytes(&damaged).is_err(), "byte {at}");
        }
        assert!(Index::from_bytes(&bytes[..bytes.len() - 1]).is_err());
    }
}
