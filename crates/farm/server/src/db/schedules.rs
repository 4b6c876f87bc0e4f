//! Schedules of sources; of several servers that see one due, one builds.

use kiln_farm_api::schedule::Schedule;
use kiln_farm_api::source::Origin;
use kiln_farm_api::{ScheduleId, SourceId};

use super::sources::Fresh;
use super::tasks::text;
use super::{Db, Tx};
use crate::error::{Error, Result};

/// A schedule whose time has come.
#[derive(Clone, Debug)]
pub struct DueSchedule {
    pub id: ScheduleId,
    pub source: SourceId,
    pub branch: String,
    pub cron: String,
    pub zone: String,
    pub next: i64,
}

impl Tx {
    pub async fn make_schedule(&mut self, source: SourceId, schedule: &Schedule) -> Result<()> {
        let sql = "INSERT INTO schedules (id, source, branch, cron, zone, enabled, created, next) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        sqlx::query(sql)
            .bind(schedule.id.to_string())
            .bind(source.to_string())
            .bind(schedule.branch.clone())
            .bind(schedule.cron.clone())
            .bind(schedule.zone.clone())
            .bind(i64::from(schedule.enabled))
            .bind(schedule.created)
            .bind(schedule.next)
            .execute(&mut *self.conn)
            .await?;
        Ok(())
    }

    pub async fn drop_schedule(&mut self, source: SourceId, id: ScheduleId) -> Result<()> {
        let sql = "DELETE FROM schedules WHERE id = $1 AND source = $2";
        let query = sqlx::query(sql).bind(id.to_string()).bind(source.to_string());
        found(query.execute(&mut *self.conn).await?.rows_affected(), id)
    }

    /// Lets a schedule build, next at that time, or lets it rest.
    pub async fn enable_schedule(
        &mut self,
        source: SourceId,
        id: ScheduleId,
        enabled: bool,
        next: Option<i64>,
    ) -> Result<()> {
        let sql = "UPDATE schedules SET enabled = $1, next = $2 WHERE id = $3 AND source = $4";
        let query = sqlx::query(sql).bind(i64::from(enabled)).bind(next).bind(id.to_string()).bind(source.to_string());
        found(query.execute(&mut *self.conn).await?.rows_affected(), id)
    }

    /// Lets a schedule build now and then at `next`; false: somebody else did so already.
    pub async fn fire(&mut self, due: &DueSchedule, next: Option<i64>, now: i64) -> Result<bool> {
        let sql = "UPDATE schedules SET next = $1, last = $2 WHERE id = $3 AND next = $4 AND enabled = 1";
        let query = sqlx::query(sql).bind(next).bind(now).bind(due.id.to_string()).bind(due.next);
        if query.execute(&mut *self.conn).await?.rows_affected() == 0 {
            return Ok(false);
        }
        let once = format!("schedule:{}:{}", due.id, due.next);
        let fresh = Fresh { origin: Origin::Schedule, branch: due.branch.clone(), commit: None, base: None, once };
        self.push(due.source, fresh, now).await?;
        Ok(true)
    }
}

fn found(rows: u64, id: ScheduleId) -> Result<()> {
    if rows == 0 { Err(Error::missing("schedule", id)) } else { Ok(()) }
}

impl Db {
    pub async fn schedules(&self, source: SourceId) -> Result<Vec<Schedule>> {
        let sql =
            "SELECT id, branch, cron, zone, enabled, created, next, last FROM schedules WHERE source = $1 ORDER BY id";
        type Row = (String, String, String, String, i64, i64, Option<i64>, Option<i64>);
        let rows: Vec<Row> = sqlx::query_as(sql).bind(source.to_string()).fetch_all(self.reader()).await?;
        let one = |(id, branch, cron, zone, enabled, created, next, last): Row| {
            Ok(Schedule { id: text(&id)?, branch, cron, zone, enabled: enabled != 0, created, next, last })
        };
        rows.into_iter().map(one).collect()
    }

    /// Returns the schedules whose time has come.
    pub async fn due_schedules(&self, now: i64) -> Result<Vec<DueSchedule>> {
        let sql = "SELECT id, source, branch, cron, zone, next FROM schedules WHERE enabled = 1 AND next <= $1 ORDER BY next LIMIT 100";
        type Row = (String, String, String, String, String, i64);
        let rows: Vec<Row> = sqlx::query_as(sql).bind(now).fetch_all(self.reader()).await?;
        let one = |(id, source, branch, cron, zone, next): Row| {
            Ok(DueSchedule { id: text(&id)?, source: text(&source)?, branch, cron, zone, next })
        };
        rows.into_iter().map(one).collect()
    }
}
