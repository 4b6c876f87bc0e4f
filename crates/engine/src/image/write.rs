//! Images into files: sparse, in parallel, and only what changed where a previous image is at hand.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use kiln_disk::bmap::{self, Blocks};
use kiln_model::{Digest, Extents};
use rustix::fs::FlockOperation;

use super::Index;
use super::hash::Hasher;
use super::index::{Run, Stamp, runs};
use super::load::{Files, load};
use super::pipeline::in_order;
use super::undo::{Undo, copy_range, punch};
use super::window::{WINDOW, Window, windows};

/// Zeros between two runs of bytes that are written rather than left out: seeking over less saves nothing.
const GAP: u64 = 32 << 10;

/// An image that was written before.
#[derive(Clone, Copy, Debug)]
pub struct Previous<'a> {
    pub image: &'a Path,
    pub index: &'a Index,
    /// Whether the file may be used up: where little changes it is renamed and patched instead of written anew.
    pub take: bool,
}

/// What was written.
#[derive(Debug)]
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
    /// What gives the previous image back, when it was taken.
    pub undo: Option<Undo>,
}

/// Writes the image to `to`, replacing what is there; `progress` hears how many bytes more are done, on this thread.
///
/// `map` is what a block map will list ([`bmap::blocks`]), whose digests are taken on the way; empty for an image without.
/// With a previous image that is still as it was written, only the windows that differ are written; the bytes are the
/// same. On an error a previous image is where it was, with its bytes; `to` may be left unfinished.
pub fn write_file(
    extents: &Extents,
    map: &[Blocks],
    to: &Path,
    previous: Option<&Previous<'_>>,
    progress: &dyn Fn(u64),
) -> io::Result<Written> {
    let (runs, windows) = (runs(extents), windows(extents));
    let previous = previous.filter(|previous| previous.is_untouched());
    let plan = Plan::new(extents, map, &windows, &runs, previous.map(|previous| previous.index));
    let Target { file, undo, reused } = Target::open(to, previous, &plan, &windows)?;
    let plan = if reused { plan } else { Plan::new(extents, map, &windows, &runs, None) };
    let written = Job { extents, file: &file, plan: &plan, windows: &windows }.write(runs, progress);
    match (written, undo) {
        (Ok(written), undo) => Ok(Written { undo, ..written }),
        (Err(error), Some(undo)) => undo.roll_back(to).and(Err(error)),
        (Err(error), None) => Err(error),
    }
}

/// The windows of an image on their way into a file.
struct Job<'j> {
    extents: &'j Extents,
    file: &'j File,
    plan: &'j Plan<'j>,
    windows: &'j [Window],
}

impl Job<'_> {
    fn write(&self, runs: Vec<Run>, progress: &dyn Fn(u64)) -> io::Result<Written> {
        let Self { extents, file, plan, windows } = *self;
        file.set_len(extents.size)?;
        let writer = Writer { extents, file, plan };
        let mut hashed = plan.resume(windows);
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
        let index = Index { stamp: Stamp::of(file)?, runs, states, ranges: ranges.clone() };
        Ok(Written { size: extents.size, sha256: hasher.finish(), ranges, fresh, index, undo: None })
    }
}

/// The file to write, and whether it holds the previous image.
struct Target {
    file: File,
    undo: Option<Undo>,
    reused: bool,
}

impl Target {
    fn open(to: &Path, previous: Option<&Previous<'_>>, plan: &Plan<'_>, windows: &[Window]) -> io::Result<Self> {
        if let Some(previous) = previous {
            let changed = plan.changed(windows, previous.index.stamp.size);
            let taken = || take(previous.image, to, &changed).map(|(file, undo)| (file, Some(undo)));
            let cloned = || clone(previous.image, to).map(|file| (file, None));
            let few = plan.keeps_most(windows);
            if let Some((file, undo)) = if previous.take { few.then(taken).flatten() } else { cloned() } {
                return Ok(Self { file, undo, reused: true });
            }
        }
        // A new file, so that whoever reads the old one keeps it.
        match std::fs::remove_file(to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = File::options().read(true).write(true).create_new(true).open(to)?;
        Ok(Self { file, undo: None, reused: false })
    }
}

impl Previous<'_> {
    fn is_untouched(&self) -> bool {
        let stamp = File::open(self.image).and_then(|file| Stamp::of(&file));
        stamp.is_ok_and(|stamp| stamp == self.index.stamp)
    }
}

/// Moves the previous image to its new place. A file with a second name is somebody else's too, and one that a guest
/// runs on is locked: both stay as they are.
fn take(from: &Path, to: &Path, changed: &[Range<u64>]) -> Option<(File, Undo)> {
    use std::os::unix::fs::MetadataExt as _;
    let file = File::options().read(true).write(true).open(from).ok()?;
    if file.metadata().ok()?.nlink() != 1 {
        return None;
    }
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
    let undo = Undo::note(&file, from, changed.to_vec()).ok()?;
    std::fs::rename(from, to).ok()?;
    Some((file, undo))
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

fn copy(from: &File, to: &File) -> io::Result<()> {
    let size = from.metadata()?.len();
    to.set_len(size)?;
    copy_range(from, to, 0..size)
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
    fn new(extents: &Extents, map: &[Blocks], windows: &[Window], runs: &[Run], old: Option<&'p Index>) -> Self {
        let mut ranges = BTreeMap::<u64, Vec<Blocks>>::new();
        for blocks in map {
            ranges.entry(blocks.first / bmap::WINDOW * WINDOW).or_default().push(*blocks);
        }
        let agrees = |window: &&Window| old.is_some_and(|old| old.agrees(window, runs));
        let kept = windows.iter().filter(agrees).map(|window| window.offset).collect();
        Self { old, kept, ranges, size: extents.size }
    }

    fn keeps(&self, window: &Window) -> bool {
        self.kept.contains(&window.offset)
    }

    /// Whether patching is less work than writing: what changes is read and written once more to be undone.
    fn keeps_most(&self, windows: &[Window]) -> bool {
        let full = windows.iter().filter(|window| !window.is_zero());
        let (kept, changed): (Vec<_>, Vec<_>) = full.partition(|window| self.keeps(window));
        kept.len() >= changed.len()
    }

    /// Returns the ranges of a previous image of `size` bytes that do not stay.
    fn changed(&self, windows: &[Window], size: u64) -> Vec<Range<u64>> {
        let changed = windows.iter().filter(|window| !self.keeps(window)).map(|window| window.offset..window.end());
        let all = changed.chain(std::iter::once(self.size..u64::MAX));
        all.map(|range| range.start..range.end.min(size)).filter(|range| range.start < range.end).collect()
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
        punch(self.file, &(window.offset..window.end()))
    }
}
