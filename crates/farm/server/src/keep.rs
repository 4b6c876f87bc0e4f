//! How blobs come into the farm, and what is promised of them.

use std::future::ready;
use std::ops::Range;
use std::time::Duration;

use axum::http::StatusCode;
use bytes::Bytes;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use kiln_farm_api::points::{self, Point};
use kiln_farm_api::{Kept, Name, NodeId, StageFound, Upload};
use kiln_model::Digest;
use tokio::time::timeout;

use crate::blobs::{Hold, Place, Sent, Whole, shard};
use crate::db::blobs::Known;
use crate::db::holders::Holder;
use crate::error::{Error, Result};
use crate::farm::Farm;
use crate::parking::Piece;

/// A promise that is younger than this, milliseconds, need not be renewed: what is left of the day is long enough.
const PROMISED: i64 = 3600 * 1000;

/// How long what is not wanted of an upload is read: who still sends when the line is closed gets no answer to read.
const LINGER: Duration = Duration::from_secs(5);

/// Whether a blob stays for long enough that the promise need not be renewed.
fn is_promised(known: &Known, now: i64) -> bool {
    known.used > now - PROMISED
}

impl Farm {
    /// Says how far an upload has come. The answer that a blob is here is a promise that it stays for a day, see [`crate::gc`], and that
    /// who got it may name the blob. Who may not is told nothing of it, and sends it like one that is not here.
    pub async fn upload(&self, sent: Sent) -> Result<Upload> {
        Ok(match self.promise(sent).await? {
            Some(size) => Upload { offset: size, complete: true },
            None => Upload { offset: self.reached(sent).await?, complete: false },
        })
    }

