//! Makes decided changes, each only if its task still is as it was seen.

use kiln_farm_api::hook::{HookEvent, NoticeTask};
use kiln_farm_api::{BuildId, BuildState, FarmEvent, Name, NodeId, TaskId, TaskState};
use sqlx::any::AnyQueryResult;

use super::Tx;
use super::log::Said;
use super::tasks::{fault, text};
use crate::decide::{Change, Reason, settle};
use crate::error::Result;

/// What became of a change.
type Made = Result<bool>;

impl Tx {
    /// Makes changes and what follows from them; returns those that were still true.
    pub async fn apply(&mut self, changes: Vec<Change>, now: i64) -> Result<Vec<Change>> {
        let mut made = vec![];
        let mut unsettled = vec![];
        for change in changes {
            if self.make(&change, now).await? {
                unsettled.extend(self.unsettled(&change).await?);
                made.push(change);
            }
        }
        for build in unsettled {
            made.extend(self.settle(build, now).await?);
        }
        Ok(made)
    }

    /// Lets what follows in a build happen.
    pub async fn settle(&mut self, build: BuildId, now: i64) -> Result<Vec<Change>> {
        // Whoever changes another task of this build meanwhile waits here, and then sees both.
        let sql = "UPDATE builds SET events = events WHERE id = $1";
        sqlx::query(sql).bind(build.to_string()).execute(&mut *self.conn).await?;
        let follows = settle::settle(build, self.siblings(build).await?);
        for change in &follows {
            self.make(change, now).await?;
        }
        Ok(follows)
    }

    /// Returns the build that a change may have let go on.
    async fn unsettled(&mut self, change: &Change) -> Result<Option<BuildId>> {
        match change {
            Change::End { task, .. } => Ok(Some(text(&self.task(*task).await?.build)?)),
            _ => Ok(None),
        }
    }

    async fn make(&mut self, change: &Change, now: i64) -> Made {
        match change {
            Change::Lease { task, epoch, node, until } => self.lease_to(*task, *epoch, *node, *until, now).await,
            Change::Renew { task, epoch, until } => {
                let sql = "UPDATE tasks SET until = $1 WHERE id = $2 AND epoch = $3 AND state = 'running'";
                let query = sqlx::query(sql).bind(*until).bind(task.to_string()).bind(*epoch as i64);
                Ok(one(query.execute(&mut *self.conn).await?))
            }
            Change::Queue { task } => {
                let sql = "UPDATE tasks SET state = 'queued', queued = $1 WHERE id = $2 AND state = 'waiting'";
                let query = sqlx::query(sql).bind(now).bind(task.to_string());
                Ok(one(query.execute(&mut *self.conn).await?))
            }
            Change::Again { task, epoch, not_before, reason } => {
                self.again(*task, *epoch, *not_before, reason, now).await
            }
            Change::End { .. } => self.end(change, now).await,
            Change::EndBuild { build, state } => self.end_build(*build, *state, now).await,
        }
    }

    async fn lease_to(&mut self, task: TaskId, epoch: u64, node: NodeId, until: i64, now: i64) -> Made {
        let sql = "UPDATE tasks SET state = 'running', epoch = epoch + 1, node = $1, until = $2, began = $3, told = 0, stopping = 0, \
                   ended = NULL, fault = NULL, message = NULL, hint = NULL WHERE id = $4 AND epoch = $5 AND state = 'queued'";
        let query = sqlx::query(sql).bind(node.to_string()).bind(until).bind(now);
        if !one(query.bind(task.to_string()).bind(epoch as i64).execute(&mut *self.conn).await?) {
            return Ok(false);
        }
        let row = self.task(task).await?;
        let build: BuildId = text(&row.build)?;
        let sql = "UPDATE builds SET state = 'running', began = coalesce(began, $1) WHERE id = $2";
        sqlx::query(sql).bind(now).bind(&row.build).execute(&mut *self.conn).await?;
        let (task_name, node_name) = (text(&row.name)?, self.node_name(node).await?);
        let event = FarmEvent::TaskLeased { task_name, node, node_name };
        self.tell(build, vec![Said::farm(now, Some((task, epoch + 1)), event)]).await?;
        Ok(true)
    }

