//! Secrets that the server itself uses, in the rows of what they belong to.

use sqlx::Executor as _;

use super::tasks::text;
use super::{Db, Kind, Tx};
use crate::error::Result;
use crate::seals::Whose;

impl Tx {
    /// Puts sealed secrets in the place of those that lie there in clear: each as it is to be, and as it was. SQLite would leave what it
    /// writes over on its pages.
    pub async fn seal(&mut self, kind: Kind, clear: Vec<(Whose, String, String)>) -> Result<()> {
        if kind == Kind::Sqlite {
            self.conn.execute("PRAGMA secure_delete = ON").await?;
        }
        for (whose, sealed, clear) in clear {
            let (sql, id) = match whose {
                Whose::Hook(id) => ("UPDATE hooks SET secret = $1 WHERE id = $2 AND secret = $3", id.to_string()),
                Whose::Source(id) => ("UPDATE sources SET secret = $1 WHERE id = $2 AND secret = $3", id.to_string()),
                Whose::Credential(id) => {
                    ("UPDATE sources SET credential = $1 WHERE id = $2 AND credential = $3", id.to_string())
                }
            };
            sqlx::query(sql).bind(sealed).bind(id).bind(clear).execute(&mut *self.conn).await?;
        }
        if kind == Kind::Sqlite {
            self.conn.execute("PRAGMA secure_delete = OFF").await?;
        }
        Ok(())
    }
}

impl Db {
    /// Returns all secrets that the server itself uses, as they are kept.
    pub async fn kept_secrets(&self) -> Result<Vec<(Whose, String)>> {
        let sql = "SELECT id, secret FROM hooks ORDER BY id";
        let hooks: Vec<(String, String)> = sqlx::query_as(sql).fetch_all(self.reader()).await?;
        let sql = "SELECT id, secret, credential FROM sources ORDER BY id";
        let sources: Vec<(String, String, Option<String>)> = sqlx::query_as(sql).fetch_all(self.reader()).await?;
        let mut all = vec![];
        for (id, secret) in hooks {
            all.push((Whose::Hook(text(&id)?), secret));
        }
        for (id, secret, credential) in sources {
            let id = text(&id)?;
            all.push((Whose::Source(id), secret));
            all.extend(credential.map(|credential| (Whose::Credential(id), credential)));
        }
        Ok(all)
    }

    /// Moves all of SQLite's write-ahead log into the database, so that nothing that was written over is left in it.
    pub async fn empty_log(&self) -> Result<()> {
        if self.kind == Kind::Sqlite {
            sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(self.reader()).await?;
        }
        Ok(())
    }
}
