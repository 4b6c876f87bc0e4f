//! Schedules by which projects submit builds again; of several servers that see one due, one submits.

use kiln_farm_api::schedule::Repeat;
use kiln_farm_api::{BuildId, Name, Problem, ScheduleId, UserId};
use sqlx::FromRow;

use super::builds::Fresh;
use super::tasks::text;
use super::{Db, Tx};
use crate::decide::Terms;
use crate::error::{Error, Result};

#[derive(Clone, Debug, FromRow)]
struct Row {
    id: String,
    name: String,
    owner_name: String,
    keep_lock: i64,
    cron: String,
    zone: String,
    enabled: i64,
    created: i64,
    next: Option<i64>,
    last: Option<i64>,
    build: Option<String>,
    error: Option<String>,
    hint: Option<String>,
}

impl Row {
    fn shown(self) -> Result<Repeat> {
        Ok(Repeat {
            id: text(&self.id)?,
            name: self.name,
            owner: text(&self.owner_name)?,
            keep_lock: self.keep_lock != 0,
            cron: self.cron,
            zone: self.zone,
            enabled: self.enabled != 0,
            created: self.created,
            next: self.next,
            last: self.last,
            build: self.build.as_deref().map(text).transpose()?,
            error: self.error,
            hint: self.hint,
        })
    }
}

/// One whose time has come.
#[derive(Clone, Debug)]
pub struct DueRepeat {
    pub id: ScheduleId,
    pub project: Name,
    pub name: String,
    pub owner: Name,
    pub keep_lock: bool,
    pub cron: String,
    pub zone: String,
    pub next: i64,
    /// What it submitted last, if that is still there.
    pub build: Option<BuildId>,
}

impl Tx {
    pub async fn make_repeat(&mut self, project: &Name, owner: UserId, repeat: &Repeat) -> Result<()> {
        let sql = "INSERT INTO repeats (id, project, owner, name, keep_lock, cron, zone, enabled, created, next) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
        sqlx::query(sql)
            .bind(repeat.id.to_string())
            .bind(project.as_str().to_owned())
            .bind(owner.to_string())
            .bind(repeat.name.clone())
            .bind(i64::from(repeat.keep_lock))
            .bind(repeat.cron.clone())
            .bind(repeat.zone.clone())
            .bind(i64::from(repeat.enabled))
            .bind(repeat.created)
            .bind(repeat.next)
            .execute(&mut *self.conn)
            .await?;
        // From here on the newest build of the name stays; before, a gc may have come.
        let sql = "SELECT count(*) FROM builds WHERE project = $1 AND name = $2";
        let query = sqlx::query_scalar::<_, i64>(sql).bind(project.as_str().to_owned()).bind(repeat.name.clone());
        if query.fetch_one(&mut *self.conn).await? == 0 {
            return Err(no_build(project, &repeat.name));
        }
        Ok(())
    }

    pub async fn drop_repeat(&mut self, project: &Name, id: ScheduleId) -> Result<()> {
        let sql = "DELETE FROM repeats WHERE id = $1 AND project = $2";
        let query = sqlx::query(sql).bind(id.to_string()).bind(project.as_str().to_owned());
        found(query.execute(&mut *self.conn).await?.rows_affected(), id)
    }

    /// Lets one submit, next at that time, or lets it rest.
    pub async fn enable_repeat(
        &mut self,
        project: &Name,
        id: ScheduleId,
        enabled: bool,
        next: Option<i64>,
    ) -> Result<()> {
        let sql = "UPDATE repeats SET enabled = $1, next = $2 WHERE id = $3 AND project = $4";
        let query = sqlx::query(sql).bind(i64::from(enabled)).bind(next);
        let query = query.bind(id.to_string()).bind(project.as_str().to_owned());
        found(query.execute(&mut *self.conn).await?.rows_affected(), id)
    }

    /// Submits what one is to submit now, or notes why it cannot, and lets it submit then at `next`; false: somebody else did so already.
    pub async fn repeat(
        &mut self,
        due: &DueRepeat,
        next: Option<i64>,
        submitted: Result<Fresh, Problem>,
        now: i64,
        terms: Terms,
    ) -> Result<bool> {
        let sql = "UPDATE repeats SET next = $1, last = $2, error = $3, hint = $4 WHERE id = $5 AND next = $6 AND enabled = 1";
        let problem = submitted.as_ref().err();
        let query = sqlx::query(sql).bind(next).bind(now).bind(problem.map(|problem| problem.title.clone()));
        let query = query.bind(problem.and_then(|problem| problem.hint.clone()));
        let query = query.bind(due.id.to_string()).bind(due.next);
        if query.execute(&mut *self.conn).await?.rows_affected() == 0 {
            return Ok(false);
        }
        if let Ok(fresh) = submitted {
            let build = self.submit(fresh, now, terms).await?;
            let sql = "UPDATE repeats SET build = $1 WHERE id = $2";
            let query = sqlx::query(sql).bind(build.to_string()).bind(due.id.to_string());
            query.execute(&mut *self.conn).await?;
        }
        Ok(true)
    }
}

fn found(rows: u64, id: ScheduleId) -> Result<()> {
    if rows == 0 { Err(Error::missing("schedule", id)) } else { Ok(()) }
}

/// Says that there is nothing to submit again.
pub fn no_build(project: &Name, name: &str) -> Error {
    let why = format!("`{project}` has no build called `{}`", name.escape_debug());
    Error::conflict(why).hint("submit it once: `kiln submit`, or on the page")
}

impl Db {
    pub async fn repeats(&self, project: &Name) -> Result<Vec<Repeat>> {
        let sql = "SELECT repeats.id, repeats.name, users.name AS owner_name, keep_lock, cron, zone, enabled, repeats.created, next, last, \
                   build, error, hint FROM repeats JOIN users ON users.id = repeats.owner WHERE project = $1 ORDER BY repeats.id";
        let query = sqlx::query_as::<_, Row>(sql).bind(project.as_str().to_owned());
        query.fetch_all(self.reader()).await?.into_iter().map(Row::shown).collect()
    }

    /// Returns those whose time has come.
    pub async fn due_repeats(&self, now: i64) -> Result<Vec<DueRepeat>> {
        let sql = "SELECT repeats.id, project, repeats.name, users.name, keep_lock, cron, zone, next, build FROM repeats \
                   JOIN users ON users.id = repeats.owner WHERE enabled = 1 AND next <= $1 ORDER BY next LIMIT 100";
        type Row = (String, String, String, String, i64, String, String, i64, Option<String>);
        let rows: Vec<Row> = sqlx::query_as(sql).bind(now).fetch_all(self.reader()).await?;
        let one = |(id, project, name, owner, keep_lock, cron, zone, next, build): Row| {
            let (id, project, owner) = (text(&id)?, text(&project)?, text(&owner)?);
            let build = build.as_deref().map(text).transpose()?;
            Ok(DueRepeat { id, project, name, owner, keep_lock: keep_lock != 0, cron, zone, next, build })
        };
        rows.into_iter().map(one).collect()
    }
}
