//! The artifact store: bytes under their SHA-256 in a folder. A blob appears whole or not at all.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use kiln_farm_api::Upload;
use kiln_model::Digest;
use rustix::fs::FlockOperation;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;

use crate::backup::hold;
use crate::error::{Error, Result};
use crate::points::{self, Point};

/// The folder `blobs`, and `uploads` for what is on its way.
#[derive(Clone, Debug)]
pub struct Blobs {
    root: PathBuf,
    busy: Arc<Mutex<HashSet<Digest>>>,
    /// Bytes that must stay free on its disk.
    reserve: u64,
}

/// How long an upload may be silent.
const SILENCE: Duration = Duration::from_secs(60);

impl Blobs {
    pub fn open(root: &Path, reserve: u64) -> Result<Self> {
        for folder in ["blobs", "uploads"] {
            fs::create_dir_all(root.join(folder)).map_err(|error| Error::failed(format!("make `{folder}`"), error))?;
        }
        Ok(Self { root: root.to_owned(), busy: Arc::default(), reserve })
    }

    /// Returns where a blob's bytes are, or would be.
    pub fn path(&self, digest: Digest) -> PathBuf {
        place_of(&self.root.join("blobs"), digest)
    }

    /// Returns the bytes of a blob that is not longer than `most`.
    pub async fn read(&self, digest: Digest, most: u64) -> Result<Bytes> {
        let path = self.path(digest);
        let read = blocking(move || {
            if fs::metadata(&path)?.len() > most {
                return Ok(None);
            }
            fs::read(&path).map(Some)
        });
        let read = read.await.map_err(|error| Error::failed(format!("read blob {digest}"), error))?;
        read.map(Bytes::from)
            .ok_or_else(|| Error::bad(format!("blob {digest} is longer than the {most} bytes that are shown")))
    }

    fn partial(&self, digest: Digest) -> PathBuf {
        self.root.join("uploads").join(digest.to_string())
    }

    /// Returns how far an upload has come.
    pub fn state(&self, digest: Digest) -> Upload {
        let size = |path: &Path| fs::metadata(path).ok().map(|meta| meta.len());
        match size(&self.path(digest)) {
            Some(offset) => Upload { offset, complete: true },
            None => Upload { offset: size(&self.partial(digest)).unwrap_or(0), complete: false },
        }
    }

