//! Secrets of projects, sealed.

use std::collections::BTreeMap;

use kiln_farm_api::{Name, Secret, Variable};

use super::tasks::text;
use super::{Db, Tx};
use crate::error::{Error, Result};

/// A secret as it is kept.
#[derive(Clone, Debug)]
pub struct Sealed {
    pub text: String,
    /// The key it was sealed with.
    pub seal: String,
}

/// Most secrets of a project.
const MOST: i64 = 200;

impl Tx {
    /// Keeps a secret in the place of what was there under its name.
    pub async fn set_secret(
        &mut self,
        project: &Name,
        name: &Variable,
        sealed: &Sealed,
        who: &str,
        now: i64,
    ) -> Result<()> {
        let sql = "INSERT INTO secrets (project, name, sealed, seal, changed, changed_by) VALUES ($1, $2, $3, $4, $5, $6) \
                   ON CONFLICT (project, name) DO UPDATE SET sealed = excluded.sealed, seal = excluded.seal, \
                   changed = excluded.changed, changed_by = excluded.changed_by";
        sqlx::query(sql)
            .bind(project.as_str().to_owned())
            .bind(name.as_str().to_owned())
            .bind(sealed.text.clone())
            .bind(sealed.seal.clone())
            .bind(now)
            .bind(who.to_owned())
            .execute(&mut *self.conn)
            .await?;
        let sql = "SELECT count(*) FROM secrets WHERE project = $1";
        let query = sqlx::query_scalar::<_, i64>(sql).bind(project.as_str().to_owned());
        match query.fetch_one(&mut *self.conn).await? {
            ..=MOST => Ok(()),
            _ => Err(Error::conflict(format!("`{project}` has {MOST} secrets, which is as many as there may be"))),
        }
    }

    pub async fn drop_secret(&mut self, project: &Name, name: &Variable) -> Result<()> {
        let sql = "DELETE FROM secrets WHERE project = $1 AND name = $2";
        let query = sqlx::query(sql).bind(project.as_str().to_owned()).bind(name.as_str().to_owned());
        match query.execute(&mut *self.conn).await?.rows_affected() {
            0 => Err(Error::missing("secret", name)),
            _ => Ok(()),
        }
    }

    /// Returns all secrets of a project.
    pub async fn sealed(&mut self, project: &Name) -> Result<BTreeMap<Variable, Sealed>> {
        let sql = "SELECT name, sealed, seal FROM secrets WHERE project = $1";
        let query = sqlx::query_as::<_, (String, String, String)>(sql).bind(project.as_str().to_owned());
        let rows = query.fetch_all(&mut *self.conn).await?;
        rows.into_iter().map(|(name, sealed, seal)| Ok((text(&name)?, Sealed { text: sealed, seal }))).collect()
    }
}

impl Db {
    /// Returns which secrets a project has; those that were sealed with another key than `seal` are unreadable.
    pub async fn secrets(&self, project: &Name, seal: &str) -> Result<Vec<Secret>> {
        let sql = "SELECT name, changed, changed_by, seal FROM secrets WHERE project = $1 ORDER BY name";
        let query = sqlx::query_as::<_, (String, i64, String, String)>(sql).bind(project.as_str().to_owned());
        let one = |(name, changed, by, with): (String, i64, String, String)| {
            Ok(Secret { name: text(&name)?, changed, by, unreadable: with != seal })
        };
        query.fetch_all(self.reader()).await?.into_iter().map(one).collect()
    }

    /// Returns how many secrets were sealed with another key than `seal`.
    pub async fn unreadable_secrets(&self, seal: &str) -> Result<u64> {
        let sql = "SELECT count(*) FROM secrets WHERE seal <> $1";
        let count: i64 = sqlx::query_scalar(sql).bind(seal.to_owned()).fetch_one(self.reader()).await?;
        Ok(count as u64)
    }
}
