//! Submits builds of projects again when their time comes: what was sent once, without asking whoever sent it.
//!
//! A schedule names a build, and means the newest one called so, whatever became of it; the gc leaves that one alone. In one
//! transaction the schedule goes on to its next time and the build is there, so of several servers one submits, and a server that
//! dies leaves both undone.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use kiln_farm_api::schedule::{NewRepeat, Repeat};
use kiln_farm_api::{Build, Name, Order, ScheduleId, Submission, Task, UserId};
use uuid::Uuid;

use crate::db::builds::Fresh;
use crate::db::holders::Holder;
use crate::db::repeats::{DueRepeat, no_build};
use crate::decide::schedule::Turn;
use crate::error::{Error, Result, chain};
use crate::farm::Farm;
use crate::sources::schedule::{next, turn};

/// How often there is a look at what is due.
const TICK: Duration = Duration::from_millis(500);
/// How long one is left alone that could not be looked after.
const REST: Duration = Duration::from_secs(60);
/// Most schedules of a project.
const MOST: usize = 100;

impl Farm {
    /// Lets a project's newest build of a name be submitted at times, as a build of `owner`.
    pub async fn make_repeat(&self, project: Name, new: NewRepeat, owner: UserId, by: &Name) -> Result<Repeat> {
        let NewRepeat { name, keep_lock, cron, zone } = new;
        if self.db.repeats(&project).await?.len() >= MOST {
            return Err(Error::conflict(format!("a project has {MOST} schedules at most")));
        }
        let (now, by) = (self.now(), by.clone());
        let repeat = Repeat {
            id: ScheduleId(Uuid::now_v7()),
            name,
            owner: by.clone(),
            keep_lock,
            next: Some(next(&cron, &zone, now)?),
            cron,
            zone,
            enabled: true,
            created: now,
            last: None,
            build: None,
            error: None,
            hint: None,
        };
        let kept = repeat.clone();
        self.db
            .write(move |tx| {
                async move {
                    tx.make_repeat(&project, owner, &kept).await?;
                    tx.note(now, by.as_str(), "make schedule", &format!("of `{}` in {project}", kept.name)).await
                }
                .boxed()
            })
            .await?;
        Ok(repeat)
    }

    pub async fn drop_repeat(&self, project: Name, id: ScheduleId, by: &str) -> Result<()> {
        let (now, by) = (self.now(), by.to_owned());
        self.db
            .write(move |tx| {
                async move {
                    tx.drop_repeat(&project, id).await?;
                    tx.note(now, &by, "drop schedule", &format!("{id} of {project}")).await
                }
                .boxed()
            })
            .await
    }

    /// Lets a schedule submit from now on, or not any more. What it missed meanwhile is not made up for.
    pub async fn enable_repeat(&self, project: Name, id: ScheduleId, enabled: bool, by: &str) -> Result<()> {
        let found = self.db.repeats(&project).await?.into_iter().find(|repeat| repeat.id == id);
        let repeat = found.ok_or_else(|| Error::missing("schedule", id))?;
        let (now, by) = (self.now(), by.to_owned());
        let next = if enabled { Some(next(&repeat.cron, &repeat.zone, now)?) } else { None };
        let what = if enabled { "enable schedule" } else { "disable schedule" };
        self.db
            .write(move |tx| {
                async move {
                    tx.enable_repeat(&project, id, enabled, next).await?;
                    tx.note(now, &by, what, &format!("{id} of {project}")).await
                }
                .boxed()
            })
            .await
    }
}

/// Submits what is due until the farm ends.
pub async fn run(farm: Farm) {
    let mut resting: HashMap<ScheduleId, Instant> = HashMap::new();
    loop {
        tokio::time::sleep(TICK).await;
        resting.retain(|_, until| *until > Instant::now());
        match farm.db.due_repeats(farm.now()).await {
            Ok(due) => {
                for due in due {
                    if resting.contains_key(&due.id) {
                        continue;
                    }
                    if let Err(error) = keep(&farm, &due).await {
                        tracing::error!("schedule {} of `{}`: {}", due.id, due.project, chain(&error));
                        resting.insert(due.id, Instant::now() + REST);
                    }
                }
            }
            Err(error) => tracing::error!("look at schedules: {}", chain(&error)),
        }
    }
}

/// Lets one submit whose time has come.
async fn keep(farm: &Farm, due: &DueRepeat) -> Result<()> {
    let (now, terms) = (farm.now(), farm.terms);
    let Turn::Build { next } = turn(due.id, (&due.cron, &due.zone), due.next, now) else { return Ok(()) };
    let submitted = match again(farm, due).await {
        Ok(fresh) => Ok(fresh),
        // Somebody has to do something about it; what only fails now is tried again with the next look.
        Err(Error::Refused(problem)) if problem.status < 500 => Err(problem),
        Err(error) => return Err(error),
    };
    let due = due.clone();
    farm.db.write(move |tx| async move { tx.repeat(&due, next, submitted, now, terms).await }.boxed()).await?;
    farm.dispatch.wake();
    Ok(())
}

/// Returns the build that a schedule submits now.
async fn again(farm: &Farm, due: &DueRepeat) -> Result<Fresh> {
    let DueRepeat { project, name, owner, .. } = due;
    if !farm.may_build(owner, project).await? {
        let why = format!("`{owner}`, whose schedule it is, may not build for `{project}` any more");
        return Err(Error::forbidden(why).hint("somebody who may makes the schedule anew"));
    }
    // They would queue up while there is no node, for the packages of one day.
    if let Some(last) = due.build
        && !farm.db.build(last, farm.now()).await?.state.is_final()
    {
        let why = format!("the build of its last time, {last}, has not ended yet");
        return Err(Error::conflict(why).hint("it submits again at its next time"));
    }
    let newest = farm.db.newest_build(project, name).await?.ok_or_else(|| no_build(project, name))?;
    let build = farm.db.build(newest, farm.now()).await?;
    farm.fresh(submission(build, due.keep_lock), owner.as_str(), Holder::Server).await
}

/// Returns what submits a build again. What goes before everybody else's is for people to decide each time.
fn submission(build: Build, keep_lock: bool) -> Submission {
    let Build { project, name, priority, tasks, .. } = build;
    let order = |task: Task| Order { work: task.order.work.updated(!keep_lock), ..task.order };
    let tasks = tasks.into_iter().map(order).collect();
    Submission { project, name, priority: priority.min(0), tasks, once: None }
}