    /// Appends a piece of a blob of `length` bytes; when it is whole its digest is checked and it goes into the store. All this goes on to
    /// its end also when nobody waits for it any more: what came is not to be lost with the line. What is not
    /// wanted of it is read all the same, for [`LINGER`].
    pub async fn append<E: Send + 'static>(
        &self,
        sent: Sent,
        offset: u64,
        length: u64,
        bytes: impl Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static,
    ) -> Result<Upload> {
        let (farm, mut piece) = (self.clone(), Piece { offset, length, bytes });
        let taking = tokio::spawn(async move { (farm.take(sent, &mut piece).await, piece.bytes) });
        let (taken, rest) = taking.await.map_err(|error| Error::failed("take an upload", error))?;
        let rest = rest.take_while(|bytes| ready(bytes.is_ok())).for_each(|_| ready(()));
        tokio::spawn(timeout(LINGER, rest));
        taken
    }

    async fn take<E>(
        &self,
        sent: Sent,
        piece: &mut Piece<impl Stream<Item = Result<Bytes, E>> + Send + Unpin>,
    ) -> Result<Upload> {
        if let Some(size) = self.promise(sent).await? {
            return Ok(Upload { offset: size, complete: true });
        }
        let turn = self.blobs.uploads.turn(sent.name()).await?;
        let (length, under_way) = (piece.length, self.lot().map(|_| self.blobs.uploads.under_way()));
        self.bring(&turn, piece.offset, length).await?;
        let mut taken = Ok(());
        if turn.end()? < length {
            taken = self.receive(&turn, sent, piece, under_way.as_ref()).await;
        }
        let here = turn.end()?;
        if here >= length && taken.is_ok() {
            self.place(Whole { turn, digest: sent.digest, length: here }, sent).await?;
            return self.upload(sent).await;
        }
        self.park(sent, turn.path.clone(), here).await;
        taken?;
        let have = self.upload(sent).await?;
        if have.complete {
            // Somebody finished it at another server.
            turn.forget().await?;
        }
        Ok(Upload { offset: have.offset.max(here), ..have })
    }

    /// Puts an upload that is whole into the store, and notes that it is there. Blobs first, rows last: after a crash in between
    /// what was to go into the bucket is still an upload, and what is in the folder is sent again.
    async fn place(&self, whole: Whole, sent: Sent) -> Result<()> {
        let (digest, size, now) = (sent.digest, whole.length, self.now());
        let found = whole.found().await?;
        if found != digest {
            let parked = self.db.write(move |tx| async move { tx.unpark(sent).await }.boxed()).await?;
            self.unparked(parked).await;
            whole.turn.forget().await?;
            let why = format!("the bytes that came have the SHA-256 {found}, not {digest}");
            let refused = Error::refused(StatusCode::UNPROCESSABLE_ENTITY, why);
            return Err(refused.hint("upload it again from the beginning"));
        }
        let Some(bucket) = self.blobs.bucket() else {
            self.blobs.folder.place(whole).await?;
            points::pass(Point::BlobPlaced);
            return self.note(sent).await.map(drop);
        };
        let own = Place::Bucket(bucket.put(&whole).await?);
        points::pass(Point::BlobPlaced);
        let place = own.clone();
        let noting = self.db.write(move |tx| {
            async move {
                let noted = tx.blob(digest, size, place, now).await?;
                tx.hold(sent.by, digest).await?;
                Ok((noted, tx.unpark(sent).await?))
            }
            .boxed()
        });
        let (noted, parked) = noting.await?;
        self.unparked(parked).await;
        if noted != own {
            self.blobs.remove(digest, &own).await?;
        }
        whole.turn.forget().await
    }

    /// Promises that a blob stays for a day, if it is here and who asks may name it; returns its size.
    async fn promise(&self, sent: Sent) -> Result<Option<u64>> {
        let Sent { by, digest } = sent;
        let now = self.now();
        let known = self.db.blob(digest).await?;
        if known.is_none() && by != Holder::Server || !self.db.may_name(by, digest).await? {
            return Ok(None);
        }
        if self.blobs.bucket().is_none() {
            return self.note(sent).await;
        }
        match known {
            Some(known) if is_promised(&known, now) && self.db.holds(by, digest).await? => Ok(Some(known.size)),
            Some(_) => {
                let wanted = self.db.write(move |tx| {
                    async move {
                        let size = tx.want(digest, now).await?;
                        if size.is_some() {
                            tx.hold(by, digest).await?;
                        }
                        Ok(size)
                    }
                    .boxed()
                });
                wanted.await
            }
            None => Ok(None),
        }
    }

    /// Notes that a blob is in the folder, if it is, and who has it; returns its size.
    async fn note(&self, Sent { by, digest }: Sent) -> Result<Option<u64>> {
        let folder = &self.blobs.folder;
        if folder.size(digest).is_none() {
            return Ok(None);
        }
        let now = self.now();
        let _held = folder.hold(&shard(digest), Hold::Shared).await?;
        let Some(size) = folder.size(digest) else { return Ok(None) };
        let known = self.db.blob(digest).await?.is_some_and(|known| is_promised(&known, now));
        if !known || !self.db.holds(by, digest).await? {
            let noting = self.db.write(move |tx| {
                async move {
                    tx.blob(digest, size, Place::Folder, now).await?;
                    tx.hold(by, digest).await
                }
                .boxed()
            });
            noting.await?;
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
    pub async fn keep_stage(&self, id: Digest, kept: Kept, node: NodeId) -> Result<()> {
        if self.stages_limit == 0 {
            return Err(Error::forbidden("this server keeps no stages"));
        }
        let there = self.db.stage(id, self.now()).await?.is_some();
        if !there && !self.stages_fit(kept.size).await? {
            let why = "the server has as many stages as it keeps until its next gc";
            return Err(Error::refused(StatusCode::INSUFFICIENT_STORAGE, why.to_owned()));
        }
        let now = self.now();
        self.db.write(move |tx| async move { tx.keep_stage(id, kept, node, now).await }.boxed()).await
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
        let sent = Sent { by: Holder::Server, digest };
        loop {
            // A gc may have come in between.
            let have = self.upload(sent).await?;
            if have.complete {
                return Ok(digest);
            }
            let piece = bytes.slice(bytes.len().min(have.offset as usize)..);
            let piece = futures_util::stream::iter([Ok::<_, std::io::Error>(piece)]);
            self.append(sent, have.offset, length, piece).await?;
        }
    }
}
