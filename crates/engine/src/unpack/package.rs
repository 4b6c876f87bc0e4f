//! One archive: checked against the lock, unpacked, and entered into the database.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader, Read, Write as _};
use std::sync::Arc;

use kiln_family::deb::install::preinst::{Class, class};
use kiln_family::deb::install::replaces::Claimant;
use kiln_family::deb::install::status::hex;
use kiln_family::deb::install::{Conffile, ConffileState, Phase, Record, database};
use kiln_family::deb::package::{Control, Deb, Limits};
use kiln_model::{Digest, GuestPath};
use rustix::fs::{AtFlags, Mode, OFlags, fchmod, futimens, openat, unlinkat};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::Arrival;
use super::directories::times;
use super::error::Error;
use super::handles::Handles;
use super::place::{Place, Placed};
use super::shared::Shared;

/// Bytes read from an archive at once.
const READ: usize = 128 << 10;

/// Length in bytes from which on an archive is worth several threads.
const LARGE: u64 = 8 << 20;

/// What became of an archive.
pub struct Done {
    pub arrival: Arrival,
    pub outcome: Outcome,
}

pub enum Outcome {
    Native {
        record: Record,
        privileged: Vec<(GuestPath, u32)>,
        bytes: u64,
    },
    /// Left to dpkg.
    Real(Control),
}

/// Unpacks one archive.
pub fn unpack<'s>(shared: &'s Shared, handles: &mut Handles<'s>, arrival: Arrival) -> Result<Done, Error> {
    let unread = |source| Error::Archive { path: arrival.path.display().to_string(), source };
    let reader = BufReader::with_capacity(READ, Hashing::new(File::open(&arrival.path).map_err(unread)?));
    let threads = if arrival.package.size >= LARGE { shared.options.threads } else { 1 };
    let mut deb = Deb::open(reader, Limits { threads, ..Limits::default() })?;
    check_identity(deb.control(), &arrival)?;
    if !shared.options.bare && wants_dpkg(shared, deb.control()) {
        let (control, reader) = deb.abandon();
        check_digest(reader, &arrival)?;
        return Ok(Done { arrival, outcome: Outcome::Real(control) });
    }
    let control = deb.control();
    let mut place = Place {
        shared,
        handles,
        package: Arc::new(Claimant::from(control)),
        conffiles: if shared.options.bare { HashSet::new() } else { shipped_conffiles(control)? },
        digest_all: !shared.options.bare && control.file("md5sums").is_none(),
        placed: Placed::default(),
    };
    let only = &shared.options.only;
    let wants = |path: &GuestPath| only.is_empty() || only.iter().any(|wanted| wanted.is_under(path));
    let mut complete = false;
    while !complete && let Some(member) = deb.next_member()? {
        if wants(&member.path) {
            place.put(&mut deb, &member)?;
        }
        complete = !only.is_empty() && only.iter().all(|wanted| place.placed.list.contains(wanted));
    }
    let placed = place.placed;
    let (control, reader) = if complete { deb.abandon() } else { deb.finish()? };
    check_digest(reader, &arrival)?;
    let (privileged, bytes) = (placed.privileged.clone(), placed.bytes);
    let record = record(control, placed)?;
    if !shared.options.bare {
        for file in database::info(&record) {
            write_file(handles, &file, shared.options.epoch)?;
        }
    }
    Ok(Done { arrival, outcome: Outcome::Native { record, privileged, bytes } })
}

fn wants_dpkg(shared: &Shared, control: &Control) -> bool {
    let phase = if shared.options.base { Phase::Base } else { Phase::Further };
    class(control, phase) == Class::Real || shared.existing.knows(control)
}

fn check_identity(control: &Control, arrival: &Arrival) -> Result<(), Error> {
    let (package, shown) =
        (&arrival.package, |name: &str, version: &str, arch: &str| format!("{name} {version} {arch}"));
    let found = shown(control.name(), control.version(), control.architecture());
    let locked = shown(&package.name, &package.version, &package.architecture);
    if found == locked { Ok(()) } else { Err(Error::Identity { locked, found }) }
}

/// Reads the archive to its end and compares the digest of all its bytes.
fn check_digest(mut reader: BufReader<Hashing<File>>, arrival: &Arrival) -> Result<(), Error> {
    let unread = |source| Error::Archive { path: arrival.path.display().to_string(), source };
    io::copy(&mut reader, &mut io::sink()).map_err(unread)?;
    let found = Digest::from_bytes(reader.into_inner().hash.finalize().into());
    let locked = arrival.package.sha256;
    if found == locked { Ok(()) } else { Err(Error::Digest { locked, found }) }
}

fn shipped_conffiles(control: &Control) -> Result<HashSet<GuestPath>, Error> {
    let all = control.conffiles()?.into_iter();
    Ok(all.filter(|(_, removed)| !removed).map(|(path, _)| path).collect())
}

fn record(control: Control, placed: Placed) -> Result<Record, Error> {
    let state = |path: &GuestPath, removed| match placed.digests.get(path) {
        _ if removed => ConffileState::RemoveOnUpgrade,
        _ if placed.beside.contains(path) => ConffileState::Beside,
        Some(md5) => ConffileState::Placed(*md5),
        None => ConffileState::Missing,
    };
    let named = control.conffiles()?;
    let conffiles = named.into_iter().map(|(path, removed)| Conffile { state: state(&path, removed), path }).collect();
    let shipped = shipped_conffiles(&control)?;
    let md5sums = control.file("md5sums").is_none().then(|| md5sums(&placed, &shipped));
    Ok(Record { control, list: placed.list, conffiles, md5sums })
}

/// Returns the lines of `md5sums` that dpkg adds for archives without them, conffiles left out.
fn md5sums(placed: &Placed, conffiles: &HashSet<GuestPath>) -> String {
    let files = placed.list.iter().filter(|path| !conffiles.contains(*path));
    files.filter_map(|path| Some(format!("{}  {}\n", hex(placed.digests.get(path)?), &path.to_string()[1..]))).collect()
}

/// Writes a file of the database, over one that is there.
pub fn write_file(handles: &mut Handles<'_>, file: &kiln_family::deb::install::File, epoch: i64) -> Result<(), Error> {
    let folder = handles.parent(&file.path)?;
    let failed = |errno| Error::tree("write", &file.path, errno);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(file.mode & 0o777);
    let made = match openat(&folder, file.path.name(), flags, mode) {
        Err(Errno::EXIST) => {
            unlinkat(&folder, file.path.name(), AtFlags::empty()).map_err(failed)?;
            openat(&folder, file.path.name(), flags, mode)
        }
        other => other,
    };
    let mut made = File::from(made.map_err(failed)?);
    made.write_all(&file.bytes).map_err(|source| Error::Tree { doing: "write", path: file.path.clone(), source })?;
    fchmod(&made, mode).map_err(failed)?;
    futimens(&made, &times(file.mtime.unwrap_or(epoch))).map_err(failed)
}

/// A reader that digests what passes through it.
struct Hashing<R> {
    inner: R,
    hash: Sha256,
}

impl<R> Hashing<R> {
    fn new(inner: R) -> Self {
        Self { inner, hash: Sha256::new() }
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let amount = self.inner.read(buffer)?;
        self.hash.update(&buffer[..amount]);
        Ok(amount)
    }
}
