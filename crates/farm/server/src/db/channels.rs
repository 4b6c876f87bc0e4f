//! Which tasks a channel of Redis hears of, and which server tells it.

use kiln_farm_api::{BuildId, Name, TaskId};

use super::tasks::text;
use super::{Db, Tx};
use crate::error::{Error, Result};

/// A task that a channel hears of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub task: TaskId,
    pub build: BuildId,
    pub channel: String,
}

/// Nobody tells it any more: it has been told.
const OVER: i64 = i64::MAX;

/// Of the tasks of one channel one is told at a time, to its end, also while it waits for another node: before `task` there is none.
const FIRST: &str = "NOT EXISTS (SELECT 1 FROM tasks AS other WHERE other.channel = task.channel AND other.channel <> '' \
                     AND other.telling < 9223372036854775807 AND (other.story > 0 OR other.state NOT IN ('waiting', 'queued')) \
                     AND (CASE WHEN other.story > 0 THEN 0 ELSE 1 END, other.id) < (CASE WHEN task.story > 0 THEN 0 ELSE 1 END, task.id))";

impl Db {
    /// Returns the tasks that were begun, or ended before, and that nobody tells of now, where it is their turn in their channel.
    pub async fn untold(&self, now: i64) -> Result<Vec<Heard>> {
        let sql = format!(
            "SELECT id, build, channel FROM tasks AS task WHERE channel <> '' AND telling <= $1 \
             AND state NOT IN ('waiting', 'queued') AND {FIRST} ORDER BY id LIMIT 100"
        );
        let query = sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(now);
        let rows: Vec<(String, String, String)> = query.fetch_all(self.reader()).await?;
        let heard = |(task, build, channel): (String, String, String)| {
            Ok(Heard { task: text(&task)?, build: text(&build)?, channel })
        };
        rows.into_iter().map(heard).collect()
    }
}

impl Tx {
    /// Ends what servers before this one said that they tell, where one server alone has the database.
    pub async fn take_over(&mut self) -> Result<()> {
        let sql = "UPDATE tasks SET telling = 0 WHERE channel <> '' AND telling > 0 AND telling < $1";
        sqlx::query(sql).bind(OVER).execute(&mut *self.conn).await?;
        Ok(())
    }

    /// Makes a server the one that tells of a task until then, and returns the number of the task's story, which is greater than those of
    /// the stories before it in its channel; none: another server tells it, or its turn has not come.
    pub async fn claim(&mut self, task: TaskId, server: &str, now: i64, until: i64) -> Result<Option<i64>> {
        let sql = format!(
            "UPDATE tasks AS task SET teller = $1, telling = $2, story = CASE WHEN story > 0 THEN story \
             ELSE (SELECT CASE WHEN MAX(old.story) >= $4 THEN MAX(old.story) + 1 ELSE $4 END FROM tasks AS old \
             WHERE old.channel = task.channel AND old.channel <> '') END \
             WHERE id = $3 AND (telling <= $4 OR (teller = $1 AND telling < $5)) AND {FIRST} RETURNING story"
        );
        let query = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).bind(server.to_owned()).bind(until);
        let query = query.bind(task.to_string()).bind(now).bind(OVER);
        Ok(query.fetch_optional(&mut *self.conn).await?)
    }

    /// Refuses a channel in which builds of another project speak.
    pub(super) async fn own_channel(&mut self, channel: &str, project: &Name) -> Result<()> {
        let sql = "SELECT 1 FROM tasks WHERE channel = $1 AND channel <> '' AND project <> $2 LIMIT 1";
        let query = sqlx::query(sql).bind(channel.to_owned()).bind(project.as_str().to_owned());
        if query.fetch_optional(&mut *self.conn).await?.is_some() {
            let why = format!("builds of another project speak in channel `{channel}`");
            return Err(Error::conflict(why)
                .hint("choose another name: a channel is one project's as long as it has builds of that channel"));
        }
        Ok(())
    }

    /// Notes that all of a task was told.
    pub async fn told_all(&mut self, task: TaskId, server: &str) -> Result<()> {
        let sql = "UPDATE tasks SET telling = $1 WHERE id = $2 AND teller = $3 AND state NOT IN ('waiting', 'queued', 'running')";
        let query = sqlx::query(sql).bind(OVER).bind(task.to_string()).bind(server.to_owned());
        query.execute(&mut *self.conn).await?;
        Ok(())
    }
}