    /// Appends a piece of a blob of `length` bytes; when it is whole its digest is checked and it takes its place. A piece that breaks
    /// off is kept as far as it came.
    pub async fn append<E: std::error::Error + Send + Sync + 'static>(
        &self,
        digest: Digest,
        offset: u64,
        length: u64,
        piece: impl Stream<Item = Result<Bytes, E>> + Send + Unpin,
    ) -> Result<Upload> {
        let have = self.state(digest);
        if have.complete {
            return Ok(have);
        }
        let _busy = self.alone(digest)?;
        let have = self.state(digest);
        if have.complete {
            return Ok(have);
        }
        if have.offset != offset {
            return Err(Error::conflict(format!("this upload has come to byte {}, not {offset}", have.offset)));
        }
        self.room(length.saturating_sub(offset))?;
        let offset = self.receive(digest, offset, length, piece).await?;
        if offset < length {
            return Ok(Upload { offset, complete: false });
        }
        let blobs = self.clone();
        tokio::task::spawn_blocking(move || blobs.place(digest, length))
            .await
            .map_err(|error| Error::failed("place a blob", error))?
    }

    async fn receive<E: std::error::Error + Send + Sync + 'static>(
        &self,
        digest: Digest,
        mut offset: u64,
        length: u64,
        mut piece: impl Stream<Item = Result<Bytes, E>> + Send + Unpin,
    ) -> Result<u64> {
        let failed = |error| Error::failed("write an upload", error);
        let opened = tokio::fs::OpenOptions::new().create(true).append(true).open(self.partial(digest)).await;
        let mut file = opened.map_err(failed)?;
        // A line that is dead without a word would hold this upload for ever.
        while let Ok(Some(Ok(bytes))) = tokio::time::timeout(SILENCE, piece.next()).await {
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

    /// Checks what was uploaded and puts it into its place, where it stays through a crash of the machine.
    fn place(&self, digest: Digest, length: u64) -> Result<Upload> {
        let failed = |error: io::Error| Error::failed("place a blob", error);
        let partial = self.partial(digest);
        // A blob of no bytes has no piece that made its file.
        let file = File::options().create(true).append(true).read(true).open(&partial).map_err(failed)?;
        let found = digest_of(&file).map_err(failed)?;
        if found != digest {
            fs::remove_file(&partial).map_err(failed)?;
            let why = format!("the bytes that came have the SHA-256 {found}, not {digest}");
            return Err(
                Error::refused(StatusCode::UNPROCESSABLE_ENTITY, why).hint("upload it again from the beginning")
            );
        }
        file.sync_all().map_err(failed)?;
        let path = self.path(digest);
        let folder = path.parent().expect("it is in a folder");
        fs::create_dir_all(folder).map_err(failed)?;
        fs::rename(&partial, &path).map_err(failed)?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        points::pass(Point::BlobPlaced);
        Ok(Upload { offset: length, complete: true })
    }

    /// Puts bytes that are here already into the store.
    pub async fn put(&self, bytes: Bytes) -> Result<Digest> {
        let (digest, length) = (Digest::of(&bytes), bytes.len() as u64);
        let offset = self.state(digest).offset as usize;
        let rest = bytes.slice(offset.min(bytes.len())..);
        let piece = futures_util::stream::iter([Ok::<_, io::Error>(rest)]);
        self.append(digest, offset as u64, length, piece).await?;
        Ok(digest)
    }

    /// Holds the store as a whole for somebody who removes blobs, unless somebody needs all of it to stay.
    pub async fn hold_all(&self) -> Result<File> {
        let root = self.root.clone();
        let held = blocking(move || hold(&root, FlockOperation::NonBlockingLockExclusive)).await;
        held.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => {
                Error::conflict("a backup or another gc is under way").hint("try again when it has ended")
            }
            _ => Error::failed("hold the blobs", error),
        })
    }

    /// Holds a folder of the store until the answer is dropped; none: there is no such folder, or others hold it all the time. Nobody
    /// waits for it in a thread: there are only so many, and who holds it needs one.
    pub async fn hold(&self, shard: &str, how: Hold) -> Result<Option<File>> {
        let folder = self.root.join("blobs").join(shard);
        let (wanted, patient) = match how {
            Hold::Shared => (FlockOperation::NonBlockingLockShared, true),
            Hold::Alone => (FlockOperation::NonBlockingLockExclusive, false),
        };
        let until = Instant::now() + PATIENCE;
        loop {
            let folder = folder.clone();
            let held = blocking(move || {
                let folder = File::open(folder)?;
                rustix::fs::flock(&folder, wanted)?;
                Ok(folder)
            });
            match held.await {
                Ok(held) => return Ok(Some(held)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && (patient || Instant::now() < until) => {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(Error::failed("hold a folder of blobs", error)),
            }
        }
    }

    /// Returns the blobs in a folder of the store that are not among those `known`, nor younger than a day.
    pub async fn strays(&self, shard: &str, known: BTreeSet<Digest>) -> Result<Vec<(Digest, u64)>> {
        let folder = self.root.join("blobs").join(shard);
        let found = blocking(move || old(&folder)).await;
        let mut found = found.map_err(|error| Error::failed("look through the blobs", error))?;
        found.retain(|(digest, _)| !known.contains(digest));
        Ok(found)
    }

    /// Returns the uploads that nobody went on with for a day.
    pub async fn abandoned(&self) -> Result<Vec<(Digest, u64)>> {
        let folder = self.root.join("uploads");
        blocking(move || old(&folder)).await.map_err(|error| Error::failed("look through the uploads", error))
    }

    /// Removes an upload that nobody went on with; false: somebody does.
    pub async fn give_up(&self, digest: Digest) -> Result<bool> {
        let Ok(_busy) = self.alone(digest) else { return Ok(false) };
        if !self.abandoned().await?.iter().any(|(found, _)| *found == digest) {
            return Ok(false);
        }
        let removed = tokio::fs::remove_file(self.partial(digest)).await;
        removed.map(|()| true).map_err(|error| Error::failed("remove an upload", error))
    }

    fn alone(&self, digest: Digest) -> Result<Busy> {
        let fresh = self.busy.lock().expect("no panic while held").insert(digest);
        let busy =
            || Error::conflict("somebody uploads the same bytes now").hint("ask how far it has come a little later");
        fresh.then(|| Busy { all: self.busy.clone(), digest }).ok_or_else(busy)
    }

    fn room(&self, bytes: u64) -> Result<()> {
        let stat = rustix::fs::statvfs(&self.root).map_err(|error| Error::failed("ask how full the disk is", error))?;
        let free = stat.f_bavail * stat.f_frsize;
        if free < bytes.saturating_add(self.reserve) {
            let why = format!("the server's disk is nearly full: {free} bytes are free, {bytes} are to come");
            return Err(
                Error::refused(StatusCode::INSUFFICIENT_STORAGE, why).hint("its operator frees some: `kiln gc`")
            );
        }
        Ok(())
    }
}

/// How a folder of the store is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Nobody is to remove anything.
    Shared,
    /// Nobody is to say that something is here.
    Alone,
}

