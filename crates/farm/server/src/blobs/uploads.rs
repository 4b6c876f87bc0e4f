//! Uploads on their way: the folder `uploads`, a file for each, which grows with every piece and stays through a restart.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use kiln_model::Digest;
use tokio::io::AsyncWriteExt as _;

use super::folder::{blocking, digest_of, old};
use crate::error::{Error, Result};
use kiln_farm_api::points::{self, Point};

/// How long an upload may be silent.
const SILENCE: Duration = Duration::from_secs(60);
/// After so many bytes the disk is looked at again: others write to it too.
const LOOK: u64 = 64 << 20;

/// The folder of uploads.
#[derive(Clone, Debug)]
pub struct Uploads {
    folder: PathBuf,
    busy: Arc<Mutex<HashSet<Digest>>>,
    /// Bytes that must stay free on its disk.
    reserve: u64,
}

/// What a piece made of an upload.
#[derive(Debug)]
pub enum Received {
    /// It has come to this byte.
    Part(u64),
    Whole(Whole),
}

/// An upload all of whose bytes are here; nobody else touches it as long as this lives.
#[derive(Debug)]
pub struct Whole {
    pub digest: Digest,
    pub length: u64,
    pub path: PathBuf,
    _busy: Busy,
}

impl Whole {
    /// Refuses, and removes, bytes that are others than was said.
    pub async fn check(&self) -> Result<()> {
        let failed = |error| Error::failed("check an upload", error);
        let (path, wanted) = (self.path.clone(), self.digest);
        // A blob of no bytes has no piece that made its file.
        let open = move || File::options().create(true).append(true).read(true).open(&path);
        let found = blocking(move || digest_of(&open()?)).await.map_err(failed)?;
        if found == wanted {
            return Ok(());
        }
        self.forget().await?;
        let why = format!("the bytes that came have the SHA-256 {found}, not {wanted}");
        Err(Error::refused(StatusCode::UNPROCESSABLE_ENTITY, why).hint("upload it again from the beginning"))
    }

    /// Removes the upload.
    pub async fn forget(&self) -> Result<()> {
        match tokio::fs::remove_file(&self.path).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::failed("remove an upload", error)),
            _ => Ok(()),
        }
    }
}

impl Uploads {
    pub fn open(data: &Path, reserve: u64) -> Result<Self> {
        let folder = data.join("uploads");
        fs::create_dir_all(&folder).map_err(|error| Error::failed("make `uploads`", error))?;
        Ok(Self { folder, busy: Arc::default(), reserve })
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.folder.join(digest.to_string())
    }

    /// Returns how far an upload has come.
    pub fn offset(&self, digest: Digest) -> u64 {
        fs::metadata(self.path(digest)).map_or(0, |meta| meta.len())
    }

    /// Appends a piece of a blob of `length` bytes. One that breaks off is kept as far as it came.
    pub async fn append<E: std::error::Error + Send + Sync + 'static>(
        &self,
        digest: Digest,
        offset: u64,
        length: u64,
        piece: impl Stream<Item = Result<Bytes, E>> + Send + Unpin,
    ) -> Result<Received> {
        let busy = self.alone(digest)?;
        let have = self.offset(digest);
        if have != offset {
            return Err(Error::conflict(format!("this upload has come to byte {have}, not {offset}")));
        }
        let offset = self.receive(digest, offset, length, piece).await?;
        if offset < length {
            return Ok(Received::Part(offset));
        }
        Ok(Received::Whole(Whole { digest, length, path: self.path(digest), _busy: busy }))
    }

    async fn receive<E: std::error::Error + Send + Sync + 'static>(
        &self,
        digest: Digest,
        mut offset: u64,
        length: u64,
        mut piece: impl Stream<Item = Result<Bytes, E>> + Send + Unpin,
    ) -> Result<u64> {
        let failed = |error| Error::failed("write an upload", error);
        if offset < length {
            self.room(length - offset)?;
        }
        let opened = tokio::fs::OpenOptions::new().create(true).append(true).open(self.path(digest)).await;
        let mut file = opened.map_err(failed)?;
        let mut look = offset + LOOK;
        // A line that is dead without a word would hold this upload for ever.
        while let Ok(Some(Ok(bytes))) = tokio::time::timeout(SILENCE, piece.next()).await {
            if offset >= look {
                self.room(length.saturating_sub(offset))?;
                look = offset + LOOK;
            }
            offset += bytes.len() as u64;
            if offset > length {
                return Err(Error::bad(format!("more than the {length} bytes that `Upload-Length` says")));
            }
            file.write_all(&bytes).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)?;
        points::pass(Point::UploadWritten);
        Ok(offset)
    }

    /// Refuses bytes that the disk has no room for.
    fn room(&self, bytes: u64) -> Result<()> {
        let stat =
            rustix::fs::statvfs(&self.folder).map_err(|error| Error::failed("ask how full the disk is", error))?;
        let free = stat.f_bavail * stat.f_frsize;
        if free < bytes.saturating_add(self.reserve) {
            let why = format!("the server's disk is nearly full: {free} bytes are free, {bytes} are to come");
            return Err(
                Error::refused(StatusCode::INSUFFICIENT_STORAGE, why).hint("its operator frees some: `kiln gc`")
            );
        }
        Ok(())
    }

    /// Returns the uploads that nobody went on with for a day.
    pub async fn abandoned(&self) -> Result<Vec<(Digest, u64)>> {
        let folder = self.folder.clone();
        blocking(move || old(&folder)).await.map_err(|error| Error::failed("look through the uploads", error))
    }

    /// Removes an upload that nobody went on with; false: somebody does.
    pub async fn give_up(&self, digest: Digest) -> Result<bool> {
        let Ok(_busy) = self.alone(digest) else { return Ok(false) };
        if !self.abandoned().await?.iter().any(|(found, _)| *found == digest) {
            return Ok(false);
        }
        let removed = tokio::fs::remove_file(self.path(digest)).await;
        removed.map(|()| true).map_err(|error| Error::failed("remove an upload", error))
    }

    fn alone(&self, digest: Digest) -> Result<Busy> {
        let fresh = self.busy.lock().expect("no panic while held").insert(digest);
        let busy =
            || Error::conflict("somebody uploads the same bytes now").hint("ask how far it has come a little later");
        fresh.then(|| Busy { all: self.busy.clone(), digest }).ok_or_else(busy)
    }
}

