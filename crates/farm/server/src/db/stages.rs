//! Stages that nodes share.

use kiln_farm_api::{Kept, NodeId};
use kiln_model::Digest;

use super::holders::Holder;
use super::tasks::text;
use super::{Db, Tx};
use crate::decide::retain::Shared;
use crate::error::{Error, Result};

/// A stage whose use was noted less long ago, milliseconds, is not noted again.
const NOTED: i64 = 3600 * 1000;

impl Tx {
    /// Notes which blob, that the node has, is a stage's; of two that are told the first stays.
    pub async fn keep_stage(&mut self, id: Digest, kept: Kept, node: NodeId, now: i64) -> Result<()> {
        let known = self.may_name(Holder::Node(node), kept.sha256).await?;
        if !known || self.want(kept.sha256, now).await? != Some(kept.size) {
            let why = format!("stage {id} is not uploaded: there is no blob {} of its size", kept.sha256);
            return Err(Error::conflict(why));
        }
        let sql =
            "INSERT INTO stages (id, sha256, size, made, used) VALUES ($1, $2, $3, $4, $4) ON CONFLICT (id) DO NOTHING";
        let query = sqlx::query(sql).bind(id.to_string()).bind(kept.sha256.to_string());
        query.bind(kept.size as i64).bind(now).execute(&mut *self.conn).await?;
        Ok(())
    }

    /// Forgets a stage whose bytes are these; false: it has others, or none.
    pub async fn drop_stage(&mut self, id: Digest, kept: Kept) -> Result<bool> {
        let sql = "DELETE FROM stages WHERE id = $1 AND sha256 = $2";
        let query = sqlx::query(sql).bind(id.to_string()).bind(kept.sha256.to_string());
        Ok(query.execute(&mut *self.conn).await?.rows_affected() == 1)
    }

    /// Notes that a stage was asked for.
    pub async fn use_stage(&mut self, id: Digest, now: i64) -> Result<()> {
        let sql = "UPDATE stages SET used = $1 WHERE id = $2";
        sqlx::query(sql).bind(now).bind(id.to_string()).execute(&mut *self.conn).await?;
        Ok(())
    }

    /// Removes a stage, if nobody asked for it since it was looked at.
    pub async fn forget_stage(&mut self, stage: Shared) -> Result<bool> {
        let sql = "DELETE FROM stages WHERE id = $1 AND used = $2";
        let query = sqlx::query(sql).bind(stage.id.to_string()).bind(stage.used);
        Ok(query.execute(&mut *self.conn).await?.rows_affected() == 1)
    }
}

impl Db {
    /// Returns a stage's blob, and whether its use is to be noted now.
    pub async fn stage(&self, id: Digest, now: i64) -> Result<Option<(Kept, bool)>> {
        let sql = "SELECT sha256, size, used FROM stages WHERE id = $1";
        let row: Option<(String, i64, i64)> =
            sqlx::query_as(sql).bind(id.to_string()).fetch_optional(self.reader()).await?;
        let Some((sha256, size, used)) = row else { return Ok(None) };
        Ok(Some((Kept { sha256: text(&sha256)?, size: size as u64 }, used < now - NOTED)))
    }

    /// Returns how many bytes all stages are.
    pub async fn stages_size(&self) -> Result<u64> {
        let sql = "SELECT CAST(coalesce(sum(size), 0) AS BIGINT) FROM stages";
        Ok(sqlx::query_scalar::<_, i64>(sql).fetch_one(self.reader()).await? as u64)
    }

    /// Whether a blob is a stage's, which every node may have.
    pub async fn is_of_stage(&self, digest: Digest) -> Result<bool> {
        let sql = "SELECT count(*) FROM stages WHERE sha256 = $1";
        Ok(sqlx::query_scalar::<_, i64>(sql).bind(digest.to_string()).fetch_one(self.reader()).await? > 0)
    }

    /// Returns all stages.
    pub async fn stages(&self) -> Result<Vec<Shared>> {
        let sql = "SELECT id, sha256, size, used FROM stages";
        let rows: Vec<(String, String, i64, i64)> = sqlx::query_as(sql).fetch_all(self.reader()).await?;
        let one = |(id, sha256, size, used): (String, String, i64, i64)| {
            Ok(Shared { id: text(&id)?, sha256: text(&sha256)?, size: size as u64, used })
        };
        rows.into_iter().map(one).collect()
    }
}
