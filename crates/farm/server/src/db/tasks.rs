//! Tasks as rows, and as what decisions look at.

use std::collections::BTreeMap;

use kiln_farm_api::task::Failure;
use kiln_farm_api::{BuildId, Holding, Name, NodeId, Order, Stored, TaskId, TaskState, Work};
use kiln_model::{Arch, FaultKind};
use serde::de::DeserializeOwned;
use sqlx::FromRow;

use super::Tx;
use crate::decide::assign::Share;
use crate::decide::settle::Sibling;
use crate::decide::{State, Task};
use crate::error::{Error, Result};

/// A task's row.
#[derive(Clone, Debug, FromRow)]
pub struct Row {
    pub id: String,
    pub build: String,
    pub name: String,
    pub project: String,
    pub priority: i64,
    pub work: String,
    pub needs: String,
    pub arch: String,
    pub capabilities: String,
    pub attempts: i64,
    pub state: String,
    pub epoch: i64,
    pub losses: i64,
    pub lasts: i64,
    pub channel: String,
    pub queued: i64,
    pub node: Option<String>,
    pub until: Option<i64>,
    pub stopping: i64,
    pub told: i64,
    pub began: Option<i64>,
    pub ended: Option<i64>,
    pub fault: Option<String>,
    pub message: Option<String>,
    pub hint: Option<String>,
}

macro_rules! task_columns {
    () => {
        "id, build, name, project, priority, work, needs, arch, capabilities, attempts, state, epoch, losses, lasts, channel, queued, node, until, \
         stopping, told, began, ended, fault, message, hint"
    };
}
pub(super) use task_columns;

/// Reads what the database holds as text.
pub(super) fn text<T: std::str::FromStr>(text: &str) -> Result<T>
where
    T::Err: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    text.parse().map_err(|error: T::Err| Error::failed(format!("read `{text}` in the database"), error))
}

pub(super) fn json<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::failed(format!("read `{text}` in the database"), error))
}

pub(super) fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("it serialises")
}

/// Returns a word that is one of JSON's for an enum.
pub(super) fn word<T: DeserializeOwned>(word: &str) -> Result<T> {
    json(&format!("\"{word}\""))
}

fn state(name: &str) -> Result<TaskState> {
    word(name)
}

impl Row {
    /// Returns it as decisions see it.
    pub fn task(&self) -> Result<Task> {
        let running = |node: &Option<String>| -> Result<State> {
            let node = text(node.as_deref().unwrap_or_default())?;
            Ok(State::Running { node, until: self.until.unwrap_or(0), stopping: self.stopping != 0 })
        };
        Ok(Task {
            id: text(&self.id)?,
            build: text(&self.build)?,
            name: text(&self.name)?,
            project: text(&self.project)?,
            priority: self.priority,
            arch: self.arch()?,
            capabilities: json(&self.capabilities)?,
            attempts: self.attempts as u32,
            epoch: self.epoch as u64,
            losses: self.losses as u32,
            timeout: if self.lasts == 0 { i64::MAX } else { self.lasts },
            began: self.began.unwrap_or(0),
            queued: self.queued,
            state: match state(&self.state)? {
                TaskState::Waiting => State::Waiting,
                TaskState::Queued => State::Queued,
                TaskState::Running => running(&self.node)?,
                ended => State::Ended(ended),
            },
        })
    }

    pub fn node(&self) -> Result<Option<NodeId>> {
        self.node.as_deref().map(text).transpose()
    }

    pub fn build(&self) -> Result<BuildId> {
        text(&self.build)
    }

    pub fn project(&self) -> Result<Name> {
        text(&self.project)
    }

    pub fn work(&self) -> Result<Work> {
        json(&self.work)
    }

    fn arch(&self) -> Result<Option<Arch>> {
        (!self.arch.is_empty()).then(|| word(&self.arch)).transpose()
    }