/// Somebody's turn at an upload.
#[derive(Debug)]
struct Busy {
    all: Arc<Mutex<HashSet<Digest>>>,
    digest: Digest,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.all.lock().expect("no panic while held").remove(&self.digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(bytes: &'static [u8]) -> impl Stream<Item = Result<Bytes, io::Error>> + Send + Unpin {
        futures_util::stream::iter([Ok(Bytes::from_static(bytes))])
    }

    async fn whole(uploads: &Uploads, digest: Digest, offset: u64, bytes: &'static [u8]) -> Whole {
        let length = offset + bytes.len() as u64;
        match uploads.append(digest, offset, length, piece(bytes)).await.unwrap() {
            Received::Whole(whole) => whole,
            Received::Part(offset) => panic!("{offset} of {length}"),
        }
    }

    #[tokio::test]
    async fn in_pieces_and_checked() {
        let folder = tempfile::tempdir().unwrap();
        let uploads = Uploads::open(folder.path(), 0).unwrap();
        let digest = Digest::of("hello");
        assert!(matches!(uploads.append(digest, 0, 5, piece(b"he")).await.unwrap(), Received::Part(2)));
        assert!(uploads.append(digest, 0, 5, piece(b"hello")).await.is_err(), "not from there");
        let held = whole(&uploads, digest, 2, b"llo").await;
        held.check().await.unwrap();
        assert_eq!(fs::read(&held.path).unwrap(), b"hello");
        assert!(uploads.append(digest, 5, 5, piece(b"")).await.is_err(), "one at a time");
        let other = Digest::of("other");
        assert!(whole(&uploads, other, 0, b"wrong").await.check().await.is_err());
        assert_eq!(uploads.offset(other), 0);
        assert!(uploads.append(other, 0, 3, piece(b"other")).await.is_err(), "more than it said");
        whole(&uploads, Digest::of(""), 0, b"").await.check().await.unwrap();
    }

    #[tokio::test]
    async fn the_disk_is_looked_at_while_it_fills() {
        let folder = tempfile::tempdir().unwrap();
        let stat = rustix::fs::statvfs(folder.path()).unwrap();
        let free = stat.f_bavail * stat.f_frsize;
        if free > 8 << 40 {
            return;
        }
        // There is room for what comes, and in the middle somebody else needs it.
        let mut uploads = Uploads::open(folder.path(), 0).unwrap();
        let digest = Digest::of("long");
        let refused = uploads.append(digest, 0, u64::MAX, piece(b"x")).await.unwrap_err().problem();
        assert_eq!((refused.status, uploads.offset(digest)), (507, 0));
        assert!(matches!(uploads.append(digest, 0, 9, piece(b"x")).await.unwrap(), Received::Part(1)));
        uploads.reserve = u64::MAX / 2;
        let refused = uploads.append(digest, 1, 9, piece(b"y")).await.unwrap_err().problem();
        assert_eq!((refused.status, uploads.offset(digest)), (507, 1), "what came before stays");
    }
}
