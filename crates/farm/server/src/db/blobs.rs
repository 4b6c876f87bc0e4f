//! Which blobs there are.

use kiln_farm_api::{NodeId, TaskId};
use kiln_model::Digest;
use uuid::Uuid;

use super::{Db, Tx};
use crate::blobs::Place;
use crate::error::{Error, Result};

impl Tx {
    /// Notes a blob whose bytes are in the store, and that it is wanted now; returns where they are, if somebody was faster elsewhere.
    pub async fn blob(&mut self, digest: Digest, size: u64, place: Place, now: i64) -> Result<Place> {
        let sql = "INSERT INTO blobs (sha256, size, created, used, place) VALUES ($1, $2, $3, $3, $4) \
                   ON CONFLICT (sha256) DO UPDATE SET used = excluded.used RETURNING place";
        let query = sqlx::query_scalar(sql).bind(digest.to_string()).bind(size as i64).bind(now);
        Ok(Place::of(query.bind(place.name().map(str::to_owned)).fetch_one(&mut *self.conn).await?))
    }

    /// Notes that somebody asked whether changes are taken, which is one.
    pub async fn seen_ready(&mut self, now: i64) -> Result<()> {
        let sql = "INSERT INTO facts (name, value) VALUES ('ready', $1) ON CONFLICT (name) DO UPDATE SET value = $1";
        sqlx::query(sql).bind(now.to_string()).execute(&mut *self.conn).await?;
        Ok(())
    }

    /// Returns what the farm is called; `fresh`, if it has no name yet.
    pub async fn farm(&mut self, fresh: Uuid) -> Result<String> {
        let sql = "INSERT INTO facts (name, value) VALUES ('farm', $1) ON CONFLICT (name) DO NOTHING";
        sqlx::query(sql).bind(fresh.to_string()).execute(&mut *self.conn).await?;
        Ok(sqlx::query_scalar("SELECT value FROM facts WHERE name = 'farm'").fetch_one(&mut *self.conn).await?)
    }

    /// Returns a blob's size, if there is one. From here on it is wanted: a gc that saw it unused waits for this transaction, and
    /// then leaves it alone.
    pub async fn want(&mut self, digest: Digest, now: i64) -> Result<Option<u64>> {
        let sql = "UPDATE blobs SET used = $1 WHERE sha256 = $2 RETURNING size";
        let query = sqlx::query_scalar::<_, i64>(sql).bind(now).bind(digest.to_string());
        Ok(query.fetch_optional(&mut *self.conn).await?.map(|size| size as u64))
    }

    /// Notes a blob that a task is made from.
    pub async fn need(&mut self, task: TaskId, input: Digest, now: i64) -> Result<()> {
        if self.want(input, now).await?.is_none() {
            return Err(Error::conflict(format!("there is no blob {input} any more")).hint("upload it again"));
        }
        let sql = "INSERT INTO inputs (task, sha256) VALUES ($1, $2) ON CONFLICT (task, sha256) DO NOTHING";
        sqlx::query(sql).bind(task.to_string()).bind(input.to_string()).execute(&mut *self.conn).await?;
        Ok(())
    }
}

/// What the row of a blob says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub size: u64,
    pub place: Place,
    /// When somebody said last that it is wanted.
    pub used: i64,
}

impl Db {
    /// Whether a node runs a task that is made from this blob.
    pub async fn is_input_of(&self, digest: Digest, node: NodeId) -> Result<bool> {
        let sql = "SELECT count(*) FROM inputs JOIN tasks ON tasks.id = inputs.task \
                   WHERE inputs.sha256 = $1 AND tasks.node = $2 AND tasks.state = 'running'";
        let query = sqlx::query_scalar::<_, i64>(sql).bind(digest.to_string()).bind(node.to_string());
        Ok(query.fetch_one(self.reader()).await? > 0)
    }

    /// Returns what is known of a blob, if there is one.
    pub async fn blob(&self, digest: Digest) -> Result<Option<Known>> {
        let sql = "SELECT size, place, used FROM blobs WHERE sha256 = $1";
        let row: Option<(i64, Option<String>, i64)> =
            sqlx::query_as(sql).bind(digest.to_string()).fetch_optional(self.reader()).await?;
        Ok(row.map(|(size, place, used)| Known { size: size as u64, place: Place::of(place), used }))
    }

    /// Returns how many blobs are in a bucket.
    pub async fn blobs_in_bucket(&self) -> Result<u64> {
        let sql = "SELECT count(*) FROM blobs WHERE place IS NOT NULL";
        Ok(sqlx::query_scalar::<_, i64>(sql).fetch_one(self.reader()).await? as u64)
    }
}
