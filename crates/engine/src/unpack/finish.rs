//! What can only be done when every archive was read: settle shared paths, write the database, dress the directories.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::PoisonError;

use kiln_family::deb::install::{Record, database};
use kiln_model::GuestPath;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, openat, readlinkat, renameat, statat, unlinkat};

use super::Unpacked;
use super::error::Error;
use super::handles::Handles;
use super::package::{Done, Outcome, write_file};
use super::shared::{Shared, Waiting};

/// Completes the tree.
pub fn finish(shared: &Shared, mut done: Vec<Done>) -> Result<Unpacked, Error> {
    let mut handles = Handles::new(shared);
    done.sort_by(|a, b| a.arrival.package.cmp(&b.arrival.package));
    settle(shared, &mut handles)?;
    let (mut unpacked, mut records) = (Unpacked::default(), Vec::new());
    for one in done {
        match one.outcome {
            Outcome::Real(control) => unpacked.real.push((control, one.arrival)),
            Outcome::Native { record, privileged, bytes } => {
                let name = record.control.name();
                unpacked.privileged.extend(privileged.into_iter().map(|(path, mode)| (name.to_owned(), path, mode)));
                unpacked.names += record.list.len() as u64;
                unpacked.bytes += bytes;
                records.push(record);
            }
        }
    }
    if !shared.options.bare {
        give_up_lost(shared, &mut handles, &mut records)?;
        for file in database::common(shared.options.arch.debian(), &shared.existing.database, &records)? {
            write_file(&mut handles, &file, shared.options.epoch)?;
        }
    }
    shared.directories.dress(&mut handles, shared.options.epoch, shared.umask, shared.options.base)?;
    unpacked.packages = records.into_iter().map(|record| record.control).collect();
    Ok(unpacked)
}

/// Moves files into places that another package had claimed, in the order of the packages.
fn settle(shared: &Shared, handles: &mut Handles<'_>) -> Result<(), Error> {
    let mut waiting = std::mem::take(&mut *shared.waiting.lock().unwrap_or_else(PoisonError::into_inner));
    waiting.sort_by(|a, b| (a.package.rank(), &a.place).cmp(&(b.package.rank(), &b.place)));
    for one in &waiting {
        let folder = handles.parent(&one.place)?;
        let failed = |errno| Error::tree("replace", &one.place, errno);
        if one.compare {
            compare(&folder, one)?;
        } else if shared.claims.owner(&shared.canonical(&one.place)).is_some_and(|owner| owner == one.package) {
            renameat(&folder, one.written.name(), &folder, one.place.name()).map_err(failed)?;
        }
        // Renaming a name onto another of the same file leaves both.
        match unlinkat(&folder, one.written.name(), AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    Ok(())
}

fn compare(folder: &OwnedFd, one: &Waiting) -> Result<(), Error> {
    let read = |path: &GuestPath| {
        content(folder, path).map_err(|source| Error::Tree { doing: "read", path: path.clone(), source })
    };
    if read(&one.written)? == read(&one.place)? {
        return Ok(());
    }
    Err(Error::Differs { path: one.place.clone(), package: one.package.name.clone() })
}

/// Returns what a file holds or a link points at.
fn content(folder: &OwnedFd, path: &GuestPath) -> std::io::Result<(bool, Vec<u8>)> {
    let found = statat(folder, path.name(), AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(found.st_mode) == FileType::Symlink {
        return Ok((true, readlinkat(folder, path.name(), Vec::new())?.into_bytes()));
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = openat(folder.as_fd(), path.name(), flags, Mode::empty())?;
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::fs::File::from(file), &mut bytes)?;
    Ok((false, bytes))
}

/// Takes paths out of the file lists of packages that lost them, as dpkg does.
fn give_up_lost(shared: &Shared, handles: &mut Handles<'_>, records: &mut [Record]) -> Result<(), Error> {
    let lost = std::mem::take(&mut *shared.lost.lock().unwrap_or_else(PoisonError::into_inner));
    for (filed_as, path) in lost {
        let gone = |one: &GuestPath| shared.canonical(one) == path;
        let list = match records.iter_mut().find(|record| record.control.filed_as() == filed_as) {
            Some(record) => {
                record.list.retain(|one| !gone(one));
                database::list(&filed_as, &record.list)
            }
            None => database::list(
                &filed_as,
                &shared.existing.list(&filed_as)?.into_iter().filter(|one| !gone(one)).collect::<Vec<_>>(),
            ),
        };
        write_file(handles, &list, shared.options.epoch)?;
    }
    Ok(())
}
