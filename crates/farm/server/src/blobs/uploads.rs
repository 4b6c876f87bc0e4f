//! Uploads on their way: the folder `uploads`, a file for each, which grows with every piece and stays through a restart.
//!
//! Two who send the same bytes have an upload each: neither is to learn that the other has them, nor to finish or spoil what is
//! his without having them himself.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::http::StatusCode;
use kiln_model::Digest;
use tokio::sync::watch;

use super::folder::{blocking, digest_of, old};
pub use super::turn::Turn;
use crate::db::holders::Holder;
use crate::error::{Error, Result};

/// The folder of uploads.
#[derive(Clone, Debug)]
pub struct Uploads {
    folder: PathBuf,
    /// Bytes that must stay free on its disk.
    pub(super) reserve: u64,
    ending: Arc<watch::Sender<bool>>,
}

/// Bytes of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Those that may still be written.
    pub free: u64,
    pub size: u64,
}

/// An upload that the end of the server waits for, until dropped.
#[derive(Clone, Debug)]
pub struct UnderWay(watch::Receiver<bool>);

impl UnderWay {
    /// Returns when the server is told to end.
    pub async fn ending(&mut self) {
        drop(self.0.wait_for(|ends| *ends).await);
    }
}

/// A blob that is on its way from somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    pub by: Holder,
    pub digest: Digest,
}

impl Sent {
    /// Returns what the upload is called in folders, rows and buckets.
    pub fn name(&self) -> Digest {
        Digest::of(format!("{} {}", self.by, self.digest))
    }
}

/// An upload all of whose bytes are here, by the length that was said.
#[derive(Debug)]
pub struct Whole {
    pub turn: Turn,
    /// What its bytes are said to be.
    pub digest: Digest,
    pub length: u64,
}

impl Whole {
    /// Returns the digest of what came.
    pub async fn found(&self) -> Result<Digest> {
        let path = self.turn.path.clone();
        let found = blocking(move || digest_of(&File::open(path)?)).await;
        found.map_err(|error| Error::failed("check an upload", error))
    }
}

impl Uploads {
    pub fn open(data: &Path, reserve: u64) -> Result<Self> {
        let folder = data.join("uploads");
        fs::create_dir_all(&folder).map_err(|error| Error::failed("make `uploads`", error))?;
        Ok(Self { folder, reserve, ending: Arc::new(watch::Sender::new(false)) })
    }

    fn path(&self, name: Digest) -> PathBuf {
        self.folder.join(name.to_string())
    }

    /// Returns how far an upload has come here.
    pub fn offset(&self, name: Digest) -> u64 {
        fs::metadata(self.path(name)).map_or(0, |meta| meta.len())
    }

