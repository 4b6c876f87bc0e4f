//! Builds: made, looked at, cancelled, tried again.

use std::collections::BTreeMap;

use kiln_farm_api::{
    Build, BuildId, BuildState, Builds, FarmEvent, Name, NodeId, Stored, Submission, TaskId, TaskState,
};
use sqlx::FromRow;

use super::holders::Holder;
use super::log::{Said, like};
use super::tasks::{Row as TaskRow, task_columns, text, to_json, word};
use super::{Db, Tx};
use crate::decide::{Change, Terms, estimate};
use crate::error::{Error, Result};

/// What takes about as long each time: a project, a build's name, a task's name.
type Kind = (String, String, String);

#[derive(Clone, Debug, FromRow)]
struct Row {
    id: String,
    project: String,
    name: String,
    priority: i64,
    submitter: String,
    state: String,
    created: i64,
    began: Option<i64>,
    ended: Option<i64>,
    events: i64,
    pinned: i64,
}

macro_rules! build_columns {
    () => {
        "id, project, name, priority, submitter, state, created, began, ended, events, pinned"
    };
}

pub(super) fn state(name: &str) -> Result<BuildState> {
    word(name)
}

impl Row {
    fn shown(&self) -> Result<Build> {
        Ok(Build {
            id: text(&self.id)?,
            project: text(&self.project)?,
            name: self.name.clone(),
            priority: self.priority as i32,
            by: self.submitter.clone(),
            state: state(&self.state)?,
            created: self.created,
            began: self.began,
            ended: self.ended,
            tasks: vec![],
            artifacts: vec![],
            events: self.events as u64,
            pinned: self.pinned != 0,
        })
    }
}

/// Which builds are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub project: Option<Name>,
    pub state: Option<BuildState>,
    /// A part of the name, whatever its case.
    pub search: Option<String>,
    pub before: Option<BuildId>,
    pub limit: u32,
    /// Only of these projects; none: of all.
    pub projects: Option<Vec<Name>>,
}

/// A build that is to be made; the ids of its tasks in their order.
#[derive(Clone, Debug)]
pub struct Fresh {
    pub id: BuildId,
    pub tasks: Vec<TaskId>,
    pub submission: Submission,
    pub by: String,
}

impl Tx {
    /// Makes a build, or returns the one that was made for the same word of the client's.
    pub async fn submit(&mut self, fresh: Fresh, now: i64, terms: Terms) -> Result<BuildId> {
        let Fresh { id, tasks, submission, by } = fresh;
        let sql = "INSERT INTO builds (id, project, name, priority, submitter, state, created, events, once) \
                   VALUES ($1, $2, $3, $4, $5, 'queued', $6, 0, $7) ON CONFLICT (project, once) DO NOTHING";
        let made = sqlx::query(sql)
            .bind(id.to_string())
            .bind(submission.project.as_str().to_owned())
            .bind(submission.name.clone())
            .bind(i64::from(submission.priority))
            .bind(by.clone())
            .bind(now)
            .bind(submission.once.clone())
            .execute(&mut *self.conn)
            .await?;
        if made.rows_affected() == 0 {
            let sql = "SELECT id FROM builds WHERE project = $1 AND once = $2";
            let query = sqlx::query_scalar::<_, String>(sql).bind(submission.project.as_str().to_owned());
            return text(&query.bind(submission.once).fetch_one(&mut *self.conn).await?);
        }
        self.tell(id, vec![Said::farm(now, None, FarmEvent::Submitted { by })]).await?;
        for (number, (task, order)) in tasks.iter().zip(&submission.tasks).enumerate() {
            if let Some(channel) = &order.channel {
                self.own_channel(channel, &submission.project).await?;
            }
            let sql = "INSERT INTO tasks (id, build, number, name, project, priority, work, needs, arch, capabilities, attempts, \
                       state, epoch, losses, queued, not_before, stopping, told, lasts, channel) \
                       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 0, 0, $13, 0, 0, 0, $14, $15)";
            sqlx::query(sql)
                .bind(task.to_string())
                .bind(id.to_string())
                .bind(number as i64)
                .bind(order.name.as_str().to_owned())
                .bind(submission.project.as_str().to_owned())
                .bind(i64::from(submission.priority))
                .bind(to_json(&order.work))
                .bind(to_json(&order.needs))
                .bind(order.arch.map_or("", |arch| arch.debian()).to_owned())
                .bind(to_json(&order.capabilities))
                .bind(i64::from(order.attempts.unwrap_or(terms.attempts).clamp(1, 100)))
                .bind(if order.needs.is_empty() { "queued" } else { "waiting" })
                .bind(now)
                .bind(terms.lasts(order.timeout))
                .bind(order.channel.clone().unwrap_or_default())
                .execute(&mut *self.conn)
                .await?;
            for input in order.work.inputs() {
                self.need(*task, input, now).await?;
            }
        }
        Ok(id)
    }