    async fn again(&mut self, task: TaskId, epoch: u64, not_before: i64, reason: &Reason, now: i64) -> Made {
        let row = self.task(task).await?;
        let sql = "UPDATE tasks SET state = 'queued', losses = losses + $1, not_before = $2, until = NULL, stopping = 0 \
                   WHERE id = $3 AND epoch = $4 AND state = 'running'";
        let loss = i64::from(*reason != Reason::Left);
        let query = sqlx::query(sql).bind(loss).bind(not_before).bind(task.to_string()).bind(epoch as i64);
        if !one(query.execute(&mut *self.conn).await?) {
            return Ok(false);
        }
        let task_name: Name = text(&row.name)?;
        let event = match (reason, row.node()?) {
            (Reason::Lost, Some(node)) => FarmEvent::TaskLost { task_name, node_name: self.node_name(node).await? },
            (Reason::Failed(failure), _) => {
                let reason = Some(failure.message.clone());
                FarmEvent::TaskEnded { task_name, state: TaskState::Queued, reason }
            }
            (Reason::Left, Some(node)) => FarmEvent::TaskLeft { task_name, node_name: self.node_name(node).await? },
            (Reason::Lost | Reason::Left, None) => return Ok(true),
        };
        self.tell(text(&row.build)?, vec![Said::farm(now, Some((task, epoch)), event)]).await?;
        Ok(true)
    }

    async fn end(&mut self, change: &Change, now: i64) -> Made {
        let Change::End { task, epoch, state, failure } = change else { return Ok(false) };
        let sql = "UPDATE tasks SET state = $1, ended = $2, fault = $3, message = $4, hint = $5, until = NULL, stopping = 0 \
                   WHERE id = $6 AND epoch = $7 AND state IN ('waiting', 'queued', 'running')";
        let query = sqlx::query(sql)
            .bind(state.name())
            .bind(now)
            .bind(failure.as_ref().map(|failure| fault(failure.fault)))
            .bind(failure.as_ref().map(|failure| plain(&failure.message)))
            .bind(failure.as_ref().and_then(|failure| failure.hint.as_deref().map(plain)))
            .bind(task.to_string())
            .bind(*epoch as i64);
        if !one(query.execute(&mut *self.conn).await?) {
            return Ok(false);
        }
        let row = self.task(*task).await?;
        let reason = failure.as_ref().map(|failure| failure.message.clone());
        let (build, task_name): (BuildId, Name) = (text(&row.build)?, text(&row.name)?);
        let notice = NoticeTask { id: *task, name: task_name.clone(), state: *state, reason: reason.clone() };
        let event = FarmEvent::TaskEnded { task_name, state: *state, reason };
        self.tell(build, vec![Said::farm(now, Some((*task, *epoch)), event)]).await?;
        self.announce(build, HookEvent::TaskEnded, Some(notice), now).await?;
        Ok(true)
    }

    async fn end_build(&mut self, build: BuildId, state: BuildState, now: i64) -> Made {
        let sql = "UPDATE builds SET state = $1, ended = $2 WHERE id = $3 AND state IN ('queued', 'running')";
        let query = sqlx::query(sql).bind(state.name()).bind(now).bind(build.to_string());
        if !one(query.execute(&mut *self.conn).await?) {
            return Ok(false);
        }
        self.tell(build, vec![Said::farm(now, None, FarmEvent::BuildEnded { state })]).await?;
        self.announce(build, HookEvent::BuildEnded, None, now).await?;
        Ok(true)
    }

    async fn node_name(&mut self, node: NodeId) -> Result<Name> {
        let sql = "SELECT name FROM nodes WHERE id = $1";
        let name: Option<String> =
            sqlx::query_scalar(sql).bind(node.to_string()).fetch_optional(&mut *self.conn).await?;
        text(name.as_deref().unwrap_or("forgotten"))
    }
}

/// Returns a text as every database takes it: PostgreSQL has no NUL.
pub(crate) fn plain(text: &str) -> String {
    text.replace('\0', "")
}

fn one(result: AnyQueryResult) -> bool {
    result.rows_affected() == 1
}
