//! Copies of a SQLite database that is in use.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use sqlx::AnyConnection;

use crate::error::{Error, Result};

/// Copies a database that a kiln with `known` migrations is about to bring up to date, into `folder`; one that is new needs no copy.
pub async fn before_update(conn: &mut AnyConnection, known: usize, folder: &Path, now: i64) -> Result<Option<PathBuf>> {
    let sql = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = '_sqlx_migrations'";
    let begun: i64 = sqlx::query_scalar(sql).fetch_one(&mut *conn).await?;
    if begun == 0 {
        return Ok(None);
    }
    let applied: i64 = sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations").fetch_one(&mut *conn).await?;
    if applied == 0 || applied as usize >= known {
        return Ok(None);
    }
    fs::create_dir_all(folder).map_err(|error| Error::failed(format!("make `{}`", folder.display()), error))?;
    let time = jiff::Timestamp::from_millisecond(now).unwrap_or_default().strftime("%Y%m%dT%H%M%SZ");
    let file = folder.join(format!("kiln-{}-{time}.db", env!("CARGO_PKG_VERSION")));
    copy(conn, &file).await?;
    Ok(Some(file))
}

/// Copies the database of a connection into `file` as it is at one moment, also while others write. The copy is there whole or not
/// at all, and SQLite's own VACUUM INTO, which makes it, leaves it to us to see it onto the disk.
pub(super) async fn copy(conn: &mut AnyConnection, file: &Path) -> Result<()> {
    let failed = |error| Error::failed(format!("copy the database to `{}`", file.display()), error);
    let part = file.with_extension("part");
    if part.exists() {
        fs::remove_file(&part).map_err(failed)?;
    }
    let name = part.to_str().ok_or_else(|| Error::bad(format!("`{}` is no UTF-8", part.display())))?.to_owned();
    sqlx::query("VACUUM INTO $1").bind(name).execute(conn).await?;
    File::open(&part).and_then(|part| part.sync_all()).map_err(failed)?;
    fs::rename(&part, file).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::{Connection as _, Executor as _};

    #[tokio::test]
    async fn only_before_something_changes() {
        sqlx::any::install_default_drivers();
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}?mode=rwc", folder.path().join("kiln.db").display());
        let mut conn = AnyConnection::connect(&url).await.unwrap();
        let backups = folder.path().join("backup");
        assert_eq!(before_update(&mut conn, 2, &backups, 0).await.unwrap(), None, "a new one");
        conn.execute("CREATE TABLE _sqlx_migrations (version BIGINT)").await.unwrap();
        conn.execute("INSERT INTO _sqlx_migrations VALUES (1)").await.unwrap();
        assert_eq!(before_update(&mut conn, 1, &backups, 0).await.unwrap(), None, "up to date");
        let copy = before_update(&mut conn, 2, &backups, 86_400_000).await.unwrap().unwrap();
        assert_eq!(copy, backups.join(format!("kiln-{}-19700102T000000Z.db", env!("CARGO_PKG_VERSION"))));
        let mut copied = AnyConnection::connect(&format!("sqlite:{}", copy.display())).await.unwrap();
        let rows: i64 =
            sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations").fetch_one(&mut copied).await.unwrap();
        assert_eq!(rows, 1);
    }
}
