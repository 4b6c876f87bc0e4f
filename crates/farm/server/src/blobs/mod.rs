//! The artifact store: bytes under their SHA-256. A blob appears whole or not at all.
//!
//! What is on its way is in the folder `uploads` of the server ([`Uploads`]), whatever comes of it; one at a time goes on with an upload
//! ([`Turn`]). What is whole goes into the bucket where the server has one, else into the folder `blobs` ([`Folder`], [`Bucket`]). The
//! blob's row says where it went, so a farm that gets a bucket later still finds what it had before. With a bucket what came of an upload
//! that is not whole goes there too, so that other servers can go on with it ([`crate::parking`]).

mod address;
mod bucket;
mod credentials;
mod folder;
mod receive;
mod turn;
mod uploads;

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use kiln_model::Digest;

use crate::error::{Error, Result};
use crate::metrics::Metrics;

pub use address::Address;
pub use bucket::{Bucket, away};
pub use credentials::Credentials;
pub use folder::{Folder, Hold, shard};
pub(crate) use folder::{digest_of, place_of};
pub use receive::Receiving;
pub use uploads::{Sent, Turn, UnderWay, Uploads, Whole};

/// Where the bytes of a blob are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// In the server's folder, where the digest says.
    Folder,
    /// In the bucket, under this name.
    Bucket(String),
}

impl Place {
    /// Reads what a row says.
    pub fn of(name: Option<String>) -> Self {
        name.map_or(Self::Folder, Self::Bucket)
    }

    /// Returns what a row says.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Folder => None,
            Self::Bucket(name) => Some(name),
        }
    }
}

/// Bytes on their way to whoever asked.
pub type Reading = BoxStream<'static, io::Result<Bytes>>;

/// All blobs of a server.
#[derive(Clone, Debug)]
pub struct Blobs {
    pub uploads: Uploads,
    pub folder: Folder,
    bucket: Option<Arc<Bucket>>,
}

impl Blobs {
    /// Opens the folder `data`, of whose disk `reserve` bytes must stay free.
    pub fn open(data: &Path, reserve: u64, bucket: Option<Bucket>) -> Result<Self> {
        Ok(Self { uploads: Uploads::open(data, reserve)?, folder: Folder::open(data)?, bucket: bucket.map(Arc::new) })
    }

    /// Returns where whole blobs go; none: into the folder.
    pub fn bucket(&self) -> Option<&Bucket> {
        self.bucket.as_deref()
    }

    fn bucket_of(&self, name: &str) -> Result<&Bucket> {
        self.bucket()
            .ok_or_else(|| Error::failed(format!("find `{name}`"), "the server was started without its bucket"))
    }

    /// Returns bytes of a blob, as they come.
    pub async fn read(&self, digest: Digest, place: &Place, part: Range<u64>) -> Result<Reading> {
        match place {
            _ if part.is_empty() => Ok(futures_util::stream::empty().boxed()),
            Place::Folder => self.folder.read(digest, part).await,
            Place::Bucket(name) => self.bucket_of(name)?.read(name, part).await,
        }
    }

    /// Removes the bytes of a blob that no row speaks of.
    pub async fn remove(&self, digest: Digest, place: &Place) -> Result<()> {
        match place {
            Place::Folder => self.folder.remove(digest).await,
            Place::Bucket(name) => self.bucket_of(name)?.remove(name).await,
        }
    }

    /// Returns what is in a part of the store and in no row, and not younger than a day.
    pub async fn strays(&self, shard: &str, known: impl Fn(&Stray) -> bool) -> Result<Vec<Stray>> {
        let mut found = self.folder.old(shard).await?;
        if let Some(bucket) = self.bucket() {
            found.extend(bucket.old(shard).await?);
        }
        found.retain(|stray| !known(stray));
        Ok(found)
    }
}

/// Bytes in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    pub digest: Digest,
    pub place: Place,
    pub size: u64,
}

/// Opens the blobs of a farm whose database names `placed` blobs in a bucket, and which is called `farm`.
pub async fn open(
    data: &Path,
    reserve: u64,
    address: Option<&Address>,
    (farm, placed): (&str, u64),
    metrics: Arc<Metrics>,
) -> Result<Blobs> {
    let bucket = match address {
        Some(address) => {
            let bucket = Bucket::open(address, metrics)?;
            bucket.claim(farm, placed > 0).await?;
            Some(bucket)
        }
        None if placed > 0 => {
            let why = format!("{placed} blobs of this farm are in a bucket, and none is named");
            return Err(Error::bad(why).hint("name it as before: `--store s3://BUCKET/PREFIX`, or KILN_STORE"));
        }
        None => None,
    };
    Blobs::open(data, reserve, bucket)
}
