//! Makes a farm's folder from a backup.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use kiln_model::Digest;
use sqlx::Connection as _;

use super::pack::{Blob, blobs_of};
use super::{BLOBS, DATABASE, FORMAT, Hashed, MANIFEST, Manifest, TOKEN, carry};
use crate::blobs::{Address, Bucket, Place, place_of};
use crate::db;
use crate::error::{Error, Result};
use crate::serve::private_folder;

/// The database before all is found right: no server begins in a folder that has it, so a restore that broke off is never taken for a
/// farm.
pub const UNCHECKED: &str = "restoring.db";
/// Longest manifest, bytes.
const LONGEST: u64 = 1 << 20;

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    pub manifest: Manifest,
    /// How many of its blobs their bucket lacks; none: nobody looked.
    pub lacking: Option<u64>,
}

/// Unpacks `file` into `data`, which must be empty, and checks every digest on the way; with `store`, also what is in that bucket. The
/// PostgreSQL of `database`, which must be empty too, gets what the file in `data` has otherwise.
pub async fn restore(file: &Path, data: &Path, store: Option<&Address>, database: Option<&str>) -> Result<Restored> {
    let postgres = db::postgres(database)?;
    let doing = |error| Error::failed(format!("look into `{}`", data.display()), error);
    private_folder(data).map_err(doing)?;
    if fs::read_dir(data).map_err(doing)?.next().is_some() {
        let why = format!("`{}` is not empty", data.display());
        return Err(Error::conflict(why).hint("name a folder that is empty, or not there, with `--data`"));
    }
    if let Some(url) = postgres {
        carry::ready(url).await?;
    }
    let mut committing = false;
    let restored = unpack_and_check(file, data, store, (postgres, &mut committing)).await;
    // If it may be in the database, its artifacts stay.
    if restored.is_err() && !committing {
        clear(data);
    }
    restored
}

async fn unpack_and_check(
    file: &Path,
    data: &Path,
    store: Option<&Address>,
    (postgres, committing): (Option<&str>, &mut bool),
) -> Result<Restored> {
    let (from, to) = (file.to_owned(), data.to_owned());
    let job = tokio::task::spawn_blocking(move || unpack(&from, &to));
    let (manifest, blobs) = job.await.map_err(|error| Error::failed("unpack", error))??;
    let unpacked = data.join(UNCHECKED);
    sound(&unpacked).await?;
    let (here, elsewhere): (Vec<_>, Vec<_>) =
        blobs_of(&unpacked).await?.into_iter().partition(|blob| blob.place == Place::Folder);
    if let Some(Blob { digest, .. }) = here.iter().find(|blob| !blobs.contains(&blob.digest)) {
        return Err(Error::bad(format!("the backup lacks blob {digest}, which its database names")));
    }
    let lacking = match store {
        Some(address) if !elsewhere.is_empty() => Some(forget_lacking(&unpacked, address, &elsewhere).await?),
        _ => None,
    };
    let failed = |error: io::Error| Error::failed(format!("write to `{}`", data.display()), error);
    let folder = File::open(data).map_err(failed)?;
    rustix::fs::syncfs(&folder).map_err(|error| failed(error.into()))?;
    match postgres {
        Some(url) => {
            carry::into(url, &unpacked, committing).await?;
            if let Err(error) = fs::remove_file(&unpacked).and_then(|()| folder.sync_all()) {
                tracing::warn!("`{}`, which is in the database now, is not removed: {error}", unpacked.display());
            }
        }
        None => {
            fs::rename(unpacked, data.join(DATABASE)).map_err(failed)?;
            folder.sync_all().map_err(failed)?;
        }
    }
    Ok(Restored { manifest, lacking })
}

/// Removes the rows of blobs that their bucket lacks, so that they can be uploaded again; returns how many.
async fn forget_lacking(database: &Path, address: &Address, blobs: &[Blob]) -> Result<u64> {
    let mut conn = db::connect(&format!("sqlite:{}", database.display())).await?;
    let farm: String = sqlx::query_scalar("SELECT value FROM facts WHERE name = 'farm'").fetch_one(&mut conn).await?;
    let bucket = Bucket::open(address, Arc::default())?;
    bucket.claim(&farm, true).await?;
    let found: HashSet<_> = bucket.all().await?.into_iter().map(|found| (found.place, found.size)).collect();
    let lacking = blobs.iter().filter(|blob| !found.contains(&(blob.place.clone(), blob.size)));
    let mut count = 0;
    for blob in lacking {
        sqlx::query("DELETE FROM blobs WHERE sha256 = $1").bind(blob.digest.to_string()).execute(&mut conn).await?;
        count += 1;
    }
    conn.close().await?;
    Ok(count)
}