    /// Returns it as the API shows it.
    pub fn shown(&self) -> Result<kiln_farm_api::Task> {
        let failure = match (&self.fault, &self.message) {
            (Some(fault), Some(message)) => {
                Some(Failure { fault: word(fault)?, message: message.clone(), hint: self.hint.clone() })
            }
            _ => None,
        };
        Ok(kiln_farm_api::Task {
            id: text(&self.id)?,
            build: text(&self.build)?,
            order: Order {
                name: text(&self.name)?,
                work: self.work()?,
                needs: json(&self.needs)?,
                arch: self.arch()?,
                capabilities: json(&self.capabilities)?,
                attempts: Some(self.attempts as u32),
                timeout: (self.lasts != 0).then(|| self.lasts as u64 / 1000),
                channel: Some(self.channel.clone()).filter(|channel| !channel.is_empty()),
            },
            state: state(&self.state)?,
            epoch: self.epoch as u64,
            node: self.node()?,
            failure,
            began: self.began,
            ended: self.ended,
            position: None,
            expected: None,
        })
    }
}

/// Returns a fault's word.
pub(super) fn fault(kind: FaultKind) -> String {
    to_json(&kind).trim_matches('"').to_owned()
}

impl Tx {
    pub async fn task(&mut self, id: TaskId) -> Result<Row> {
        let sql = concat!("SELECT ", task_columns!(), " FROM tasks WHERE id = $1");
        let row = sqlx::query_as(sql).bind(id.to_string()).fetch_optional(&mut *self.conn).await?;
        row.ok_or_else(|| Error::missing("task", id))
    }

    /// Returns the tasks of a build, in the order of its submission.
    pub async fn tasks_of(&mut self, build: BuildId) -> Result<Vec<Row>> {
        let sql = concat!("SELECT ", task_columns!(), " FROM tasks WHERE build = $1 ORDER BY number");
        Ok(sqlx::query_as(sql).bind(build.to_string()).fetch_all(&mut *self.conn).await?)
    }

    pub async fn siblings(&mut self, build: BuildId) -> Result<Vec<Sibling>> {
        let rows = self.tasks_of(build).await?;
        let one = |row: Row| {
            Ok(Sibling {
                id: text(&row.id)?,
                name: text(&row.name)?,
                needs: json(&row.needs)?,
                state: state(&row.state)?,
                epoch: row.epoch as u64,
            })
        };
        rows.into_iter().map(one).collect()
    }

    /// Returns what the tasks of a build made, by their names.
    pub async fn made(&mut self, build: BuildId) -> Result<Vec<(Name, Stored)>> {
        let sql = "SELECT tasks.name, artifacts.name, artifacts.size, artifacts.sha256 FROM artifacts \
                   JOIN tasks ON tasks.id = artifacts.task WHERE artifacts.build = $1 ORDER BY tasks.name, artifacts.name";
        let rows: Vec<(String, String, i64, String)> =
            sqlx::query_as(sql).bind(build.to_string()).fetch_all(&mut *self.conn).await?;
        let one = |(task, name, size, sha256): (String, String, i64, String)| {
            Ok((text(&task)?, Stored { name, size: size as u64, sha256: text(&sha256)?, task: None }))
        };
        rows.into_iter().map(one).collect()
    }

    /// Returns the tasks a node has.
    pub async fn running_on(&mut self, node: NodeId) -> Result<Vec<Task>> {
        let sql = concat!("SELECT ", task_columns!(), " FROM tasks WHERE node = $1 AND state = 'running' ORDER BY id");
        let rows: Vec<Row> = sqlx::query_as(sql).bind(node.to_string()).fetch_all(&mut *self.conn).await?;
        rows.iter().map(Row::task).collect()
    }