    /// Cancels what has not ended: what runs is stopped by its node, the rest ends here. Returns whether there was anything of that.
    pub async fn cancel(&mut self, build: BuildId, by: &str, now: i64) -> Result<bool> {
        let rows = self.tasks_of(build).await?;
        if rows.is_empty() {
            return Err(Error::missing("build", build));
        }
        let open: Vec<TaskRow> =
            rows.into_iter().filter(|row| ["waiting", "queued", "running"].contains(&row.state.as_str())).collect();
        if open.is_empty() {
            return Ok(false);
        }
        self.tell(build, vec![Said::farm(now, None, FarmEvent::CancelAsked { by: by.to_owned() })]).await?;
        let mut ends = vec![];
        for row in &open {
            if row.state == "running" {
                let sql = "UPDATE tasks SET stopping = 1 WHERE id = $1 AND state = 'running'";
                sqlx::query(sql).bind(&row.id).execute(&mut *self.conn).await?;
                continue;
            }
            let (task, epoch) = (text(&row.id)?, row.epoch as u64);
            ends.push(Change::End { task, epoch, state: TaskState::Cancelled, failure: None });
        }
        self.apply(ends, now).await.map(|_| true)
    }

    /// Lets the tasks that came to rest without being done run again.
    pub async fn retry(&mut self, build: BuildId, by: String, now: i64) -> Result<()> {
        let rows = self.tasks_of(build).await?;
        let bad: Vec<&TaskRow> = rows
            .iter()
            .filter(|row| ["failed", "parked", "cancelled", "skipped"].contains(&row.state.as_str()))
            .collect();
        if bad.is_empty() {
            let why =
                format!("nothing of build `{build}` is to be done again: no task failed, was parked or cancelled");
            return Err(Error::conflict(why));
        }
        // First the build, so that nothing that follows finds it ended.
        let sql = "UPDATE builds SET state = 'running', ended = NULL WHERE id = $1";
        sqlx::query(sql).bind(build.to_string()).execute(&mut *self.conn).await?;
        for row in bad {
            let sql = "UPDATE tasks SET state = 'waiting', losses = 0, not_before = 0, ended = NULL, fault = NULL, message = NULL, \
                       hint = NULL, telling = 0, story = 0 WHERE id = $1";
            sqlx::query(sql).bind(&row.id).execute(&mut *self.conn).await?;
            let task = Some((text(&row.id)?, row.epoch as u64));
            let event = FarmEvent::TaskAgain { task_name: text(&row.name)?, by: by.clone() };
            self.tell(build, vec![Said::farm(now, task, event)]).await?;
        }
        self.settle(build, now).await.map(drop)
    }

    /// Notes what a task made, in place of what it made before; `node` has it.
    pub async fn stored(
        &mut self,
        (build, task): (BuildId, TaskId),
        node: NodeId,
        artifacts: &[Stored],
        now: i64,
    ) -> Result<()> {
        let sql = "DELETE FROM artifacts WHERE task = $1";
        sqlx::query(sql).bind(task.to_string()).execute(&mut *self.conn).await?;
        for artifact in artifacts {
            let known = self.may_name(Holder::Node(node), artifact.sha256).await?;
            if !known || self.want(artifact.sha256, now).await? != Some(artifact.size) {
                let why =
                    format!("`{}` is not uploaded: there is no blob {} of its size", artifact.name, artifact.sha256);
                return Err(Error::conflict(why));
            }
            let sql = "INSERT INTO artifacts (build, task, name, size, sha256) VALUES ($1, $2, $3, $4, $5)";
            sqlx::query(sql)
                .bind(build.to_string())
                .bind(task.to_string())
                .bind(artifact.name.clone())
                .bind(artifact.size as i64)
                .bind(artifact.sha256.to_string())
                .execute(&mut *self.conn)
                .await?;
        }
        Ok(())
    }
}