async fn sound(database: &Path) -> Result<()> {
    let mut conn = db::connect(&format!("sqlite:{}", database.display())).await?;
    let found: String = sqlx::query_scalar("PRAGMA integrity_check(1)").fetch_one(&mut conn).await?;
    conn.close().await?;
    if found == "ok" { Ok(()) } else { Err(Error::bad(format!("the backup's database is damaged: {found}"))) }
}

/// Takes back what was unpacked into a folder that was empty.
fn clear(data: &Path) {
    for entry in fs::read_dir(data).into_iter().flatten().flatten() {
        let path = entry.path();
        let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    }
}

fn unpack(file: &Path, data: &Path) -> Result<(Manifest, BTreeSet<Digest>)> {
    let failed = |error: io::Error| Error::failed(format!("unpack `{}`", file.display()), error);
    let opened = File::open(file).map_err(failed)?;
    let mut tar = tar::Archive::new(zstd::Decoder::new(BufReader::with_capacity(1 << 20, opened)).map_err(failed)?);
    let mut entries = tar.entries().map_err(failed)?;
    let manifest = match entries.next() {
        Some(first) => manifest(first.map_err(failed)?, file)?,
        None => return Err(no_backup(file)),
    };
    let (mut blobs, mut bytes, mut database) = (BTreeSet::new(), 0, None);
    for entry in entries {
        let mut entry = entry.map_err(failed)?;
        let path = entry.path().map_err(failed)?.into_owned();
        match path.to_str() {
            Some(DATABASE) => database = Some(written(&mut entry, &data.join(UNCHECKED)).map_err(failed)?.1),
            Some(TOKEN) => drop(written(&mut entry, &data.join(TOKEN)).map_err(failed)?),
            _ => {
                let digest =
                    blob(&path).ok_or_else(|| Error::bad(format!("`{}` is no part of a backup", path.display())))?;
                fs::create_dir_all(data.join(&path).parent().unwrap_or(data)).map_err(failed)?;
                let (size, found) = written(&mut entry, &data.join(&path)).map_err(failed)?;
                if found != digest {
                    return Err(Error::bad(format!("blob {digest} is damaged in the backup: its SHA-256 is {found}")));
                }
                bytes += size;
                blobs.insert(digest);
            }
        }
    }
    if database != Some(manifest.database) || (blobs.len() as u64, bytes) != (manifest.blobs, manifest.bytes) {
        return Err(Error::bad(format!("`{}` is not all of the backup it says it is", file.display())));
    }
    Ok((manifest, blobs))
}

fn no_backup(file: &Path) -> Error {
    Error::bad(format!("`{}` is no backup of a farm", file.display())).hint("`kiln backup FILE` makes one")
}

fn manifest(entry: tar::Entry<'_, impl io::Read>, file: &Path) -> Result<Manifest> {
    if entry.path().ok().is_none_or(|path| path != Path::new(MANIFEST)) {
        return Err(no_backup(file));
    }
    let read: Manifest = serde_json::from_reader(entry.take(LONGEST)).map_err(|_| no_backup(file))?;
    if read.format != FORMAT {
        let why =
            format!("this backup has the format {}; kiln {} reads {FORMAT}", read.format, env!("CARGO_PKG_VERSION"));
        return Err(Error::bad(why).hint(format!("kiln {} made it", read.version)));
    }
    Ok(read)
}

/// Returns the blob that an entry says it is; every other path is none.
fn blob(path: &Path) -> Option<Digest> {
    let digest = path.file_name()?.to_str()?.parse().ok()?;
    (place_of(Path::new(BLOBS), digest) == path).then_some(digest)
}

fn written(entry: &mut impl io::Read, path: &Path) -> io::Result<(u64, Digest)> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let mut file = Hashed::new(file);
    let size = io::copy(entry, &mut file)?;
    Ok((size, file.digest()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_place_of_a_blob_is_one() {
        let digest = Digest::of("hello");
        let (text, short) = (digest.to_string(), &digest.to_string()[..2]);
        let cases = [
            (format!("blobs/{short}/{text}"), Some(digest)),
            (format!("blobs/zz/{text}"), None),
            (format!("../blobs/{short}/{text}"), None),
            (format!("blobs/../{short}/{text}"), None),
            ("blobs/x".into(), None),
            ("/etc/passwd".into(), None),
        ];
        for (path, wanted) in cases {
            assert_eq!(blob(Path::new(&path)), wanted, "{path}");
        }
    }
}
