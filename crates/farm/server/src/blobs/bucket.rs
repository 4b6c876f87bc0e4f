//! Blobs in a bucket of a store that speaks S3.
//!
//! Several servers may use one bucket, each with a folder of its own, so nothing here is held by locks. Instead no name is ever used
//! twice: each time a blob is put it gets a new one, `blobs/AB/ABCD…-NUMBER`, and the blob's row says which. From this follows all:
//!
//! - a blob is here if and only if its row is. Whether an object is there is never asked, so nothing is promised that is about to go.
//! - the gc removes a row, and with it the only word of that name, in a transaction that sees whether somebody wants the blob; then the
//!   object. Whoever uploads the same bytes meanwhile puts them under another name.
//! - of two servers that put the same blob at once one writes the row; the other sees it and removes its own object.
//! - a crash between object and row, or between row and object, leaves an object that no row names. The gc removes those that are older
//!   than a day. An upload stays in its server's folder until the row is written, so it is put again.
//!
//! What came of an upload that is not whole lies here too, parked, so that another server can go on with it ([`crate::parking`]). The same
//! holds for it: a name that is used once, `uploads/AB/ABCD…-NUMBER`, and a row that is written last and says which of the upload's bytes it
//! has. Nothing is promised of what is parked, so less has to be said:
//!
//! - the row that says that somebody brought a blob and rows of what is parked of his upload are never there at once: who writes the first
//!   removes the others in the same transaction, and parks no more. Then the objects go.
//! - where two servers parked the same bytes, or somebody finished or gave up the upload meanwhile, a part that brings it no further gets no
//!   row, and who put it removes it.
//! - whoever fetches a part that has just been removed finds nothing under its name, forgets the row if it is still there, and lets the
//!   client ask anew how far the upload has come. Bytes of another upload, or of another try, are never under that name.
//! - the gc gives up an upload of which nothing was parked for a day: rows first, in one transaction, then objects.
//!
//! The object `kiln-farm` says whose the prefix is: two farms in one place would remove each other's blobs as strays.

use std::io::{self, SeekFrom};
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use axum::http::StatusCode;
use futures_util::{StreamExt as _, TryStreamExt as _};
use kiln_model::Digest;
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore as _, ObjectStoreExt as _, WriteMultipart};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, Take};
use uuid::Uuid;

use super::folder::OLD;
use super::{Address, Credentials, Place, Reading, Stray, Whole, shard};
use crate::error::{Error, Result, chain};
use crate::metrics::Metrics;

/// A bucket, or the part of it under a prefix.
#[derive(Debug)]
pub struct Bucket {
    client: AmazonS3,
    credentials: Option<Arc<Credentials>>,
    address: Address,
    metrics: Arc<Metrics>,
}

/// Longer blobs are put in parts.
const PART: u64 = 16 << 20;
/// Parts on their way at once.
const AT_ONCE: usize = 3;
/// A store takes 10 000 parts of one object.
const PARTS: u64 = 9_000;
/// What the names of whole blobs begin with.
const BLOBS: &str = "blobs";
/// What those of uploads under way do.
const UPLOADS: &str = "uploads";
/// The object that says whose the prefix is.
const OWNER: &str = "kiln-farm";

impl Bucket {
    /// Opens a bucket; nobody was asked yet.
    pub fn open(address: &Address, metrics: Arc<Metrics>) -> Result<Self> {
        let credentials = address.credentials()?.map(Arc::new);
        Ok(Self { client: address.client(credentials.clone())?, credentials, address: address.clone(), metrics })
    }

