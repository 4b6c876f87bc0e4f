//! FAT filesystems, read by the `fatfs` crate.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use kiln_model::tree::{Body, Place};
use kiln_model::{Digest, Entry, GuestPath, Kind};
use sha2::{Digest as _, Sha256};

use super::block::{Bytes, Cursor};
use super::walk::broken;

pub(crate) type Volume = fatfs::FileSystem<Cursor>;
type Folder<'a> = fatfs::Dir<'a, Cursor>;

/// Returns label and volume id of a FAT filesystem; none when it is none.
pub(crate) fn identity(bytes: Arc<dyn Bytes>) -> Option<(String, String)> {
    let first = bytes.take(0, 512).ok()?;
    let fat = first[510..] == [0x55, 0xaa] && (first[54..].starts_with(b"FAT") || first[82..].starts_with(b"FAT32"));
    let volume = fat.then(|| open(bytes).ok()).flatten()?;
    let id = volume.volume_id();
    let label = volume.read_volume_label_from_root_dir().ok().flatten().unwrap_or_else(|| volume.volume_label());
    Some((label.trim_end().to_owned(), format!("{:04X}-{:04X}", id >> 16, id & 0xffff)))
}

/// Opens a FAT filesystem for reading.
pub(crate) fn open(bytes: Arc<dyn Bytes>) -> io::Result<Volume> {
    fatfs::FileSystem::new(Cursor::new(bytes), fatfs::FsOptions::new().update_accessed_date(false))
}

/// Returns every file of a FAT filesystem, placed below `at`, owned by root as a mount shows it.
pub(super) fn walk(bytes: Arc<dyn Bytes>, at: &GuestPath, artifact: &Path) -> io::Result<Vec<Entry>> {
    let volume = open(bytes)?;
    let mut entries = vec![Entry::dir(at.clone(), 0o755, 0)];
    visit(&volume.root_dir(), at, artifact, 0, &mut entries)?;
    Ok(entries)
}

fn visit(folder: &Folder<'_>, at: &GuestPath, artifact: &Path, depth: u32, entries: &mut Vec<Entry>) -> io::Result<()> {
    if depth > 64 {
        return Err(broken(format!("`{at}` is deeper than any")));
    }
    for item in folder.iter() {
        let item = item?;
        let name = item.file_name();
        if name == "." || name == ".." {
            continue;
        }
        let path = at.join(&name).map_err(|error| broken(error.to_string()))?;
        let mtime = seconds(&item.modified());
        if item.is_dir() {
            entries.push(Entry::dir(path.clone(), 0o755, mtime));
            visit(&item.to_dir(), &path, artifact, depth + 1, entries)?;
            continue;
        }
        let (size, digest) = hash(&mut item.to_file())?;
        let body = Body { size, digest: Some(digest), token: None, place: Place::Host(artifact.to_owned()) };
        let mut entry = Entry::dir(path, 0o755, mtime);
        entry.kind = Kind::File(body);
        entries.push(entry);
    }
    Ok(())
}

fn hash(file: &mut dyn Read) -> io::Result<(u64, Digest)> {
    let (mut hash, mut size, mut buffer) = (Sha256::new(), 0, vec![0; 256 * 1024]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((size, Digest::from_bytes(hash.finalize().into()))),
            length => {
                hash.update(&buffer[..length]);
                size += length as u64;
            }
        }
    }
}

/// Returns seconds since 1970 of a FAT time, taken as UTC.
fn seconds(time: &fatfs::DateTime) -> i64 {
    let (year, month, day) = (i64::from(time.date.year), i64::from(time.date.month), i64::from(time.date.day));
    // Days of the civil calendar, years beginning in March.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    days * 86400 + i64::from(time.time.hour) * 3600 + i64::from(time.time.min) * 60 + i64::from(time.time.sec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        let time = |year, month, day| fatfs::DateTime {
            date: fatfs::Date { year, month, day },
            time: fatfs::Time { hour: 1, min: 2, sec: 3, millis: 0 },
        };
        assert_eq!(seconds(&time(1980, 1, 1)), 315_532_800 + 3723);
        assert_eq!(seconds(&time(2024, 2, 29)), 1_709_164_800 + 3723);
    }
}
