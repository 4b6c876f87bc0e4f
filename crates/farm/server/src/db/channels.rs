//! Which tasks a channel of Redis hears of, and which server tells it.

use kiln_farm_api::{BuildId, TaskId};

use super::tasks::text;
use super::{Db, Tx};
use crate::error::Result;

/// A task that a channel hears of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub task: TaskId,
    pub build: BuildId,
    pub channel: String,
}

/// Nobody tells it any more: it has been told.
const OVER: i64 = i64::MAX;

impl Db {
    /// Returns the tasks that were begun, or ended before, and that nobody tells of now.
    pub async fn untold(&self, now: i64) -> Result<Vec<Heard>> {
        let sql = "SELECT id, build, channel FROM tasks WHERE channel <> '' AND telling <= $1 \
                   AND state NOT IN ('waiting', 'queued') ORDER BY id LIMIT 100";
        let rows: Vec<(String, String, String)> = sqlx::query_as(sql).bind(now).fetch_all(self.reader()).await?;
        let heard = |(task, build, channel): (String, String, String)| {
            Ok(Heard { task: text(&task)?, build: text(&build)?, channel })
        };
        rows.into_iter().map(heard).collect()
    }
}

impl Tx {
    /// Makes a server the one that tells of a task until then; false: another one is.
    pub async fn claim(&mut self, task: TaskId, server: &str, now: i64, until: i64) -> Result<bool> {
        let sql = "UPDATE tasks SET teller = $1, telling = $2 WHERE id = $3 AND (telling <= $4 OR (teller = $1 AND telling < $5))";
        let query = sqlx::query(sql).bind(server.to_owned()).bind(until).bind(task.to_string()).bind(now).bind(OVER);
        Ok(query.execute(&mut *self.conn).await?.rows_affected() == 1)
    }

    /// Notes that all of a task was told.
    pub async fn told_all(&mut self, task: TaskId, server: &str) -> Result<()> {
        let sql = "UPDATE tasks SET telling = $1 WHERE id = $2 AND teller = $3 AND state NOT IN ('waiting', 'queued', 'running')";
        let query = sqlx::query(sql).bind(OVER).bind(task.to_string()).bind(server.to_owned());
        query.execute(&mut *self.conn).await?;
        Ok(())
    }
}
