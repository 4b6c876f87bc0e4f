//! Whose turn at an upload it is, among all servers that share its folder.
//!
//! Who has the turn holds a lock on the upload's file (`flock`, which a crash lets go), and nobody else writes to it, renames it or
//! removes it. So a lock is a turn only if the path still names the file that was locked: whoever had the turn before may have placed
//! or removed it after it was opened here.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use kiln_model::Digest;
use rustix::fs::FlockOperation;

use super::folder::is_old;
use crate::error::{Error, Result};

/// Somebody's turn at an upload, until dropped.
#[derive(Debug)]
pub struct Turn {
    /// What the upload is called ([`super::Sent::name`]).
    pub name: Digest,
    pub path: PathBuf,
    file: File,
}

impl Turn {
    /// Takes the turn, if nobody has it.
    pub(super) fn take(name: Digest, path: &Path) -> io::Result<Self> {
        loop {
            let file = File::options().create(true).append(true).read(true).open(path)?;
            rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            let turn = Self { name, path: path.to_owned(), file };
            if turn.is_there()? {
                return Ok(turn);
            }
        }
    }

    fn is_there(&self) -> io::Result<bool> {
        let there = match fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other?,
        };
        let own = self.file.metadata()?;
        Ok((there.dev(), there.ino()) == (own.dev(), own.ino()))
    }

    /// Returns how many bytes are here.
    pub fn end(&self) -> Result<u64> {
        let meta = self.file.metadata();
        meta.map(|meta| meta.len()).map_err(|error| Error::failed("ask how long an upload is", error))
    }

    /// Whether nobody went on with it for a day.
    pub(super) fn is_abandoned(&self) -> io::Result<bool> {
        is_old(&self.file.metadata()?)
    }

    /// Removes the upload.
    pub async fn forget(&self) -> Result<()> {
        match tokio::fs::remove_file(&self.path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::failed("remove an upload", error)),
            _ => Ok(()),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // A turn at which nothing came leaves nothing.
        let empty = self.file.metadata().is_ok_and(|meta| meta.len() == 0);
        if empty && self.is_there().unwrap_or(false) {
            let _ = fs::remove_file(&self.path);
        }
        // Closing it is not enough: a program that is started at this moment has it open too until it begins.
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_only_at_the_file_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let (name, path) = (Digest::of("x"), folder.path().join("x"));
        let first = Turn::take(name, &path).unwrap();
        assert_eq!(Turn::take(name, &path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        fs::write(&path, "bytes").unwrap();
        assert!(!first.is_abandoned().unwrap());
        drop(first);
        assert!(path.exists(), "what came stays");

        // Somebody opened the file before it was removed, and gets the lock afterwards: it is worth nothing.
        let first = Turn::take(name, &path).unwrap();
        let late = File::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        drop(first);
        rustix::fs::flock(&late, FlockOperation::NonBlockingLockExclusive).unwrap();
        let stale = Turn { name, path: path.clone(), file: late };
        assert!(!stale.is_there().unwrap());
        let second = Turn::take(name, &path).unwrap();
        assert!(!stale.is_there().unwrap() && second.is_there().unwrap());
        drop(stale);
        assert!(path.exists(), "it is somebody else's now");
        drop(second);
        assert!(!path.exists(), "nothing came");
    }

    #[test]
    fn many_turns_lose_no_byte() {
        use std::io::Write as _;
        let folder = tempfile::tempdir().unwrap();
        let (name, path, to) = (Digest::of("x"), folder.path().join("x"), folder.path().join("all"));
        let (turns, writers) = (200, 4);
        // Each writes a line at its turn; every tenth turn carries away what is there, as a gc or a placing does.
        let work = |_| {
            let (path, to) = (path.clone(), to.clone());
            std::thread::spawn(move || {
                let mut done = 0;
                while done < turns {
                    let Ok(turn) = Turn::take(name, &path) else { continue };
                    (&turn.file).write_all(b"line\n").unwrap();
                    done += 1;
                    if done % 10 == 0 {
                        let mut all = File::options().create(true).append(true).open(&to).unwrap();
                        all.write_all(&fs::read(&path).unwrap()).unwrap();
                        fs::remove_file(&path).unwrap();
                    }
                }
            })
        };
        (0..writers).map(work).collect::<Vec<_>>().into_iter().for_each(|writer| writer.join().unwrap());
        let rest = fs::read_to_string(&path).unwrap_or_default();
        let all = fs::read_to_string(&to).unwrap() + &rest;
        assert_eq!(all, "line\n".repeat(turns * writers));
    }
}
