//! How an upload goes on at another server.
//!
//! Servers that share a PostgreSQL and a bucket have folders of their own, and whoever uploads may be led to another one with each
//! request, or because the one before is gone. So what came of an upload that is not whole is parked: put into the bucket, under a row
//! that says which bytes it has. That is done when a piece ends, whether in good order, by a broken line, or because the server is told
//! to end; and while a long piece comes, each time so many bytes more are here ([`crate::decide::park::OFTEN`]), which is what a server
//! that is killed loses to the others. An upload that comes in one piece shorter than that is never parked, and with SQLite, which has no
//! other server, none is.
//!
//! How far an upload has come is what the rows say, and every server says the same. A piece begins there. A server that has less fetches
//! what it lacks; one that has more, because the store was away when it was to be parked, compares: where what is here differs from what
//! comes now, that counts. So each piece that is taken brings the upload further for all servers, whichever gets the next one; with the
//! store away it brings it further at the server that took it, and whatever that server has is parked with the next piece.
//!
//! Which bytes those are is nobody's to trust before all are there. If their digest is wrong, rows, objects and the server's own file are
//! forgotten, and the upload begins anew.
//!
//! Why nothing is lost or mixed up in the bucket tells [`crate::blobs::Bucket`]; which bytes are parked and fetched decides
//! [`crate::decide::park`].

use std::path::PathBuf;

use bytes::Bytes;
use futures_util::{FutureExt as _, Stream};
use kiln_farm_api::points::{self, Point};
use tokio::task::JoinHandle;

use crate::blobs::{Bucket, Receiving, Sent, Turn, UnderWay, away};
use crate::db::Kind;
use crate::decide::park::{Parked, fits, lacking, loose, reach};
use crate::error::{Error, Result, chain};
use crate::farm::Farm;

/// A piece of an upload, as somebody says that it is.
#[derive(Debug)]
pub struct Piece<S> {
    pub offset: u64,
    /// How long the whole is.
    pub length: u64,
    pub bytes: S,
}

impl Farm {
    /// Returns where uploads are parked, if other servers may go on with them.
    pub(crate) fn lot(&self) -> Option<&Bucket> {
        self.blobs.bucket().filter(|_| self.db.kind == Kind::Postgres)
    }

    /// Returns how far an upload has come that is not whole.
    pub(crate) async fn reached(&self, sent: Sent) -> Result<u64> {
        match self.lot() {
            Some(_) => Ok(reach(&self.db.parked(sent.name()).await?)),
            None => Ok(self.blobs.uploads.offset(sent.name())),
        }
    }

    /// Refuses a piece that does not begin where the upload has come to; else sees that all before it is here.
    pub(crate) async fn bring(&self, turn: &Turn, offset: u64, length: u64) -> Result<()> {
        let here = turn.end()?;
        let (reach, parked) = match self.lot() {
            None => (here, vec![]),
            Some(_) => {
                let parked = self.db.parked(turn.name).await?;
                (reach(&parked), parked)
            }
        };
        if !fits(offset, reach, here) {
            return Err(Error::conflict(format!("this upload has come to byte {reach}, not {offset}")));
        }
        for part in lacking(&parked, here) {
            self.fetch(turn, part, length.max(reach)).await?;
        }
        Ok(())
    }

    /// Appends a part that lies in the bucket.
    async fn fetch(&self, turn: &Turn, part: Parked, length: u64) -> Result<()> {
        let Some(bucket) = self.lot() else { return Ok(()) };
        let here = turn.end()?;
        let wanted = here + (part.bytes.end - part.bytes.start);
        let mut receiving = Receiving::begin(&self.blobs.uploads, turn, here, length).await?;
        let Some(mut bytes) = bucket.find(&part.name, part.bytes).await? else {
            let name = part.name.clone();
            self.db.write(move |tx| async move { tx.lose_parked(&name).await }.boxed()).await?;
            let why = format!("`{}` of this upload is not in the store any more", part.name);
            return Err(Error::conflict(why).hint("ask again how far it has come"));
        };
        receiving.take(&mut bytes, u64::MAX).await?;
        if receiving.end() == wanted { Ok(()) } else { Err(away()) }
    }

    /// Takes the bytes of a piece, and parks a long one while it comes.
    pub(crate) async fn receive<E>(
        &self,
        turn: &Turn,
        sent: Sent,
        piece: &mut Piece<impl Stream<Item = Result<Bytes, E>> + Send + Unpin>,
        under_way: Option<&UnderWay>,
    ) -> Result<()> {
        let receiving = Receiving::begin(&self.blobs.uploads, turn, piece.offset, piece.length).await?;
        let mut receiving = receiving.ended_by(under_way);
        let often = self.lot().map_or(u64::MAX, |_| self.park);
        let (mut parking, mut most): (Option<JoinHandle<()>>, u64) = (None, often);
        let taken = loop {
            match receiving.take(&mut piece.bytes, most).await {
                Ok(true) => {}
                other => break other.map(drop),
            }
            // Where the store is slower than who uploads, it is looked again a little later.
            let free = parking.as_ref().is_none_or(JoinHandle::is_finished);
            most = if free { often } else { often / 16 };
            if free && receiving.end() < piece.length {
                let (farm, path, here) = (self.clone(), turn.path.clone(), receiving.end());
                parking = Some(tokio::spawn(async move { farm.park(sent, path, here).await }));
            }
        };
        // Nobody else may write to the file while it is read.
        if let Some(parking) = parking {
            let _ = parking.await;
        }
        points::pass(Point::UploadWritten);
        taken
    }

    /// Puts what no other server could get yet into the bucket. If the store does not take it, it stays here and is parked later.
    pub(crate) async fn park(&self, sent: Sent, path: PathBuf, here: u64) {
        let Some(bucket) = self.lot() else { return };
        if let Err(error) = self.park_in(bucket, sent, path, here).await {
            tracing::warn!(
                "upload {} is not parked, other servers lack what came of it: {}",
                sent.digest,
                chain(&error)
            );
        }
    }

    async fn park_in(&self, bucket: &Bucket, sent: Sent, path: PathBuf, here: u64) -> Result<()> {
        let Some(bytes) = loose(&self.db.parked(sent.name()).await?, here) else { return Ok(()) };
        let (name, now) = (bucket.park(sent.name(), &path, bytes.clone()).await?, self.now());
        points::pass(Point::UploadParked);
        let part = Parked { name: name.clone(), bytes };
        let noted = self.db.write(move |tx| async move { tx.park(sent, part, now).await }.boxed()).await?;
        if noted { Ok(()) } else { bucket.remove(&name).await }
    }

    /// Removes what was parked of an upload, and that no row names any more; what the store does not remove now the gc finds.
    pub(crate) async fn unparked(&self, names: Vec<String>) {
        let Some(bucket) = self.lot() else { return };
        for name in names {
            let _ = bucket.remove(&name).await;
        }
    }
}
