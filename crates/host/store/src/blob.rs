//! Blobs: bytes under their SHA-256.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use kiln_model::Digest;
use sha2::{Digest as _, Sha256};

use crate::boot::{Stored, now};
use crate::files::{hash, rename};
use crate::index::Known;
use crate::{Error, Fingerprint, Result, Store, session};

/// Seconds between two notes of a blob's use.
const SAME_USE: u64 = 60;

impl Store {
    /// Returns the path of a blob that is there and unchanged.
    ///
    /// A file whose fingerprint is the one noted when it was written is taken as it is; any other is read and hashed,
    /// and removed with a warning when it holds other bytes.
    pub fn blob(&self, digest: &Digest) -> Result<Option<PathBuf>> {
        let path = self.blob_path(digest);
        if !self.lease(&format!("blob {digest}"), &path)? {
            return Ok(None);
        }
        let print = match Fingerprint::of(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(Error::io("look at", &path))?,
        };
        let known = self.index.lock().expect("no panic while held").get(digest)?;
        match known.filter(|known| known.print == print && !self.doubts(known.stored)) {
            Some(known) if now().saturating_sub(known.used) < SAME_USE => {}
            Some(known) => self.note_blob(*digest, Known { used: now(), ..known })?,
            None if self.has_blob_rotted(digest)? => return Ok(None),
            None => self.note_blob(*digest, self.just_stored(print))?,
        }
        Ok(Some(path))
    }

    /// Reads a blob; one that holds other bytes is removed, and true returned, as it is when somebody else was faster.
    pub(crate) fn has_blob_rotted(&self, digest: &Digest) -> Result<bool> {
        let path = self.blob_path(digest);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            other => other.map_err(Error::io("read", &path))?,
        };
        let inode = file.metadata().map_err(Error::io("look at", &path))?.ino();
        if hash(file).map_err(Error::io("read", &path))? == *digest {
            return Ok(false);
        }
        let _store = session::exclusive(self.root())?;
        // Whoever removed it first may have fetched a good one meanwhile.
        if Fingerprint::of(&path).is_ok_and(|now| now.inode == inode) {
            self.reject(&path, format!("the stored blob `{}` was corrupted and is dropped", digest.short()))?;
        }
        Ok(true)
    }

    /// Returns a writer of a new blob.
    pub fn writer(&self) -> Result<BlobWriter<'_>> {
        let path = self.session.fresh("blob");
        let file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(Error::io("make", &path))?;
        Ok(BlobWriter { store: self, path, file, hasher: Sha256::new(), written: 0 })
    }

    /// Stores bytes at hand.
    pub fn put(&self, bytes: &[u8]) -> Result<(Digest, PathBuf)> {
        let mut writer = self.writer()?;
        writer.write_all(bytes).map_err(Error::io("write", &writer.path))?;
        writer.finish(None)
    }

    /// Gives another store a copy of a blob; false when there is none. By a hard link each store would change the other's.
    pub fn copy_blob(&self, digest: &Digest, to: &Self) -> Result<bool> {
        let Some(path) = self.blob(digest)? else { return Ok(false) };
        let draft = to.session.fresh("blob");
        // Takes no time and no room on filesystems that can share the bytes.
        fs::copy(&path, &draft).map_err(Error::io("copy", &path))?;
        to.place_blob(*digest, &draft)?;
        Ok(true)
    }

    /// Renames a whole blob into place.
    fn place_blob(&self, digest: Digest, draft: &Path) -> Result<PathBuf> {
        let place = self.blob_path(&digest);
        let print = {
            // A collector must not find it before it is leased.
            let _store = session::shared(self.root())?;
            rename(draft, &place)?;
            self.session.hold(format!("blob {digest}"))?;
            Fingerprint::of(&place).map_err(Error::io("look at", &place))?
        };
        self.note_blob(digest, self.just_stored(print))?;
        Ok(place)
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        let digits = digest.to_string();
        self.root().join("blobs/sha256").join(&digits[..2]).join(&digits[2..])
    }

    fn note_blob(&self, digest: Digest, known: Known) -> Result<()> {
        self.index.lock().expect("no panic while held").put(digest, known)
    }

    fn just_stored(&self, print: Fingerprint) -> Known {
        Known { print, stored: Stored::now(self.boot), used: now() }
    }
}

/// Bytes on their way into the store, hashed as they come. Dropped without [`finish`](Self::finish), they leave nothing.
pub struct BlobWriter<'a> {
    store: &'a Store,
    path: PathBuf,
    file: File,
    hasher: Sha256,
    written: u64,
}

impl BlobWriter<'_> {
    /// Returns how many bytes were written.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Returns the digest of all that was written so far.
    pub fn digest(&self) -> Digest {
        Digest::from_bytes(self.hasher.clone().finalize().into())
    }

    /// Starts over, as if nothing had been written.
    pub fn restart(&mut self) -> Result<()> {
        self.file.set_len(0).and_then(|()| self.file.rewind()).map_err(Error::io("empty", &self.path))?;
        (self.hasher, self.written) = (Sha256::new(), 0);
        Ok(())
    }

    /// Puts the bytes in place if they are the expected ones; what is expected is not checked when none is given.
    pub fn finish(self, expected: Option<Digest>) -> Result<(Digest, PathBuf)> {
        let got = self.digest();
        if let Some(expected) = expected.filter(|expected| *expected != got) {
            return Err(Error::WrongDigest { expected, got });
        }
        if let Some(path) = self.store.blob(&got)? {
            return Ok((got, path));
        }
        Ok((got, self.store.place_blob(got, &self.path)?))
    }
}

impl Write for BlobWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for BlobWriter<'_> {
    fn drop(&mut self) {
        // After `finish` the name is gone already.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_who_find_a_rotted_blob_neither_fails_nor_takes_a_new_one() {
        let home = tempfile::tempdir().unwrap();
        let (one, two) = (Store::open(home.path(), None).unwrap(), Store::open(home.path(), None).unwrap());
        let (digest, path) = one.put(b"good").unwrap();
        fs::write(&path, "gone bad").unwrap();
        assert!(one.has_blob_rotted(&digest).unwrap());
        assert!(two.has_blob_rotted(&digest).unwrap(), "gone already");
        assert_eq!((one.take_warnings().len(), two.take_warnings().len()), (1, 0));
        one.put(b"good").unwrap();
        assert!(!two.has_blob_rotted(&digest).unwrap());
    }
}
