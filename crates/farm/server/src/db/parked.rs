//! What of uploads under way lies in the bucket: under the names of uploads ([`Sent::name`]), not of blobs.

use std::collections::BTreeSet;

use kiln_model::Digest;

use super::tasks::text;
use super::{Db, Tx};
use crate::blobs::{Place, Sent, Stray};
use crate::decide::park::{Parked, adds};
use crate::error::Result;

type Row = (String, i64, i64);

fn parked((name, begins, ends): Row) -> Parked {
    Parked { name, bytes: begins as u64..ends as u64 }
}

fn strays(rows: Vec<(String, String, i64)>) -> Result<Vec<Stray>> {
    let stray = |(sha256, name, size): (String, String, i64)| {
        Ok(Stray { digest: text(&sha256)?, place: Place::Bucket(name), size: size as u64 })
    };
    rows.into_iter().map(stray).collect()
}

const OF_UPLOAD: &str = "SELECT name, begins, ends FROM parked WHERE sha256 = $1";

impl Tx {
    /// Notes bytes of an upload that lie in the bucket; false: they are of no use, others brought it further or to its end.
    pub async fn park(&mut self, sent: Sent, part: Parked, now: i64) -> Result<bool> {
        let whole = self.holds(sent.by, sent.digest).await?;
        let query = sqlx::query_as(OF_UPLOAD).bind(sent.name().to_string());
        let known: Vec<Row> = query.fetch_all(&mut *self.conn).await?;
        let known: Vec<Parked> = known.into_iter().map(parked).collect();
        if whole || !adds(&known, &part.bytes) {
            return Ok(false);
        }
        let sql = "INSERT INTO parked (name, sha256, begins, ends, made) VALUES ($1, $2, $3, $4, $5)";
        let query = sqlx::query(sql).bind(part.name).bind(sent.name().to_string());
        let query = query.bind(part.bytes.start as i64).bind(part.bytes.end as i64).bind(now);
        query.execute(&mut *self.conn).await?;
        Ok(true)
    }

    /// Forgets all that lies in the bucket of an upload; returns the names, which nobody says any more.
    pub async fn unpark(&mut self, sent: Sent) -> Result<Vec<String>> {
        let sql = "DELETE FROM parked WHERE sha256 = $1 RETURNING name";
        Ok(sqlx::query_scalar(sql).bind(sent.name().to_string()).fetch_all(&mut *self.conn).await?)
    }

    /// Forgets a name under which nothing lies.
    pub async fn lose_parked(&mut self, name: &str) -> Result<()> {
        let query = sqlx::query("DELETE FROM parked WHERE name = $1").bind(name.to_owned());
        query.execute(&mut *self.conn).await?;
        Ok(())
    }

    /// Forgets uploads that nobody went on with since `before`; returns what of them lies in the bucket.
    pub async fn give_up_parked(&mut self, before: i64) -> Result<Vec<Stray>> {
        let sql = "DELETE FROM parked WHERE sha256 NOT IN (SELECT sha256 FROM parked WHERE made >= $1) \
                   RETURNING sha256, name, ends - begins";
        strays(sqlx::query_as(sql).bind(before).fetch_all(&mut *self.conn).await?)
    }
}

impl Db {
    /// Returns what of an upload lies in the bucket.
    pub async fn parked(&self, upload: Digest) -> Result<Vec<Parked>> {
        let rows: Vec<Row> = sqlx::query_as(OF_UPLOAD).bind(upload.to_string()).fetch_all(self.reader()).await?;
        Ok(rows.into_iter().map(parked).collect())
    }

    /// Returns what lies in the bucket of uploads that nobody went on with since `before`.
    pub async fn parked_before(&self, before: i64) -> Result<Vec<Stray>> {
        let sql = "SELECT sha256, name, ends - begins FROM parked \
                   WHERE sha256 NOT IN (SELECT sha256 FROM parked WHERE made >= $1)";
        strays(sqlx::query_as(sql).bind(before).fetch_all(self.reader()).await?)
    }

    /// Returns the names of what lies in a part of the bucket.
    pub async fn parked_in(&self, shard: &str) -> Result<BTreeSet<String>> {
        let sql = "SELECT name FROM parked WHERE sha256 >= $1 AND sha256 < $2";
        let query = sqlx::query_scalar(sql).bind(shard.to_owned()).bind(format!("{shard}g"));
        let names: Vec<String> = query.fetch_all(self.reader()).await?;
        Ok(names.into_iter().collect())
    }
}