    /// Returns the tasks whose lease is over.
    pub async fn over(&mut self, now: i64) -> Result<Vec<Task>> {
        let sql =
            concat!("SELECT ", task_columns!(), " FROM tasks WHERE state = 'running' AND until <= $1 ORDER BY id");
        let rows: Vec<Row> = sqlx::query_as(sql).bind(now).fetch_all(&mut *self.conn).await?;
        rows.iter().map(Row::task).collect()
    }

    /// Returns the tasks that run for longer than they may.
    pub async fn too_long(&mut self, now: i64) -> Result<Vec<Task>> {
        let sql = concat!(
            "SELECT ",
            task_columns!(),
            " FROM tasks WHERE state = 'running' AND lasts > 0 AND began <= $1 - lasts ORDER BY id"
        );
        let rows: Vec<Row> = sqlx::query_as(sql).bind(now).fetch_all(&mut *self.conn).await?;
        rows.iter().map(Row::task).collect()
    }

    /// Returns what nodes are to stop.
    pub async fn to_stop(&mut self) -> Result<Vec<(NodeId, Holding)>> {
        let sql = "SELECT node, id, epoch FROM tasks WHERE state = 'running' AND stopping = 1 ORDER BY id";
        let rows: Vec<(String, String, i64)> = sqlx::query_as(sql).fetch_all(&mut *self.conn).await?;
        let one = |(node, task, epoch): (String, String, i64)| {
            Ok((text(&node)?, Holding { task: text(&task)?, epoch: epoch as u64 }))
        };
        rows.into_iter().map(one).collect()
    }

    /// Returns tasks that may begin now: of each kind of each project the `limit` that come first.
    pub async fn ready(&mut self, now: i64, limit: u32) -> Result<Vec<Task>> {
        let sql = concat!(
            "SELECT ",
            task_columns!(),
            " FROM (SELECT tasks.*, row_number() OVER \
             (PARTITION BY project, arch, capabilities ORDER BY priority DESC, queued, id) AS turn \
             FROM tasks WHERE state = 'queued' AND not_before <= $1) AS ready WHERE turn <= $2"
        );
        let rows: Vec<Row> = sqlx::query_as(sql).bind(now).bind(i64::from(limit)).fetch_all(&mut *self.conn).await?;
        rows.iter().map(Row::task).collect()
    }

    /// Returns what each project has of the farm.
    pub async fn shares(&mut self) -> Result<BTreeMap<Name, Share>> {
        let sql = "SELECT name, weight, (SELECT count(*) FROM tasks WHERE tasks.project = projects.name AND state = 'running') \
                   FROM projects";
        let rows: Vec<(String, i64, i64)> = sqlx::query_as(sql).fetch_all(&mut *self.conn).await?;
        let share = |(name, weight, running): (String, i64, i64)| {
            Ok((text(&name)?, Share { running: running as u32, weight: weight as u32 }))
        };
        rows.into_iter().map(share).collect()
    }

    /// Notes how far a task's events are taken.
    pub async fn took(&mut self, task: TaskId, told: u64) -> Result<()> {
        let sql = "UPDATE tasks SET told = $1 WHERE id = $2";
        sqlx::query(sql).bind(told as i64).bind(task.to_string()).execute(&mut *self.conn).await?;
        Ok(())
    }

    /// Gives every running task its full lease again, for a server that was away cannot have heard of its node.
    pub async fn forgive(&mut self, until: i64) -> Result<()> {
        let sql = "UPDATE tasks SET until = $1 WHERE state = 'running' AND until < $1";
        sqlx::query(sql).bind(until).execute(&mut *self.conn).await?;
        Ok(())
    }

    /// Returns what a node may be told to begin, for leases it was given.
    pub async fn lease(&mut self, holding: Holding) -> Result<kiln_farm_api::Lease> {
        let row = self.task(holding.task).await?;
        Ok(kiln_farm_api::Lease {
            task: holding.task,
            epoch: holding.epoch,
            build: text(&row.build)?,
            project: text(&row.project)?,
            name: text(&row.name)?,
            work: json(&row.work)?,
        })
    }
}