    /// Returns the keys that may change, if they are in a file.
    pub fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_deref()
    }

    fn path(&self, name: &str) -> Path {
        self.address.prefix.parts().chain(Path::from(name).parts()).collect()
    }

    /// Sees that the bucket is there, that we may read and write in it, and that it is this farm's; with `placed`, that it was already.
    pub async fn claim(&self, farm: &str, placed: bool) -> Result<()> {
        let failed = |error| self.cannot_begin(&error);
        self.client.list(Some(&self.path("blobs/00"))).try_next().await.map_err(failed)?;
        let place = self.path(OWNER);
        let owner = match self.client.get(&place).await {
            Err(object_store::Error::NotFound { .. }) => None,
            Err(error) => return Err(failed(error)),
            Ok(found) => Some(found.bytes().await.map_err(failed)?),
        };
        match owner {
            Some(owner) if owner != farm => {
                let why = format!("`{}` is another farm's: its object `{place}` says so", self.address);
                return Err(Error::bad(why).hint("each farm needs a prefix of its own: `--store s3://BUCKET/PREFIX`"));
            }
            None if placed => {
                let why = format!("`{}` is not where this farm's blobs are: it has no object `{place}`", self.address);
                return Err(Error::bad(why).hint("name the bucket and the prefix that were named before: `--store`"));
            }
            _ => {}
        }
        // Also to see that we may write.
        self.client.put(&place, farm.to_owned().into()).await.map(drop).map_err(failed)
    }

    /// Puts an upload whose digest was found right into the bucket, whole or not at all; returns its name.
    pub async fn put(&self, whole: &Whole) -> Result<String> {
        self.put_bytes(BLOBS, whole.digest, &whole.turn.path, 0..whole.length).await
    }

    /// Puts bytes of an upload that is under way into the bucket, all or none; returns their name.
    pub async fn park(&self, name: Digest, upload: &std::path::Path, bytes: Range<u64>) -> Result<String> {
        self.put_bytes(UPLOADS, name, upload, bytes).await
    }

    async fn put_bytes(&self, kind: &str, digest: Digest, from: &std::path::Path, bytes: Range<u64>) -> Result<String> {
        let reading = |error| Error::failed("read an upload", error);
        let name = format!("{kind}/{}/{digest}-{}", shard(digest), Uuid::now_v7().simple());
        let (mut file, length) = (File::open(from).await.map_err(reading)?, bytes.end - bytes.start);
        file.seek(SeekFrom::Start(bytes.start)).await.map_err(reading)?;
        let mut file = file.take(length);
        if length > PART {
            self.put_parts(&name, file, length).await?;
            return Ok(name);
        }
        let mut bytes = Vec::with_capacity(length as usize);
        file.read_to_end(&mut bytes).await.map_err(reading)?;
        if file.limit() > 0 {
            return Err(shorter());
        }
        let put = self.client.put(&self.path(&name), bytes.into()).await;
        put.map(|_| name).map_err(|error| self.failed("put bytes into", &error))
    }

    async fn put_parts(&self, name: &str, mut file: Take<File>, length: u64) -> Result<()> {
        let failed = |error| self.failed("put bytes into", &error);
        let size = PART.max(length.div_ceil(PARTS)) as usize;
        let upload = self.client.put_multipart(&self.path(name)).await.map_err(failed)?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, size);
        loop {
            let mut piece = bytes::BytesMut::with_capacity(1 << 20);
            let step = match file.read_buf(&mut piece).await {
                Ok(0) if file.limit() > 0 => Err(shorter()),
                Ok(0) => break,
                Ok(_) => upload.wait_for_capacity(AT_ONCE).await.map_err(failed),
                Err(error) => Err(Error::failed("read an upload", error)),
            };
            if let Err(error) = step {
                // Its parts are of no use any more.
                let _ = upload.abort().await;
                return Err(error);
            }
            upload.put(piece.freeze());
        }
        upload.finish().await.map(drop).map_err(failed)
    }

    pub async fn read(&self, name: &str, part: Range<u64>) -> Result<Reading> {
        let found = self.find(name, part).await?;
        found.ok_or_else(|| Error::failed(format!("find `{name}`"), "nothing lies under this name"))
    }

    /// Returns bytes of an object, as they come; none: there is no such object.
    pub async fn find(&self, name: &str, part: Range<u64>) -> Result<Option<Reading>> {
        let options = GetOptions { range: Some(GetRange::Bounded(part)), ..GetOptions::default() };
        let found = match self.client.get_opts(&self.path(name), options).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            found => found.map_err(|error| self.failed("read bytes from", &error))?,
        };
        let (metrics, name) = (self.metrics.clone(), name.to_owned());
        let broken = move |error| {
            metrics.store_failed();
            tracing::warn!("read `{name}`: {}", chain(&error));
            io::Error::other(error)
        };
        Ok(Some(found.into_stream().map_err(broken).boxed()))
    }

    pub async fn remove(&self, name: &str) -> Result<()> {
        match self.client.delete(&self.path(name)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("remove bytes from", &error)),
        }
    }

    /// Returns what is in a part of the bucket and older than a day.
    pub async fn old(&self, shard: &str) -> Result<Vec<Stray>> {
        let now = SystemTime::now();
        let is_old = |found: &ObjectMeta| now.duration_since(found.last_modified.into()).is_ok_and(|age| age > OLD);
        let mut found = self.list(&format!("{BLOBS}/{shard}")).await?;
        found.extend(self.list(&format!("{UPLOADS}/{shard}")).await?);
        Ok(found.iter().filter(|found| is_old(found)).filter_map(|found| self.stray(found)).collect())
    }

    /// Returns the name and the size of every blob in the bucket.
    pub async fn all(&self) -> Result<Vec<Stray>> {
        Ok(self.list(BLOBS).await?.iter().filter_map(|found| self.stray(found)).collect())
    }

    async fn list(&self, under: &str) -> Result<Vec<ObjectMeta>> {
        let found = self.client.list(Some(&self.path(under))).try_collect();
        found.await.map_err(|error| self.failed("look through", &error))
    }

    /// Reads the name of an object; none: it is none of ours.
    fn stray(&self, found: &ObjectMeta) -> Option<Stray> {
        let parts = found.location.prefix_match(&self.address.prefix)?;
        let name = parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/");
        let (digest, _) = name.rsplit('/').next()?.split_once('-')?;
        Some(Stray { digest: digest.parse::<Digest>().ok()?, place: Place::Bucket(name), size: found.size })
    }

    /// Counts, and tells the operator, what the store did not do.
    fn failed(&self, doing: &str, error: &object_store::Error) -> Error {
        self.metrics.store_failed();
        tracing::error!("{doing} `{}`: {}", self.address, chain(error));
        away()
    }

    /// Explains to who starts a server why its store cannot be used.
    fn cannot_begin(&self, error: &object_store::Error) -> Error {
        let (said, address, endpoint) = (chain(error), &self.address, self.address.endpoint());
        let code = said.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map(|(code, _)| code);
        let (why, way) = match code {
            Some("NoSuchBucket") => (
                format!("there is no bucket `{}` at `{endpoint}`", address.bucket),
                "make it, or name another: `--store s3://BUCKET/PREFIX`; AWS_ENDPOINT_URL and AWS_REGION say where it is",
            ),
            Some("InvalidAccessKeyId" | "NotSignedUp") => (
                format!("`{endpoint}` does not know the key in AWS_ACCESS_KEY_ID"),
                "see that it is the one that was given",
            ),
            Some("SignatureDoesNotMatch") => (
                format!("`{endpoint}` refuses what was signed with AWS_SECRET_ACCESS_KEY"),
                "see that it is the secret of the key in AWS_ACCESS_KEY_ID",
            ),
            Some("ExpiredToken" | "InvalidToken") => {
                (format!("`{endpoint}` refuses the token in AWS_SESSION_TOKEN"), "get a new one, or leave it unset")
            }
            Some("AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException") => (
                format!("the bucket `{}` is not in the region `{}`", address.bucket, address.region()),
                "name its region in AWS_REGION",
            ),
            Some("AccessDenied") => (
                format!("the key in AWS_ACCESS_KEY_ID may not do in `{address}` what is needed"),
                "let it list the bucket, and get, put and delete its objects",
            ),
            Some(code) => (format!("`{endpoint}` says {code} of `{address}`"), "the log says more"),
            None => (format!("nothing at `{endpoint}` answers as S3 does"), "AWS_ENDPOINT_URL says where the store is"),
        };
        tracing::error!("open `{address}`: {said}");
        Error::refused(StatusCode::SERVICE_UNAVAILABLE, why).hint(way)
    }
}

/// Returns what is said of a file that lacks bytes it had: no row is to name what was put of it.
fn shorter() -> Error {
    Error::failed("read an upload", "it has become shorter")
}

/// Returns what is told to whoever asked when the store did not do it; its operator reads why in the log.
pub fn away() -> Error {
    let why = "the store of the server's blobs does not answer as it should";
    Error::refused(StatusCode::SERVICE_UNAVAILABLE, why)
        .hint("try again later: what was uploaded stays; the server's log says more to its operator")
}
