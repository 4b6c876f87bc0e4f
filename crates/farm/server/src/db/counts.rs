//! How much there is of what.

use super::Db;
use crate::error::Result;

/// Numbers of the farm.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// How many builds are in which state.
    pub builds: Vec<(String, i64)>,
    pub tasks: Vec<(String, i64)>,
    /// When the oldest task of the queue came into it.
    pub oldest: Option<i64>,
    pub blobs: i64,
    pub bytes: i64,
    /// Bytes of uploads that are not whole, in the bucket.
    pub parked: i64,
}

impl Db {
    pub async fn counts(&self) -> Result<Counts> {
        let sql = "SELECT state, count(*) FROM builds GROUP BY state";
        let builds = sqlx::query_as(sql).fetch_all(self.reader()).await?;
        let sql = "SELECT state, count(*) FROM tasks GROUP BY state";
        let tasks = sqlx::query_as(sql).fetch_all(self.reader()).await?;
        let sql = "SELECT min(queued) FROM tasks WHERE state = 'queued'";
        let oldest = sqlx::query_scalar(sql).fetch_one(self.reader()).await?;
        let sql = "SELECT count(*), CAST(coalesce(sum(size), 0) AS BIGINT) FROM blobs";
        let (blobs, bytes) = sqlx::query_as(sql).fetch_one(self.reader()).await?;
        let sql = "SELECT CAST(coalesce(sum(ends - begins), 0) AS BIGINT) FROM parked";
        let parked = sqlx::query_scalar(sql).fetch_one(self.reader()).await?;
        Ok(Counts { builds, tasks, oldest, blobs, bytes, parked })
    }
}