/// Returns the folder of the store that a blob is in.
pub fn shard(digest: Digest) -> String {
    digest.to_string()[..2].to_owned()
}

/// How long somebody who removes blobs waits for a folder; there is another day.
const PATIENCE: Duration = Duration::from_secs(30);

/// How old, by its file's own clock, what no row speaks of must be before it goes.
const OLD: Duration = Duration::from_secs(24 * 3600);

/// Returns the digests that files of a folder are named after, of those that nobody wrote to for a day.
fn old(folder: &Path) -> io::Result<Vec<(Digest, u64)>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        other => other?,
    };
    let mut found = vec![];
    for entry in entries {
        let entry = entry?;
        let Some(digest) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(meta) = entry.metadata() else { continue };
        if meta.modified()?.elapsed().is_ok_and(|age| age > OLD) {
            found.push((digest, meta.len()));
        }
    }
    Ok(found)
}

async fn blocking<T: Send + 'static>(job: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(job).await.map_err(io::Error::other)?
}

/// Somebody's turn at an upload.
struct Busy {
    all: Arc<Mutex<HashSet<Digest>>>,
    digest: Digest,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.all.lock().expect("no panic while held").remove(&self.digest);
    }
}

/// Returns where a blob's bytes are under the folder of all blobs.
pub(crate) fn place_of(folder: &Path, digest: Digest) -> PathBuf {
    let text = digest.to_string();
    folder.join(&text[..2]).join(text)
}

pub(crate) fn digest_of(mut file: &File) -> io::Result<Digest> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Digest::from_bytes(hasher.finalize().into())),
            read => hasher.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(bytes: &'static [u8]) -> impl Stream<Item = Result<Bytes, io::Error>> + Send + Unpin {
        futures_util::stream::iter([Ok(Bytes::from_static(bytes))])
    }

    #[tokio::test]
    async fn in_pieces_and_checked() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path(), 0).unwrap();
        let digest = Digest::of("hello");
        assert_eq!(blobs.append(digest, 0, 5, piece(b"he")).await.unwrap(), Upload { offset: 2, complete: false });
        assert!(blobs.append(digest, 0, 5, piece(b"hello")).await.is_err(), "not from there");
        assert_eq!(blobs.append(digest, 2, 5, piece(b"llo")).await.unwrap(), Upload { offset: 5, complete: true });
        assert_eq!(fs::read(blobs.path(digest)).unwrap(), b"hello");
        assert!(blobs.append(digest, 0, 5, piece(b"hello")).await.unwrap().complete, "again changes nothing");
        let other = Digest::of("other");
        assert!(blobs.append(other, 0, 5, piece(b"wrong")).await.is_err());
        assert_eq!(blobs.state(other), Upload { offset: 0, complete: false });
        assert!(blobs.append(other, 0, 3, piece(b"other")).await.is_err(), "more than it said");
        let nothing = blobs.put(Bytes::new()).await.unwrap();
        assert!(blobs.state(nothing).complete);
    }
}
