//! Makes a backup.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _};
use std::path::{Path, PathBuf};

use kiln_model::Digest;
use rustix::fs::FlockOperation;
use sqlx::{AnyConnection, Connection as _, Executor as _};

use super::{BLOBS, DATABASE, FORMAT, Hashed, MANIFEST, Manifest, TOKEN, carry, copy, hold};
use crate::blobs::{Place, Stray, digest_of, place_of};
use crate::db;
use crate::error::{Error, Result};

/// A blob by its row.
pub(super) type Blob = Stray;

/// Packs the farm in `data` into `file`, also while its server runs. Its database is the PostgreSQL of `database`, or the file in `data`.
pub async fn backup(data: &Path, database: Option<&str>, file: &Path, now: i64) -> Result<Manifest> {
    let postgres = db::postgres(database)?;
    ours(data, postgres)?;
    if file.exists() {
        return Err(Error::conflict(format!("`{}` is there already", file.display())));
    }
    let held = data.to_owned();
    let _held = tokio::task::spawn_blocking(move || hold(&held, FlockOperation::LockShared))
        .await
        .map_err(|error| Error::failed("hold the blobs", error))?
        .map_err(|error| Error::failed("hold the blobs", error))?;
    let beside = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = tempfile::tempdir_in(beside).map_err(|error| making(file, error))?;
    let copied = folder.path().join(DATABASE);
    match postgres {
        Some(url) => carry::out_of(url, &copied).await?,
        None => copy_database(&data.join(DATABASE), &copied).await?,
    }
    let blobs = blobs_of(&copied).await?;
    let (data, file) = (data.to_owned(), file.to_owned());
    let job = tokio::task::spawn_blocking(move || pack(&data, &copied, &blobs, &file, now));
    job.await.map_err(|error| Error::failed("make a backup", error))?
}

/// Refuses what is no folder of a farm.
fn ours(data: &Path, postgres: Option<&str>) -> Result<()> {
    // With a PostgreSQL there are at least the artifacts.
    let needed = if postgres.is_some() { BLOBS } else { DATABASE };
    if !data.join(needed).exists() {
        let why = format!("`{}` is no folder of a farm: it has no `{needed}`", data.display());
        return Err(Error::bad(why).hint(
            "name the server's folder with `--data` or KILN_DATA, and its PostgreSQL, if it has one, with DATABASE_URL",
        ));
    }
    Ok(())
}

fn making(file: &Path, error: io::Error) -> Error {
    Error::failed(format!("make `{}`", file.display()), error)
}

async fn open(file: &Path) -> Result<AnyConnection> {
    let mut conn = db::connect(&format!("sqlite:{}", file.display())).await?;
    conn.execute("PRAGMA busy_timeout = 10000").await?;
    Ok(conn)
}

async fn copy_database(from: &Path, to: &Path) -> Result<()> {
    let mut conn = open(from).await?;
    copy::copy(&mut conn, to).await?;
    Ok(conn.close().await?)
}

/// Returns the blobs that a database names.
pub(super) async fn blobs_of(database: &Path) -> Result<Vec<Blob>> {
    let mut conn = open(database).await?;
    let known = "SELECT count(*) FROM pragma_table_info('blobs') WHERE name = 'place'";
    let known: i64 = sqlx::query_scalar(known).fetch_one(&mut conn).await?;
    // A kiln before this one had no buckets.
    let sql = match known {
        0 => "SELECT sha256, size, CAST(NULL AS TEXT) FROM blobs ORDER BY sha256",
        _ => "SELECT sha256, size, place FROM blobs ORDER BY sha256",
    };
    let rows: Vec<(String, i64, Option<String>)> = sqlx::query_as(sql).fetch_all(&mut conn).await?;
    conn.close().await?;
    let one = |(sha256, size, place): (String, i64, Option<String>)| {
        let digest = sha256.parse().map_err(|error| Error::failed(format!("read the digest `{sha256}`"), error))?;
        Ok(Blob { digest, place: Place::of(place), size: size as u64 })
    };
    rows.into_iter().map(one).collect()
}

fn pack(data: &Path, database: &Path, blobs: &[Blob], file: &Path, now: i64) -> Result<Manifest> {
    let failed = |error| making(file, error);
    let (blobs, elsewhere): (Vec<&Blob>, Vec<&Blob>) = blobs.iter().partition(|blob| blob.place == Place::Folder);
    let sum = |blobs: &[&Blob]| blobs.iter().map(|blob| blob.size).sum();
    let manifest = Manifest {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").into(),
        made: now,
        database: File::open(database).and_then(|database| digest_of(&database)).map_err(failed)?,
        blobs: blobs.len() as u64,
        bytes: sum(&blobs),
        elsewhere: elsewhere.len() as u64,
        elsewhere_bytes: sum(&elsewhere),
    };
    let beside = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Only its owner reads it: passwords' hashes are in there, and builds of whoever trusts this farm.
    let part = tempfile::NamedTempFile::new_in(beside).map_err(failed)?;
    let mut packed = zstd::Encoder::new(BufWriter::with_capacity(1 << 20, part.as_file()), 3).map_err(failed)?;
    packed
        .multithread(std::thread::available_parallelism().map_or(1, |threads| threads.get() as u32))
        .map_err(failed)?;
    let mut tar = tar::Builder::new(packed);
    let words = serde_json::to_vec_pretty(&manifest).expect("a manifest serialises");
    append(&mut tar, Path::new(MANIFEST), words.len() as u64, words.as_slice()).map_err(failed)?;
    append_file(&mut tar, Path::new(DATABASE), database).map_err(failed)?;
    let token = data.join(TOKEN);
    if token.is_file() {
        append_file(&mut tar, Path::new(TOKEN), &token).map_err(failed)?;
    }
    for blob in blobs {
        append_blob(&mut tar, data, blob.digest, blob.size)?;
    }
    let written = tar.into_inner().and_then(zstd::Encoder::finish).map_err(failed)?;
    written.into_inner().map_err(|error| failed(error.into_error()))?.sync_all().map_err(failed)?;
    part.persist_noclobber(file).map_err(|error| failed(error.error))?;
    Ok(manifest)
}

fn append(tar: &mut tar::Builder<impl io::Write>, name: &Path, size: u64, bytes: impl io::Read) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o600);
    tar.append_data(&mut header, name, bytes)
}

fn append_file(tar: &mut tar::Builder<impl io::Write>, name: &Path, path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    append(tar, name, file.metadata()?.len(), file)
}

fn append_blob(tar: &mut tar::Builder<impl io::Write>, data: &Path, digest: Digest, size: u64) -> Result<()> {
    let failed = |error| Error::failed(format!("pack blob {digest}"), error);
    let place: PathBuf = place_of(Path::new(BLOBS), digest);
    let file = File::open(data.join(&place)).map_err(failed)?;
    let mut bytes = Hashed::new(BufReader::with_capacity(1 << 20, file).take(size));
    append(tar, &place, size, &mut bytes).map_err(failed)?;
    let found = (bytes.bytes, bytes.digest());
    if found != (size, digest) {
        let why = format!("the bytes of blob {digest} are damaged: {} of them have the SHA-256 {}", found.0, found.1);
        return Err(Error::failed("pack the blobs", why));
    }
    Ok(())
}
