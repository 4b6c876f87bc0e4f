//! Backups: one file with the database and every blob in the server's folder that it names, made while the server runs; and the way back.
//!
//! The database is copied first, in one reading transaction, so the copy is a moment of the farm: a SQLite by itself, a PostgreSQL
//! table by table into a SQLite, so every backup can become a farm on either. Blobs never change
//! and their rows come after their bytes, so whatever the copy names is in the store, however long packing takes, as long as nobody
//! removes any: a backup holds the store ([`hold`]), and the gc leaves it alone until it is let go.
//!
//! Blobs that are in a bucket stay there: whoever keeps it sees to copies of it. The backup has their rows, and a restore that is told
//! the bucket looks whether they are still in it; what the gc removed since the backup is not, and its rows go.
//!
//! The file is a tar packed with zstd: `kiln-backup.json` ([`Manifest`]), `kiln.db`, `admin.token` where there is one, and
//! `blobs/AB/ABCD…`. Every byte of it is checked on its way in and on its way out.

mod carry;
mod copy;
mod pack;
mod restore;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use kiln_model::Digest;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use copy::before_update;
pub use pack::backup;
pub use restore::{Restored, UNCHECKED, restore};

/// What a backup says of itself; its first entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The file's format.
    pub format: u32,
    /// The kiln that made it.
    pub version: String,
    /// When, milliseconds since 1970.
    pub made: i64,
    /// The SHA-256 of its database.
    pub database: Digest,
    pub blobs: u64,
    /// The bytes of its blobs.
    pub bytes: u64,
    /// Blobs that its database names and that are in a bucket.
    #[serde(default)]
    pub elsewhere: u64,
    /// The bytes of those.
    #[serde(default)]
    pub elsewhere_bytes: u64,
}

const FORMAT: u32 = 1;
const MANIFEST: &str = "kiln-backup.json";
const DATABASE: &str = "kiln.db";
const TOKEN: &str = "admin.token";
const BLOBS: &str = "blobs";

/// Holds a store of blobs: shared for who needs all of it to stay, alone for who removes some. Nothing is left of it after a crash.
pub fn hold(data: &Path, how: FlockOperation) -> io::Result<File> {
    let folder = data.join(BLOBS);
    fs::create_dir_all(&folder)?;
    let file = File::open(folder)?;
    rustix::fs::flock(&file, how)?;
    Ok(file)
}

/// Counts and hashes what goes through.
struct Hashed<T> {
    inner: T,
    hasher: Sha256,
    bytes: u64,
}

impl<T> Hashed<T> {
    fn new(inner: T) -> Self {
        Self { inner, hasher: Sha256::new(), bytes: 0 }
    }

    fn digest(self) -> Digest {
        Digest::from_bytes(self.hasher.finalize().into())
    }

    fn see(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
    }
}

impl<T: Read> Read for Hashed<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.see(&buffer[..read]);
        Ok(read)
    }
}

impl<T: Write> Write for Hashed<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.see(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
