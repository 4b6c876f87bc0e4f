//! How blobs come into the farm, and what is promised of them.

use std::future::ready;
use std::ops::Range;
use std::time::Duration;

use axum::http::StatusCode;
use bytes::Bytes;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use kiln_farm_api::points::{self, Point};
use kiln_farm_api::{Kept, Name, StageFound, Upload};
use kiln_model::Digest;
use tokio::time::timeout;

use crate::blobs::{Hold, Place, Whole, shard};
use crate::db::blobs::Known;
use crate::error::{Error, Result};
use crate::farm::Farm;
use crate::parking::Piece;

/// A promise that is younger than this, milliseconds, need not be renewed: what is left of the day is long enough.
const PROMISED: i64 = 3600 * 1000;

/// How long what is not wanted of an upload is read: who still sends when the line is closed gets no answer to read.
const LINGER: Duration = Duration::from_secs(5);

impl Farm {
    /// Says how far an upload has come. The answer that a blob is here is a promise that it stays for a day: see [`crate::gc`].
    pub async fn upload(&self, digest: Digest) -> Result<Upload> {
        Ok(match self.promise(digest).await? {
            Some(size) => Upload { offset: size, complete: true },
            None => Upload { offset: self.reached(digest).await?, complete: false },
        })
    }

    /// Appends a piece of a blob of `length` bytes; when it is whole its digest is checked and it goes into the store. All this goes on to
    /// its end also when nobody waits for it any more: what came is not to be lost with the line. What is not
    /// wanted of it is read all the same, for [`LINGER`].
    pub async fn append<E: Send + 'static>(
        &self,
        digest: Digest,
        offset: u64,
        length: u64,
        bytes: impl Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static,
    ) -> Result<Upload> {
        let (farm, mut piece) = (self.clone(), Piece { offset, length, bytes });
        let taking = tokio::spawn(async move { (farm.take(digest, &mut piece).await, piece.bytes) });
        let (taken, rest) = taking.await.map_err(|error| Error::failed("take an upload", error))?;
        let rest = rest.take_while(|bytes| ready(bytes.is_ok())).for_each(|_| ready(()));
        tokio::spawn(timeout(LINGER, rest));
        taken
    }

    async fn take<E>(
        &self,
        digest: Digest,
        piece: &mut Piece<impl Stream<Item = Result<Bytes, E>> + Send + Unpin>,
    ) -> Result<Upload> {
        if let Some(size) = self.promise(digest).await? {
            return Ok(Upload { offset: size, complete: true });
        }
        let turn = self.blobs.uploads.turn(digest).await?;
        let (length, under_way) = (piece.length, self.lot().map(|_| self.blobs.uploads.under_way()));
        self.bring(&turn, piece.offset, length).await?;
        let mut taken = Ok(());
        if turn.end()? < length {
            taken = self.receive(&turn, piece, under_way.as_ref()).await;
        }
        let here = turn.end()?;
        if here >= length && taken.is_ok() {
            self.place(Whole { turn, length: here }).await?;
            return self.upload(digest).await;
        }
        self.park(digest, turn.path.clone(), here).await;
        taken?;
        let have = self.upload(digest).await?;
        if have.complete {
            // Somebody finished it at another server.
            turn.forget().await?;
        }
        Ok(Upload { offset: have.offset.max(here), ..have })
    }

    /// Puts an upload that is whole into the store, and notes that it is there. Blobs first, rows last: after a crash in between the
    /// folder's blob is noted when somebody asks for it, and what was to go into the bucket is still an upload.
    async fn place(&self, whole: Whole) -> Result<()> {
        let (digest, size, now) = (whole.turn.digest, whole.length, self.now());
        let found = whole.digest().await?;
        if found != digest {
            let parked = self.db.write(move |tx| async move { tx.unpark(digest).await }.boxed()).await?;
            self.unparked(parked).await;
            whole.turn.forget().await?;
            let why = format!("the bytes that came have the SHA-256 {found}, not {digest}");
            let refused = Error::refused(StatusCode::UNPROCESSABLE_ENTITY, why);
            return Err(refused.hint("upload it again from the beginning"));
        }
        let Some(bucket) = self.blobs.bucket() else {
            self.blobs.folder.place(whole).await?;
            points::pass(Point::BlobPlaced);
            return Ok(());
        };
        let own = Place::Bucket(bucket.put(&whole).await?);
        points::pass(Point::BlobPlaced);
        let place = own.clone();
        let noting = self.db.write(move |tx| {
            async move { Ok((tx.blob(digest, size, place, now).await?, tx.unpark(digest).await?)) }.boxed()
        });
        let (noted, parked) = noting.await?;
        self.unparked(parked).await;
        if noted != own {
            self.blobs.remove(digest, &own).await?;
        }
        whole.turn.forget().await
    }

    /// Promises that a blob stays for a day, if it is here; returns its size.
    async fn promise(&self, digest: Digest) -> Result<Option<u64>> {
        let now = self.now();
        let fresh = |known: &Known| known.used > now - PROMISED;
        if self.blobs.bucket().is_some() {
            return match self.db.blob(digest).await? {
                Some(known) if fresh(&known) => Ok(Some(known.size)),
                Some(_) => self.db.write(move |tx| async move { tx.want(digest, now).await }.boxed()).await,
                None => Ok(None),
            };
        }
        let folder = &self.blobs.folder;
        if folder.size(digest).is_none() {
            return Ok(None);
        }
        let _held = folder.hold(&shard(digest), Hold::Shared).await?;
        let Some(size) = folder.size(digest) else { return Ok(None) };
        if !self.db.blob(digest).await?.is_some_and(|known| fresh(&known)) {
            self.db.write(move |tx| async move { tx.blob(digest, size, Place::Folder, now).await }.boxed()).await?;
        }
        Ok(Some(size))
    }

    /// Returns all bytes of a blob that is not longer than `most`.
    pub async fn whole(&self, digest: Digest, most: u64) -> Result<Vec<u8>> {
        let known = self.db.blob(digest).await?.ok_or_else(|| Error::missing("blob", digest))?;
        if known.size > most {
            return Err(Error::bad(format!("blob {digest} is longer than the {most} bytes that are shown")));
        }
        self.bytes(digest, &known.place, 0..known.size).await
    }

    /// Returns the end of a blob: all of one that is not longer than `most`.
    pub async fn end(&self, digest: Digest, most: u64) -> Result<Vec<u8>> {
        let known = self.db.blob(digest).await?.ok_or_else(|| Error::missing("blob", digest))?;
        self.bytes(digest, &known.place, known.size.saturating_sub(most)..known.size).await
    }

    async fn bytes(&self, digest: Digest, place: &Place, part: Range<u64>) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity((part.end - part.start) as usize);
        let mut pieces = self.blobs.read(digest, place, part).await?;
        while let Some(piece) = pieces.next().await {
            bytes.extend_from_slice(&piece.map_err(|error| Error::failed(format!("read blob {digest}"), error))?);
        }
        Ok(bytes)
    }

    /// Says what there is of a stage that nodes share.
    pub async fn stage(&self, id: Digest) -> Result<StageFound> {
        let (now, any) = (self.now(), self.stages_limit > 0);
        let wanted = any && self.stages_fit(0).await?;
        let Some((kept, renew)) = self.db.stage(id, now).await?.filter(|_| any) else {
            return Ok(StageFound { stage: None, wanted });
        };
        if renew {
            self.db.write(move |tx| async move { tx.use_stage(id, now).await }.boxed()).await?;
        }
        Ok(StageFound { stage: Some(kept), wanted })
    }

    /// Whether so many more bytes of stages are taken: a quarter more than stay when the gc has been.
    async fn stages_fit(&self, more: u64) -> Result<bool> {
        let limit = self.stages_limit;
        Ok(self.db.stages_size().await?.saturating_add(more) < limit.saturating_add(limit / 4))
    }

    /// Takes a stage that a node has made and uploaded.
    pub async fn keep_stage(&self, id: Digest, kept: Kept) -> Result<()> {
        if self.stages_limit == 0 {
            return Err(Error::forbidden("this server keeps no stages"));
        }
        let there = self.db.stage(id, self.now()).await?.is_some();
        if !there && !self.stages_fit(kept.size).await? {
            let why = "the server has as many stages as it keeps until its next gc";
            return Err(Error::refused(StatusCode::INSUFFICIENT_STORAGE, why.to_owned()));
        }
        let now = self.now();
        self.db.write(move |tx| async move { tx.keep_stage(id, kept, now).await }.boxed()).await
    }

    /// Forgets the bytes of a stage that a node could not unpack.
    pub async fn drop_stage(&self, id: Digest, kept: Kept, node: &Name) -> Result<()> {
        let (now, who) = (self.now(), format!("node {node}"));
        let job = self.db.write(move |tx| {
            async move {
                let dropped = tx.drop_stage(id, kept).await?;
                if dropped {
                    tx.note(now, &who, "refuse stage", &format!("{id} of blob {}", kept.sha256)).await?;
                }
                Ok(dropped)
            }
            .boxed()
        });
        if job.await? {
            tracing::warn!("node `{node}` could not unpack blob {} of stage {id}: it is forgotten", kept.sha256);
        }
        Ok(())
    }

    /// Puts bytes that are here already into the store.
    pub async fn keep(&self, bytes: Bytes) -> Result<Digest> {
        let (digest, length) = (Digest::of(&bytes), bytes.len() as u64);
        loop {
            // A gc may have come in between.
            let have = self.upload(digest).await?;
            if have.complete {
                return Ok(digest);
            }
            let piece = bytes.slice(bytes.len().min(have.offset as usize)..);
            let piece = futures_util::stream::iter([Ok::<_, std::io::Error>(piece)]);
            self.append(digest, have.offset, length, piece).await?;
        }
    }
}
