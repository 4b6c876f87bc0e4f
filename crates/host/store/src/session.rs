//! Sessions: who works on the store right now, with a lease on every entry used and a scratch folder.
//!
//! A session is a locked file in `sessions/`. The kernel drops the lock when the process ends, however it ends; so a
//! file that can be locked belongs to nobody, and its scratch folder may go. The file's lines name the entries its
//! session used: those are never collected while it lives. A line that begins with `!` gives one back.
//!
//! One lock file orders all of this: users hold it shared while they look an entry up and lease it, the collector
//! holds it alone while it chooses its victims and renames them away.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

use crate::files::{make_folder, names, remove_tree};
use crate::{Error, Result};

pub(crate) struct Session {
    root: PathBuf,
    lease: PathBuf,
    /// Keeps the lease locked.
    file: Mutex<File>,
    held: Mutex<HashSet<String>>,
    scratch: PathBuf,
    count: AtomicU64,
}

impl Session {
    /// Begins a session and clears up after those that ended without doing so.
    pub fn begin(root: &Path) -> Result<Self> {
        ["sessions", "scratch"].iter().try_for_each(|name| make_folder(&root.join(name)))?;
        let session = {
            let _store = shared(root)?;
            Self::register(root)?
        };
        spread(&root.join("scratch"));
        make_folder(&session.scratch)?;
        session.sweep()?;
        Ok(session)
    }

    fn register(root: &Path) -> Result<Self> {
        let mut nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        loop {
            let name = format!("{}-{nanos}", std::process::id());
            let lease = root.join("sessions").join(&name);
            match OpenOptions::new().append(true).create_new(true).open(&lease) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => nanos += 1,
                other => {
                    let file = other.map_err(Error::io("make", &lease))?;
                    file.lock().map_err(Error::io("lock", &lease))?;
                    let scratch = root.join("scratch").join(name);
                    let (file, held) = (Mutex::new(file), Mutex::default());
                    return Ok(Self { root: root.to_owned(), lease, file, held, scratch, count: AtomicU64::new(0) });
                }
            }
        }
    }

    /// Leases an entry; the caller holds the store's lock and has seen that the entry is there.
    pub fn hold(&self, entry: String) -> Result<()> {
        if self.held.lock().expect("no panic while held").contains(&entry) {
            return Ok(());
        }
        let line = format!("{entry}\n");
        let mut file = self.file.lock().expect("no panic while held");
        file.write_all(line.as_bytes()).map_err(Error::io("write", &self.lease))?;
        self.held.lock().expect("no panic while held").insert(entry);
        Ok(())
    }

    /// Gives back an entry that turned out to be of no use.
    pub fn release(&self, entry: &str) -> Result<()> {
        let mut file = self.file.lock().expect("no panic while held");
        file.write_all(format!("!{entry}\n").as_bytes()).map_err(Error::io("write", &self.lease))?;
        self.held.lock().expect("no panic while held").remove(entry);
        Ok(())
    }

    /// Whether a living session other than this one leases an entry; the caller holds the store alone.
    pub fn others_hold(&self, entry: &str) -> Result<bool> {
        let mine = |name: &String| self.lease.file_name().is_some_and(|own| own == name.as_str());
        Ok(leases(&self.root, |name| !mine(name))?.contains(entry))
    }

    /// Returns the folder that goes with the session.
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// Returns a path in the scratch folder that nothing has yet.
    pub fn fresh(&self, name: &str) -> PathBuf {
        self.scratch.join(format!("{name}-{}", self.count.fetch_add(1, Ordering::Relaxed)))
    }

    /// Moves an entry out of everybody's sight.
    pub fn trash(&self, path: &Path) -> Result<PathBuf> {
        let trash = self.fresh("trash");
        match fs::rename(path, &trash) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
            _ => Ok(trash),
        }
    }

    /// Ends the sessions whose processes are gone. Their scratch may be large, so a thread removes it.
    fn sweep(&self) -> Result<()> {
        let Some(_store) = try_exclusive(&self.root)? else { return Ok(()) };
        let mut trash = Vec::new();
        for name in dead(&self.root)? {
            trash.push(self.trash(&self.root.join("scratch").join(&name))?);
            let _ = fs::remove_file(self.root.join("sessions").join(&name));
        }
        if !trash.is_empty() {
            std::thread::spawn(move || trash.iter().try_for_each(|path| remove_tree(path)));
        }
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A tree that cannot be removed now (files of other ids, outside the user namespace) stays with its lease;
        // the next session that can will sweep it.
        if remove_tree(&self.scratch).is_ok() {
            let _ = fs::remove_file(&self.lease);
        }
    }
}

/// Returns the names of sessions nobody holds any more; the caller holds the store alone.
fn dead(root: &Path) -> Result<Vec<String>> {
    let mut dead = names(&root.join("sessions"))?;
    dead.retain(|name| File::open(root.join("sessions").join(name)).is_ok_and(|file| file.try_lock().is_ok()));
    Ok(dead)
}

/// Returns every entry that a living session leases; the caller holds the store alone.
pub(crate) fn leased(root: &Path) -> Result<HashSet<String>> {
    leases(root, |_| true)
}

fn leases(root: &Path, of: impl Fn(&String) -> bool) -> Result<HashSet<String>> {
    let (dead, mut held) = (dead(root)?, HashSet::new());
    for name in names(&root.join("sessions"))?.iter().filter(|name| of(name) && !dead.contains(name)) {
        let lease = root.join("sessions").join(name);
        let text = fs::read_to_string(&lease).map_err(Error::io("read", &lease))?;
        let mut own = HashSet::new();
        for line in text.lines() {
            match line.strip_prefix('!') {
                Some(entry) => own.remove(entry),
                None => own.insert(line),
            };
        }
        held.extend(own.into_iter().map(str::to_owned));
    }
    Ok(held)
}

/// Takes the store's lock together with other users; it is free again when the file is dropped.
pub(crate) fn shared(root: &Path) -> Result<File> {
    let (path, file) = open_lock(root)?;
    file.lock_shared().map_err(Error::io("lock", &path))?;
    Ok(file)
}

/// Takes the store's lock alone.
pub(crate) fn exclusive(root: &Path) -> Result<File> {
    let (path, file) = open_lock(root)?;
    file.lock().map_err(Error::io("lock", &path))?;
    Ok(file)
}

fn try_exclusive(root: &Path) -> Result<Option<File>> {
    let (path, file) = open_lock(root)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(Error::io("lock", &path)(error)),
    }
}

fn open_lock(root: &Path) -> Result<(PathBuf, File)> {
    let path = root.join("lock");
    let file = OpenOptions::new().read(true).append(true).create(true).open(&path).map_err(Error::io("open", &path))?;
    Ok((path, file))
}

/// Tells ext4 that what lies in a folder does not belong together. It then gives each tree inside a part of the disk of
/// its own: where thousands of files went a moment ago, it tries all their inodes before it makes a new one.
fn spread(folder: &Path) {
    // Other filesystems know no such mark, and need none.
    let _ = File::open(folder).and_then(|folder| {
        let flags = ioctl_getflags(&folder)?;
        Ok(ioctl_setflags(&folder, flags | IFlags::TOPDIR)?)
    });
}
