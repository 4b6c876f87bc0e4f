//! Blobs in the server's own folder `blobs`, which several servers of one machine may share.

use std::fs::{self, File};
use std::io::{self, Read as _, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use kiln_model::Digest;
use rustix::fs::FlockOperation;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::{Place, Reading, Stray, Whole};
use crate::backup::hold;
use crate::error::{Error, Result};

/// How much is read at once.
const PIECE: usize = 256 << 10;

/// The folder `blobs` of a server.
#[derive(Clone, Debug)]
pub struct Folder {
    data: PathBuf,
}

impl Folder {
    pub fn open(data: &Path) -> Result<Self> {
        fs::create_dir_all(data.join("blobs")).map_err(|error| Error::failed("make `blobs`", error))?;
        Ok(Self { data: data.to_owned() })
    }

    /// Returns where a blob's bytes are, or would be.
    pub fn path(&self, digest: Digest) -> PathBuf {
        place_of(&self.data.join("blobs"), digest)
    }

    /// Returns how many bytes a blob that is here has.
    pub fn size(&self, digest: Digest) -> Option<u64> {
        fs::metadata(self.path(digest)).ok().map(|meta| meta.len())
    }

    /// Puts an upload whose digest was found right into its place, where it stays through a crash of the machine.
    pub async fn place(&self, whole: Whole) -> Result<()> {
        let path = self.path(whole.digest);
        let placed = blocking(move || {
            let (folder, upload) = (path.parent().expect("it is in a folder"), &whole.turn.path);
            File::open(upload)?.sync_all()?;
            fs::create_dir_all(folder)?;
            fs::rename(upload, &path)?;
            File::open(folder)?.sync_all()
        });
        placed.await.map_err(|error| Error::failed("place a blob", error))
    }

    pub async fn read(&self, digest: Digest, part: Range<u64>) -> Result<Reading> {
        let failed = |error| Error::failed(format!("read blob {digest}"), error);
        let mut file = tokio::fs::File::open(self.path(digest)).await.map_err(failed)?;
        file.seek(SeekFrom::Start(part.start)).await.map_err(failed)?;
        Ok(ReaderStream::with_capacity(file.take(part.end - part.start), PIECE).boxed())
    }

    pub async fn remove(&self, digest: Digest) -> Result<()> {
        match tokio::fs::remove_file(self.path(digest)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::failed(format!("remove blob {digest}"), error))
            }
            _ => Ok(()),
        }
    }

    /// Holds the store as a whole for somebody who removes blobs, unless somebody needs all of it to stay.
    pub async fn hold_all(&self) -> Result<File> {
        let data = self.data.clone();
        let held = blocking(move || hold(&data, FlockOperation::NonBlockingLockExclusive)).await;
        held.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => {
                Error::conflict("a backup or another gc is under way").hint("try again when it has ended")
            }
            _ => Error::failed("hold the blobs", error),
        })
    }

    /// Holds a part of the store until the answer is dropped; none: others hold it all the time. Nobody waits for it in a thread: there
    /// are only so many, and who holds it needs one.
    pub async fn hold(&self, shard: &str, how: Hold) -> Result<Option<File>> {
        let folder = self.data.join("blobs").join(shard);
        let (wanted, patient) = match how {
            Hold::Shared => (FlockOperation::NonBlockingLockShared, true),
            Hold::Alone => (FlockOperation::NonBlockingLockExclusive, false),
        };
        let until = Instant::now() + PATIENCE;
        loop {
            let folder = folder.clone();
            let held = blocking(move || {
                fs::create_dir_all(&folder)?;
                let folder = File::open(folder)?;
                rustix::fs::flock(&folder, wanted)?;
                Ok(folder)
            });
            match held.await {
                Ok(held) => return Ok(Some(held)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && (patient || Instant::now() < until) => {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(Error::failed("hold a folder of blobs", error)),
            }
        }
    }

    /// Returns what is in a part of the store that nobody wrote to for a day.
    pub async fn old(&self, shard: &str) -> Result<Vec<Stray>> {
        let folder = self.data.join("blobs").join(shard);
        let found = blocking(move || old(&folder)).await;
        let found = found.map_err(|error| Error::failed("look through the blobs", error))?;
        Ok(found.into_iter().map(|(digest, size)| Stray { digest, place: Place::Folder, size }).collect())
    }
}

/// How a part of the store is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Nobody is to remove anything.
    Shared,
    /// Nobody is to say that something is here.
    Alone,
}

/// Returns the part of the store that a blob is in.
pub fn shard(digest: Digest) -> String {
    digest.to_string()[..2].to_owned()
}

/// How long somebody who removes blobs waits for a folder; there is another day.
const PATIENCE: Duration = Duration::from_secs(30);

/// How old, by its file's own clock, what no row speaks of must be before it goes.
pub(super) const OLD: Duration = Duration::from_secs(24 * 3600);

/// Whether nobody wrote to a file for a day.
pub(super) fn is_old(meta: &fs::Metadata) -> io::Result<bool> {
    Ok(meta.modified()?.elapsed().is_ok_and(|age| age > OLD))
}

/// Returns the digests that files of a folder are named after, of those that nobody wrote to for a day.
pub(super) fn old(folder: &Path) -> io::Result<Vec<(Digest, u64)>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        other => other?,
    };
    let mut found = vec![];
    for entry in entries {
        let entry = entry?;
        let Some(digest) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(meta) = entry.metadata() else { continue };
        if is_old(&meta)? {
            found.push((digest, meta.len()));
        }
    }
    Ok(found)
}

pub(super) async fn blocking<T: Send + 'static>(job: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(job).await.map_err(io::Error::other)?
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