impl Db {
    /// Returns a build with its tasks and what it made.
    pub async fn build(&self, id: BuildId, now: i64) -> Result<Build> {
        let sql = concat!("SELECT ", build_columns!(), " FROM builds WHERE id = $1");
        let row: Option<Row> = sqlx::query_as(sql).bind(id.to_string()).fetch_optional(self.reader()).await?;
        let mut build = row.ok_or_else(|| Error::missing("build", id))?.shown()?;
        let sql = concat!("SELECT ", task_columns!(), " FROM tasks WHERE build = $1 ORDER BY number");
        let rows: Vec<TaskRow> = sqlx::query_as(sql).bind(id.to_string()).fetch_all(self.reader()).await?;
        build.tasks = rows.iter().map(TaskRow::shown).collect::<Result<_>>()?;
        build.artifacts = self.artifacts(id).await?;
        if build.tasks.iter().any(|task| task.state == TaskState::Queued) {
            self.foretell(&mut build, now).await?;
        }
        Ok(build)
    }

    async fn artifacts(&self, id: BuildId) -> Result<Vec<Stored>> {
        let sql = "SELECT name, size, sha256, task FROM artifacts WHERE build = $1 ORDER BY name";
        let rows: Vec<(String, i64, String, String)> =
            sqlx::query_as(sql).bind(id.to_string()).fetch_all(self.reader()).await?;
        let one = |(name, size, sha256, task): (String, i64, String, String)| {
            Ok(Stored { name, size: size as u64, sha256: text(&sha256)?, task: Some(text(&task)?) })
        };
        rows.into_iter().map(one).collect()
    }

    /// Returns one artifact of a build: of the named task's, or the only one of its name.
    pub async fn artifact(&self, id: BuildId, name: &str, task: Option<TaskId>) -> Result<Stored> {
        let here = |artifact: &Stored| artifact.name == name && (task.is_none() || artifact.task == task);
        let mut found = self.artifacts(id).await?.into_iter().filter(here);
        match (found.next(), found.next()) {
            (None, _) => Err(Error::missing("artifact", name)),
            (Some(one), None) => Ok(one),
            (Some(_), Some(_)) => Err(Error::conflict(format!("several tasks of this build made a `{name}`"))
                .hint("say which: `?task=` and the task's id")),
        }
    }

    /// Returns the project of a build.
    pub async fn project_of(&self, id: BuildId) -> Result<Name> {
        let sql = "SELECT project FROM builds WHERE id = $1";
        let name: Option<String> = sqlx::query_scalar(sql).bind(id.to_string()).fetch_optional(self.reader()).await?;
        text(&name.ok_or_else(|| Error::missing("build", id))?)
    }

    /// Returns the last build of this name in a project that was done before another one was submitted.
    pub async fn build_before(&self, project: &Name, name: &str, before: BuildId) -> Result<Option<BuildId>> {
        let sql = "SELECT id FROM builds WHERE project = $1 AND name = $2 AND state = 'done' AND id < $3 ORDER BY id DESC LIMIT 1";
        let query = sqlx::query_scalar::<_, String>(sql).bind(project.as_str().to_owned()).bind(name.to_owned());
        let found = query.bind(before.to_string()).fetch_optional(self.reader()).await?;
        found.as_deref().map(text).transpose()
    }

    /// Returns the newest build of this name in a project, whatever became of it.
    pub async fn newest_build(&self, project: &Name, name: &str) -> Result<Option<BuildId>> {
        let sql = "SELECT id FROM builds WHERE project = $1 AND name = $2 ORDER BY id DESC LIMIT 1";
        let query = sqlx::query_scalar::<_, String>(sql).bind(project.as_str().to_owned()).bind(name.to_owned());
        query.fetch_optional(self.reader()).await?.as_deref().map(text).transpose()
    }

    /// Returns a page of builds, the newest first.
    pub async fn builds(&self, wanted: &Wanted) -> Result<Builds> {
        let sql = concat!(
            "SELECT ",
            build_columns!(),
            " FROM builds WHERE id < $1 AND (project = $2 OR $2 = '') AND (state = $3 OR $3 = '') \
             AND lower(name) LIKE $4 ESCAPE '\\' AND ($5 = '' OR $5 LIKE '%,' || replace(project, '_', '\\_') || ',%' ESCAPE '\\') ORDER BY id DESC LIMIT $6"
        );
        // Ids begin with the time of their making, and none begins with a `g`.
        let before = wanted.before.map_or("g".to_owned(), |id| id.to_string());
        let projects = wanted.projects.as_ref();
        let projects =
            projects.map(|names| format!(",{},", names.iter().map(Name::as_str).collect::<Vec<_>>().join(",")));
        let rows: Vec<Row> = sqlx::query_as(sql)
            .bind(before)
            .bind(wanted.project.as_ref().map_or("", Name::as_str).to_owned())
            .bind(wanted.state.map_or("", BuildState::name).to_owned())
            .bind(format!("%{}%", like(wanted.search.as_deref().unwrap_or_default())))
            .bind(projects.unwrap_or_default())
            .bind(i64::from(wanted.limit))
            .fetch_all(self.reader())
            .await?;
        let builds = rows.iter().map(Row::shown).collect::<Result<Vec<_>>>()?;
        let before = builds.last().filter(|_| builds.len() == wanted.limit as usize).map(|build| build.id);
        Ok(Builds { builds, before })
    }