    /// Takes the turn at an upload, at this server and at all that share its folder.
    pub async fn turn(&self, name: Digest) -> Result<Turn> {
        let path = self.path(name);
        blocking(move || Turn::take(name, &path)).await.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => {
                Error::conflict("somebody uploads the same bytes now").hint("ask how far it has come a little later")
            }
            _ => Error::failed("open an upload", error),
        })
    }

    /// Lets the end of the server wait for an upload.
    pub fn under_way(&self) -> UnderWay {
        UnderWay(self.ending.subscribe())
    }

    /// Ends the uploads that the end of the server waits for.
    pub fn end(&self) {
        self.ending.send_replace(true);
    }

    /// Returns when they have ended.
    pub async fn ended(&self) {
        self.end();
        self.ending.closed().await;
    }

    /// Returns how the disk stands.
    pub fn disk(&self) -> Result<Disk> {
        let stat = rustix::fs::statvfs(&self.folder);
        let stat = stat.map_err(|error| Error::failed("ask how full the disk is", error))?;
        Ok(Disk { free: stat.f_bavail * stat.f_frsize, size: stat.f_blocks * stat.f_frsize })
    }

    /// Refuses bytes that the disk has no room for.
    pub fn room(&self, bytes: u64) -> Result<()> {
        let free = self.disk()?.free;
        if free < bytes.saturating_add(self.reserve) {
            let why = format!("the server's disk is nearly full: {free} bytes are free, {bytes} are to come");
            return Err(
                Error::refused(StatusCode::INSUFFICIENT_STORAGE, why).hint("its operator frees some: `kiln gc`")
            );
        }
        Ok(())
    }

    /// Returns the names of the uploads that nobody went on with for a day, and how many bytes are here.
    pub async fn abandoned(&self) -> Result<Vec<(Digest, u64)>> {
        let folder = self.folder.clone();
        blocking(move || old(&folder)).await.map_err(|error| Error::failed("look through the uploads", error))
    }

    /// Removes an upload that nobody went on with; false: somebody does.
    pub async fn give_up(&self, name: Digest) -> Result<bool> {
        let turn = match self.turn(name).await {
            Err(Error::Refused(_)) => return Ok(false),
            other => other?,
        };
        if !turn.is_abandoned().map_err(|error| Error::failed("look at an upload", error))? {
            return Ok(false);
        }
        turn.forget().await.map(|()| true)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::{Duration, SystemTime};

    use bytes::Bytes;

    use super::super::Receiving;
    use super::*;

    #[tokio::test]
    async fn whole_when_its_digest_is_right() {
        let folder = tempfile::tempdir().unwrap();
        let uploads = Uploads::open(folder.path(), 0).unwrap();
        for bytes in ["hello", ""] {
            let turn = uploads.turn(Digest::of(bytes)).await.unwrap();
            fs::write(&turn.path, bytes).unwrap();
            assert_eq!((uploads.offset(turn.name), turn.end().unwrap()), (bytes.len() as u64, bytes.len() as u64));
            let refused = uploads.turn(turn.name).await.unwrap_err().problem();
            assert_eq!((refused.status, refused.title.as_str()), (409, "somebody uploads the same bytes now"));
            let whole = Whole { length: bytes.len() as u64, digest: turn.name, turn };
            assert_eq!(whole.found().await.unwrap(), whole.digest);
            whole.turn.forget().await.unwrap();
        }
        assert_eq!(fs::read_dir(folder.path().join("uploads")).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn given_up_when_nobody_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let uploads = Uploads::open(folder.path(), 0).unwrap();
        let digest = Digest::of("hello");
        let path = uploads.path(digest);
        fs::write(&path, "he").unwrap();
        assert!(!uploads.give_up(digest).await.unwrap(), "it is young");
        let then = SystemTime::now() - Duration::from_secs(25 * 3600);
        File::options().append(true).open(&path).unwrap().set_modified(then).unwrap();
        assert_eq!(uploads.abandoned().await.unwrap(), [(digest, 2)]);
        let turn = uploads.turn(digest).await.unwrap();
        assert!(!uploads.give_up(digest).await.unwrap(), "somebody has the turn");
        File::options().append(true).open(&turn.path).unwrap().write_all(b"l").unwrap();
        drop(turn);
        assert!(!uploads.give_up(digest).await.unwrap(), "and went on");
        File::options().append(true).open(&path).unwrap().set_modified(then).unwrap();
        assert!(uploads.give_up(digest).await.unwrap());
        assert!(!path.exists() && !uploads.give_up(digest).await.unwrap() && !path.exists());
    }

    #[tokio::test]
    async fn the_end_of_the_server_waits_for_them() {
        let folder = tempfile::tempdir().unwrap();
        let uploads = Uploads::open(folder.path(), 0).unwrap();
        uploads.ended().await;
        let mut under_way = Uploads::open(folder.path(), 0).map(|uploads| (uploads.under_way(), uploads)).unwrap();
        let mut never = Box::pin(under_way.0.ending());
        assert!(futures_util::poll!(&mut never).is_pending());
        drop(never);
        let (mut one, uploads) = under_way;
        let mut ended = Box::pin(uploads.ended());
        assert!(futures_util::poll!(&mut ended).is_pending());
        one.ending().await;
        drop(one);
        ended.await;
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
        let turn = uploads.turn(digest).await.unwrap();
        let refused = Receiving::begin(&uploads, &turn, 0, u64::MAX).await.unwrap_err().problem();
        assert_eq!((refused.status, uploads.offset(digest)), (507, 0));
        let mut piece = futures_util::stream::iter([Ok::<_, io::Error>(Bytes::from_static(b"x"))]);
        let mut receiving = Receiving::begin(&uploads, &turn, 0, 9).await.unwrap();
        assert!(!receiving.take(&mut piece, u64::MAX).await.unwrap());
        uploads.reserve = u64::MAX / 2;
        let refused = Receiving::begin(&uploads, &turn, 1, 9).await.unwrap_err().problem();
        assert_eq!((refused.status, uploads.offset(digest)), (507, 1), "what came before stays");
    }
}
