//! The janitor: a tiny process that starts sandboxes on kiln's word and cleans up when kiln is gone, however it went.

mod process;
mod remove;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::error::Doing;
use crate::{Result, letter, sys};

pub(crate) use process::settle;
pub(crate) use remove::remove;

static HIRED: OnceLock<Janitor> = OnceLock::new();

/// Kiln's line to its janitor.
#[derive(Debug)]
pub(crate) struct Janitor {
    line: OwnedFd,
}

/// What kiln asks of its janitor.
#[derive(Debug, Serialize, Deserialize)]
enum Wish {
    /// Remove this tree when kiln is gone.
    Guard(Vec<u8>),
    Forget(Vec<u8>),
    /// Start a sandbox; descriptors: its line, the job, then its standard streams.
    Start,
}

impl Janitor {
    /// Starts the janitor; the process must have one thread.
    pub(crate) fn hire() -> Result<()> {
        let (here, there) = letter::pair().doing(|| "make a socket pair".into())?;
        if sys::fork().doing(|| "fork the janitor".into())?.is_none() {
            drop(here);
            process::live(there);
        }
        let _ = HIRED.set(Self { line: here });
        Ok(())
    }

    /// Returns the janitor of this process, if [`enter`](crate::enter) was called.
    pub(crate) fn get() -> Option<&'static Self> {
        HIRED.get()
    }

    pub(crate) fn guard(&self, tree: &Path) -> Result<()> {
        self.wish(&Wish::Guard(tree.as_os_str().as_bytes().to_vec()), &[])
    }

    pub(crate) fn forget(&self, tree: &Path) -> Result<()> {
        self.wish(&Wish::Forget(tree.as_os_str().as_bytes().to_vec()), &[])
    }

    /// Starts the sandbox that `job` describes; it reports on `line`.
    pub(crate) fn start(&self, line: &OwnedFd, job: &OwnedFd, streams: &[OwnedFd; 3]) -> Result<()> {
        let mut descriptors: Vec<BorrowedFd<'_>> = vec![line.as_fd(), job.as_fd()];
        descriptors.extend(streams.iter().map(AsFd::as_fd));
        self.wish(&Wish::Start, &descriptors)
    }

    fn wish(&self, wish: &Wish, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        letter::send(&self.line, wish, descriptors).doing(|| "speak to the janitor".into())
    }
}
