//! What a patched image held before, so that a build that fails gives the old image back.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rustix::fs::SeekFrom::{Data, Hole};
use rustix::fs::{FallocateFlags, Timespec, Timestamps};
use rustix::io::Errno;

/// The old bytes of everything that a patch changes, in a file without a name: it is gone with kiln, however that ends.
#[derive(Debug)]
pub struct Undo {
    /// At the offsets of the image.
    saved: File,
    changed: Vec<Range<u64>>,
    size: u64,
    times: Timestamps,
    /// Where the image lay.
    place: PathBuf,
}

impl Undo {
    /// Notes the bytes of `image` in the ranges that will change; `place` is where it lies now.
    pub(super) fn note(image: &File, place: &Path, changed: Vec<Range<u64>>) -> io::Result<Self> {
        let saved = tempfile::tempfile_in(place.parent().unwrap_or(Path::new(".")))?;
        let stat = rustix::fs::fstat(image)?;
        let size = stat.st_size as u64;
        saved.set_len(size)?;
        changed.iter().try_for_each(|range| copy_range(image, &saved, range.clone()))?;
        let last_modification = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ };
        let times =
            Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT }, last_modification };
        Ok(Self { saved, changed, size, times, place: place.into() })
    }

    /// Makes the image at `patched` what it was, where it was.
    pub fn roll_back(self, patched: &Path) -> io::Result<()> {
        let image = File::options().read(true).write(true).open(patched)?;
        image.set_len(self.size)?;
        for range in &self.changed {
            punch(&image, range)?;
            copy_range(&self.saved, &image, range.clone())?;
        }
        rustix::fs::futimens(&image, &self.times)?;
        std::fs::rename(patched, &self.place)
    }
}

/// Makes a hole; what filesystems without holes do is written as zeros.
pub(super) fn punch(file: &File, range: &Range<u64>) -> io::Result<()> {
    use std::os::unix::fs::FileExt as _;
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    if rustix::fs::fallocate(file, flags, range.start, range.end - range.start).is_ok() {
        return Ok(());
    }
    let mut at = range.start;
    super::hash::zeros(range.end - range.start, |part| {
        file.write_all_at(part, at)?;
        at += part.len() as u64;
        Ok(())
    })
}

/// Copies what is not a hole to the same offsets of a file that has holes there.
pub(super) fn copy_range(from: &File, to: &File, range: Range<u64>) -> io::Result<()> {
    let mut at = range.start;
    while at < range.end {
        let start = match rustix::fs::seek(from, Data(at)) {
            Ok(start) if start < range.end => start,
            Ok(_) | Err(Errno::NXIO) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(from, Hole(start))?.min(range.end);
        let (mut source, mut target) = (start, start);
        while source < end {
            let rest = (end - source) as usize;
            if rustix::fs::copy_file_range(from, Some(&mut source), to, Some(&mut target), rest)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        at = end;
    }
    Ok(())
}
