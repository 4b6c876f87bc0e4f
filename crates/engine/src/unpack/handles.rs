//! Directories of the tree, opened once and kept.
//!
//! The kernel resolves a path once for each directory instead of once for each file, and `RESOLVE_IN_ROOT` keeps every
//! step of it inside the tree.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use kiln_model::GuestPath;
use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat2};
use rustix::io::Errno;

use super::error::Error;
use super::shared::Shared;

/// Handles kept open at once, by each thread.
const KEPT: usize = 200;

/// One thread's open directories.
pub struct Handles<'s> {
    shared: &'s Shared,
    kept: HashMap<GuestPath, Rc<OwnedFd>>,
}

impl<'s> Handles<'s> {
    pub fn new(shared: &'s Shared) -> Self {
        Self { shared, kept: HashMap::new() }
    }

    /// Returns the directory that holds `path`; missing ones are made.
    pub fn parent(&mut self, path: &GuestPath) -> Result<Rc<OwnedFd>, Error> {
        let parent = path.parent().unwrap_or_else(GuestPath::root);
        self.directory(&parent)
    }

    /// Returns a directory; missing ones are made with mode 0755.
    pub fn directory(&mut self, path: &GuestPath) -> Result<Rc<OwnedFd>, Error> {
        if let Some(handle) = self.kept.get(path) {
            return Ok(Rc::clone(handle));
        }
        let handle = match open(self.shared.root(), path) {
            Err(Errno::NOENT) if path.parent().is_some() => {
                self.make(path)?;
                open(self.shared.root(), path)
            }
            other => other,
        };
        let handle = Rc::new(handle.map_err(|errno| Error::tree("open the directory", path, errno))?);
        if self.kept.len() >= KEPT {
            self.kept.clear();
        }
        self.kept.insert(path.clone(), Rc::clone(&handle));
        Ok(handle)
    }

    /// Makes a directory and returns whether it was not there yet.
    pub fn make(&mut self, path: &GuestPath) -> Result<bool, Error> {
        let parent = self.parent(path)?;
        match mkdirat(&parent, path.name(), Mode::from_raw_mode(0o755)) {
            Ok(()) => {
                self.shared.directories.made(self.shared.canonical(path));
                Ok(true)
            }
            Err(Errno::EXIST) => Ok(false),
            Err(errno) => Err(Error::tree("make the directory", path, errno)),
        }
    }

    /// Whether the path leads to a directory, maybe through links.
    pub fn is_directory(&self, path: &GuestPath) -> bool {
        open(self.shared.root(), path).is_ok()
    }
}

/// Opens a directory below the root without leaving it.
fn open(root: BorrowedFd<'_>, path: &GuestPath) -> Result<OwnedFd, Errno> {
    let relative = if path.relative().is_empty() { b"." } else { path.relative() };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    loop {
        // The kernel gives up when something is renamed meanwhile; the next try sees the tree as it is then.
        match openat2(root.as_fd(), relative, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
}
