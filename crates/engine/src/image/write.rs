//! Images into files: sparse, in parallel, and only what changed where a previous image is at hand.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use kiln_disk::bmap::{self, Blocks};
use kiln_model::{Digest, Extents};
use rustix::fs::FallocateFlags;

use super::Index;
use super::hash::Hasher;
use super::index::{Run, Stamp, runs};
use super::load::{Files, load};
use super::pipeline::in_order;
use super::window::{WINDOW, Window, windows};

/// Zeros between two runs of bytes that are written rather than left out: seeking over less saves nothing.
const GAP: u64 = 32 << 10;

/// An image that was written before.
#[derive(Clone, Copy, Debug)]
pub struct Previous<'a> {
    pub image: &'a Path,
    pub index: &'a Index,
    /// Whether the file may be used up: it is renamed and patched instead of copied.
    pub take: bool,
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Written {
    /// The image's length in bytes.
    pub size: u64,
    /// SHA-256 of the whole image.
    pub sha256: Digest,
    /// What a block map wants to know.
    pub ranges: Vec<(Blocks, Digest)>,
    /// Bytes that were written anew; the rest was there already.
    pub fresh: u64,
    /// What the next image of this kind starts from.
    pub index: Index,
}

/// Writes the image to `to`, replacing what is there; `progress` hears how many bytes more are done, on this thread.
///
/// With a previous image that is still as it was written, only the windows that differ are written; the bytes are the
/// same. On an error `to` is left unfinished, and a previous image that could be taken is gone.
pub fn write_file(
    extents: &Extents,
    to: &Path,
    previous: Option<&Previous<'_>>,
    progress: &dyn Fn(u64),
) -> io::Result<Written> {
    let target = Target::open(to, previous)?;
    target.file.set_len(extents.size)?;
    let runs = runs(extents);
    let windows = windows(extents);
    let plan = Plan::new(extents, &windows, &runs, target.old);
    let writer = Writer { extents, file: &target.file, plan: &plan };
    let mut hashed = plan.resume(&windows);
    progress(hashed.from);
    let rest = windows.partition_point(|window| window.end() <= hashed.from);
    let mut fresh = 0;
    in_order(
        &windows[rest..],
        |window, buffer, files| writer.work(window, buffer, files),
        |window, loaded| {
            match loaded {
                Some((bytes, done)) => {
                    hashed.hasher.update(bytes);
                    fresh += done.fresh;
                    hashed.ranges.extend(done.ranges);
                }
                None => {
                    writer.clear(window)?;
                    hashed.hasher.zeros(window.len);
                }
            }
            hashed.states.insert(window.end(), hashed.hasher.state());
            progress(window.len);
            Ok(())
        },
    )?;
    let Hashed { hasher, states, ranges, .. } = hashed;
    let index = Index { stamp: Stamp::of(&target.file)?, runs, states, ranges: ranges.clone() };
    Ok(Written { size: extents.size, sha256: hasher.finish(), ranges, fresh, index })
}

/// The file to write, and what is known to be in it.
struct Target<'t> {
    file: File,
    old: Option<&'t Index>,
}

impl<'t> Target<'t> {
    fn open(to: &Path, previous: Option<&Previous<'t>>) -> io::Result<Self> {
        if let Some(previous) = previous.filter(|previous| previous.is_untouched()) {
            let reused = if previous.take { take(previous.image, to) } else { clone(previous.image, to) };
            if let Some(file) = reused {
                return Ok(Self { file, old: Some(previous.index) });
            }
        }
        // A new file, so that whoever reads the old one keeps it.
        match std::fs::remove_file(to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = File::options().read(true).write(true).create_new(true).open(to)?;
        Ok(Self { file, old: None })
    }
}

impl Previous<'_> {
    fn is_untouched(&self) -> bool {
        let stamp = File::open(self.image).and_then(|file| Stamp::of(&file));
        stamp.is_ok_and(|stamp| stamp == self.index.stamp)
    }
}

/// Moves the previous image to its new place; a file with a second name is somebody else's too and stays.
fn take(from: &Path, to: &Path) -> Option<File> {
    use std::os::unix::fs::MetadataExt as _;
    let file = File::options().read(true).write(true).open(from).ok()?;
    if file.metadata().ok()?.nlink() != 1 {
        return clone(from, to);
    }
    std::fs::rename(from, to).ok()?;
    Some(file)
}

/// Copies the previous image, sharing its blocks where the filesystem can, else within the kernel.
fn clone(from: &Path, to: &Path) -> Option<File> {
    let old = File::open(from).ok()?;
    let _ = std::fs::remove_file(to);
    let file = File::options().read(true).write(true).create_new(true).open(to).ok()?;
    if rustix::fs::ioctl_ficlone(&file, &old).is_ok() || copy(&old, &file).is_ok() {
        return Some(file);
    }
    None
}

/// Copies what is not a hole.
fn copy(from: &File, to: &File) -> io::Result<()> {
    use rustix::fs::SeekFrom::{Data, Hole};
    let size = from.metadata()?.len();
    to.set_len(size)?;
    let mut at = 0;
    while let Ok(start) = rustix::fs::seek(from, Data(at)) {
        let end = rustix::fs::seek(from, Hole(start))?;
        let (mut source, mut target) = (start, start);
        while source < end {
            let rest = (end - source) as usize;
            let done = rustix::fs::copy_file_range(from, Some(&mut source), to, Some(&mut target), rest)?;
            if done == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        at = end;
    }
    Ok(())
}

/// Which windows stay as they are.
struct Plan<'p> {
    old: Option<&'p Index>,
    /// Offsets of the windows that stay.
    kept: std::collections::HashSet<u64>,
    /// Ranges of the block map, by window.
    ranges: BTreeMap<u64, Vec<Blocks>>,
    size: u64,
}

