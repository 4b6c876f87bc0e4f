//! Schedules made, changed, and kept.

use futures_util::FutureExt as _;
use kiln_farm_api::schedule::{NewSchedule, Schedule};
use kiln_farm_api::{ScheduleId, SourceId};
use uuid::Uuid;

use crate::decide::push::is_branch;
use crate::decide::schedule::{Times, Turn};
use crate::error::{Error, Result};
use crate::farm::Farm;

/// Most schedules of a source.
const MOST: usize = 20;

impl Farm {
    pub async fn make_schedule(&self, source: SourceId, new: NewSchedule, by: &str) -> Result<Schedule> {
        let NewSchedule { branch, cron, zone } = new;
        if !is_branch(&branch) {
            return Err(Error::bad(format!("`{}` is no branch", branch.escape_debug())));
        }
        if self.db.schedules(source).await?.len() >= MOST {
            return Err(Error::conflict(format!("a source has {MOST} schedules at most")));
        }
        let now = self.now();
        let next = Some(next(&cron, &zone, now)?);
        let id = ScheduleId(Uuid::now_v7());
        let schedule = Schedule { id, branch, cron, zone, enabled: true, created: now, next, last: None };
        let (kept, by) = (schedule.clone(), by.to_owned());
        self.db
            .write(move |tx| {
                async move {
                    tx.make_schedule(source, &kept).await?;
                    tx.note(now, &by, "make schedule", &source.to_string()).await
                }
                .boxed()
            })
            .await?;
        Ok(schedule)
    }

    pub async fn drop_schedule(&self, source: SourceId, id: ScheduleId, by: &str) -> Result<()> {
        let (now, by) = (self.now(), by.to_owned());
        self.db
            .write(move |tx| {
                async move {
                    tx.drop_schedule(source, id).await?;
                    tx.note(now, &by, "drop schedule", &source.to_string()).await
                }
                .boxed()
            })
            .await
    }

    /// Lets a schedule build from now on, or not any more. What it missed meanwhile is not made up for.
    pub async fn enable_schedule(&self, source: SourceId, id: ScheduleId, enabled: bool, by: &str) -> Result<()> {
        let found = self.db.schedules(source).await?.into_iter().find(|schedule| schedule.id == id);
        let schedule = found.ok_or_else(|| Error::missing("schedule", id))?;
        let (now, by) = (self.now(), by.to_owned());
        let next = if enabled { Some(next(&schedule.cron, &schedule.zone, now)?) } else { None };
        self.db
            .write(move |tx| {
                async move {
                    tx.enable_schedule(source, id, enabled, next).await?;
                    tx.note(now, &by, if enabled { "enable schedule" } else { "disable schedule" }, &source.to_string())
                        .await
                }
                .boxed()
            })
            .await
    }
}

/// Returns when a schedule builds first.
pub(crate) fn next(cron: &str, zone: &str, now: i64) -> Result<i64> {
    let times = Times::read(cron, zone).map_err(Error::bad)?;
    times.after(now).ok_or_else(|| Error::bad(format!("`{cron}` never comes")))
}

/// Lets those build whose time has come.
pub async fn keep(farm: &Farm) -> Result<()> {
    let now = farm.now();
    for due in farm.db.due_schedules(now).await? {
        let Turn::Build { next } = turn(due.id, (&due.cron, &due.zone), due.next, now) else { continue };
        farm.db.write(move |tx| async move { tx.fire(&due, next, now).await }.boxed()).await?;
    }
    Ok(())
}

/// Decides about a schedule that was to build at `next`.
pub(crate) fn turn(id: ScheduleId, (cron, zone): (&str, &str), next: i64, now: i64) -> Turn {
    match Times::read(cron, zone) {
        Ok(times) => times.turn(next, now),
        // The server knew the time zone once.
        Err(why) => {
            tracing::error!("schedule {id} stops: {why}");
            Turn::Build { next: None }
        }
    }
}
