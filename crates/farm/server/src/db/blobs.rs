//! Which blobs there are.

use kiln_model::Digest;

use super::{Db, Tx};
use crate::error::Result;

impl Tx {
    /// Notes a blob whose bytes are in the store.
    pub async fn blob(&mut self, digest: Digest, size: u64, now: i64) -> Result<()> {
        let sql = "INSERT INTO blobs (sha256, size, created) VALUES ($1, $2, $3) ON CONFLICT (sha256) DO NOTHING";
        sqlx::query(sql).bind(digest.to_string()).bind(size as i64).bind(now).execute(&mut *self.conn).await?;
        Ok(())
    }
}

impl Db {
    /// Returns a blob's size, if there is one.
    pub async fn blob(&self, digest: Digest) -> Result<Option<u64>> {
        let sql = "SELECT size FROM blobs WHERE sha256 = $1";
        let size: Option<i64> = sqlx::query_scalar(sql).bind(digest.to_string()).fetch_optional(self.reader()).await?;
        Ok(size.map(|size| size as u64))
    }
}