/// The digest on its way, and what the index will say of the part that is done.
struct Hashed {
    from: u64,
    hasher: Hasher,
    states: BTreeMap<u64, Vec<u8>>,
    ranges: Vec<(Blocks, Digest)>,
}

impl<'p> Plan<'p> {
    fn new(extents: &Extents, windows: &[Window], runs: &[Run], old: Option<&'p Index>) -> Self {
        let mut ranges = BTreeMap::<u64, Vec<Blocks>>::new();
        for blocks in bmap::blocks(extents) {
            ranges.entry(blocks.first / bmap::WINDOW * WINDOW).or_default().push(blocks);
        }
        let agrees = |window: &&Window| old.is_some_and(|old| old.agrees(window, runs));
        let kept = windows.iter().filter(agrees).map(|window| window.offset).collect();
        Self { old, kept, ranges, size: extents.size }
    }

    fn keeps(&self, window: &Window) -> bool {
        self.kept.contains(&window.offset)
    }

    /// Takes up the old digest before the first window that changed.
    fn resume(&self, windows: &[Window]) -> Hashed {
        let changed = windows.iter().find(|window| !self.keeps(window)).map_or(self.size, |window| window.offset);
        let fresh = Hashed { from: 0, hasher: Hasher::default(), states: BTreeMap::new(), ranges: Vec::new() };
        let Some(old) = self.old else { return fresh };
        // Only where a window of this image ends too can the digest go on from there.
        let ends: std::collections::HashSet<u64> = windows.iter().map(Window::end).collect();
        let usable = old.states.range(..=changed).rev().find(|(end, _)| ends.contains(end));
        let Some((from, hasher)) = usable.and_then(|(end, state)| Some((*end, Hasher::resume(state)?))) else {
            return fresh;
        };
        let states = old.states.range(..=from).map(|(end, state)| (*end, state.clone())).collect();
        let before = self.ranges.range(..from).flat_map(|(_, ranges)| ranges);
        let known = before.map(|blocks| Some((*blocks, old.range(*blocks, self.size)?)));
        match known.collect::<Option<Vec<_>>>() {
            Some(ranges) => Hashed { from, hasher, states, ranges },
            None => fresh,
        }
    }
}

/// What a worker tells of a window.
struct Done {
    fresh: u64,
    ranges: Vec<(Blocks, Digest)>,
}

struct Writer<'w> {
    extents: &'w Extents,
    file: &'w File,
    plan: &'w Plan<'w>,
}

impl Writer<'_> {
    fn work(&self, window: &Window, buffer: &mut Vec<u8>, files: &mut Files) -> io::Result<Done> {
        let keeps = self.plan.keeps(window);
        if keeps {
            buffer.resize(window.len as usize, 0);
            self.file.read_exact_at(buffer, window.offset)?;
        } else {
            load(self.extents, window, buffer, files)?;
        }
        let fresh = if keeps { 0 } else { self.write(window, buffer)? };
        Ok(Done { fresh, ranges: self.ranges(window, buffer, keeps) })
    }

    fn ranges(&self, window: &Window, bytes: &[u8], keeps: bool) -> Vec<(Blocks, Digest)> {
        let digest = |blocks: &Blocks| {
            let Range { start, end } = blocks.bytes(self.extents.size);
            let known = self.plan.old.filter(|_| keeps).and_then(|old| old.range(*blocks, self.extents.size));
            let inside = (start - window.offset) as usize..(end - window.offset) as usize;
            (*blocks, known.unwrap_or_else(|| Digest::of(&bytes[inside])))
        };
        self.plan.ranges.get(&window.offset).into_iter().flatten().map(digest).collect()
    }

    /// Writes what is not zero and returns how much that was.
    fn write(&self, window: &Window, bytes: &[u8]) -> io::Result<u64> {
        self.clear(window)?;
        let mut written = 0;
        for span in self.spans(window) {
            let inside = (span.start - window.offset) as usize..(span.end - window.offset) as usize;
            self.file.write_all_at(&bytes[inside], span.start)?;
            written += span.end - span.start;
        }
        Ok(written)
    }

    fn spans(&self, window: &Window) -> Vec<Range<u64>> {
        let mut spans: Vec<Range<u64>> = Vec::new();
        for extent in &self.extents.list[window.extents.clone()] {
            let (start, end) = (extent.offset.max(window.offset), (extent.offset + extent.len).min(window.end()));
            match spans.last_mut().filter(|last| start - last.end < GAP) {
                Some(last) => last.end = end,
                None => spans.push(start..end),
            }
        }
        spans
    }

    /// Makes zeros of a window that held something else.
    fn clear(&self, window: &Window) -> io::Result<()> {
        if self.plan.old.is_none() || self.plan.keeps(window) {
            return Ok(());
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if rustix::fs::fallocate(self.file, flags, window.offset, window.len).is_ok() {
            return Ok(());
        }
        let mut at = window.offset;
        super::hash::zeros(window.len, |part| {
            self.file.write_all_at(part, at)?;
            at += part.len() as u64;
            Ok(())
        })
    }
}