    /// Returns the queue, in the order of priority and age.
    pub async fn queue(&self) -> Result<Vec<kiln_farm_api::Task>> {
        let sql = concat!(
            "SELECT ",
            task_columns!(),
            " FROM tasks WHERE state = 'queued' ORDER BY priority DESC, queued, id LIMIT 1000"
        );
        let rows: Vec<TaskRow> = sqlx::query_as(sql).fetch_all(self.reader()).await?;
        rows.iter().map(TaskRow::shown).collect()
    }

    /// Says of queued tasks where they stand and when they may begin and end.
    async fn foretell(&self, build: &mut Build, now: i64) -> Result<()> {
        let queue = self.queue().await?;
        let takes = self.durations().await?;
        let fallback = takes.values().sum::<i64>().checked_div(takes.len() as i64).unwrap_or(0);
        let usual = |kind: &Kind| takes.get(kind).copied().unwrap_or(fallback);
        let running = self.kinds("running").await?;
        let left: Vec<i64> =
            running.iter().map(|(_, kind, began)| usual(kind) - (now - began.unwrap_or(now))).collect();
        let slots: u32 = self
            .nodes(now)
            .await?
            .iter()
            .filter(|node| node.state == kiln_farm_api::NodeState::Ready)
            .filter_map(|node| node.resources.as_ref())
            .map(|resources| resources.slots)
            .sum();
        let free = slots.saturating_sub(left.len() as u32);
        let kinds: BTreeMap<String, Kind> =
            self.kinds("queued").await?.into_iter().map(|(id, kind, _)| (id, kind)).collect();
        let times: Vec<i64> =
            queue.iter().map(|task| kinds.get(&task.id.to_string()).map_or(fallback, usual)).collect();
        let expected = estimate::estimate(&left, free, &times, now);
        for task in &mut build.tasks {
            if let Some(at) = queue.iter().position(|queued| queued.id == task.id) {
                task.position = Some(at as u64);
                // Without one task that ended there is nothing to judge by.
                task.expected = expected[at].filter(|_| !takes.is_empty());
            }
        }
        Ok(())
    }

    /// Returns the tasks of a state: what kind each is of, and when it began.
    async fn kinds(&self, state: &'static str) -> Result<Vec<(String, Kind, Option<i64>)>> {
        let sql = "SELECT tasks.id, tasks.project, builds.name, tasks.name, tasks.began FROM tasks \
                   JOIN builds ON builds.id = tasks.build WHERE tasks.state = $1";
        let rows: Vec<(String, String, String, String, Option<i64>)> =
            sqlx::query_as(sql).bind(state).fetch_all(self.reader()).await?;
        Ok(rows.into_iter().map(|(id, project, build, name, began)| (id, (project, build, name), began)).collect())
    }

    /// Returns how long tasks of each kind took of late, milliseconds.
    async fn durations(&self) -> Result<BTreeMap<Kind, i64>> {
        let sql = "SELECT tasks.project, builds.name, tasks.name, tasks.ended - tasks.began FROM tasks \
                   JOIN builds ON builds.id = tasks.build WHERE tasks.state = 'done' AND tasks.began IS NOT NULL \
                   ORDER BY tasks.id DESC LIMIT 500";
        let rows: Vec<(String, String, String, i64)> = sqlx::query_as(sql).fetch_all(self.reader()).await?;
        let mut all: BTreeMap<Kind, Vec<i64>> = BTreeMap::new();
        rows.into_iter()
            .for_each(|(project, build, name, took)| all.entry((project, build, name)).or_default().push(took));
        let mean = |took: Vec<i64>| took.iter().sum::<i64>() / took.len() as i64;
        Ok(all.into_iter().map(|(key, took)| (key, mean(took))).collect())
    }
}
