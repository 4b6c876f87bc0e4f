//! Hooks, and the outbox of what they are to be told: written in the transaction of what happened, so neither is without the other.

use std::collections::BTreeSet;

use kiln_farm_api::hook::{Delivery, DeliveryState, Hook, HookEvent, Notice, NoticeTask};
use kiln_farm_api::{BuildId, DeliveryId, HookId, Name};
use sqlx::FromRow;
use uuid::Uuid;

use super::builds::state;
use super::tasks::{json, text, to_json, word};
use super::{Db, Tx};
use crate::decide::deliver::{Outcome, Verdict};
use crate::error::{Error, Result};

/// A delivery whose turn it is.
#[derive(Clone, Debug)]
pub struct Due {
    pub id: DeliveryId,
    pub hook: HookId,
    pub event: String,
    pub body: String,
    pub attempts: u32,
    pub url: String,
    /// Sealed.
    pub secret: String,
}

#[derive(Clone, Debug, FromRow)]
struct Row {
    id: String,
    event: String,
    body: String,
    created: i64,
    state: String,
    attempts: i64,
    not_before: i64,
    ended: Option<i64>,
    status: Option<i64>,
    error: Option<String>,
}

impl Row {
    fn shown(&self) -> Result<Delivery> {
        let state: DeliveryState = word(&self.state)?;
        Ok(Delivery {
            id: text(&self.id)?,
            event: word(&self.event)?,
            body: self.body.clone(),
            created: self.created,
            state,
            attempts: self.attempts as u32,
            next: (state == DeliveryState::Waiting).then_some(self.not_before),
            ended: self.ended,
            status: self.status.map(|status| status as u16),
            error: self.error.clone(),
        })
    }
}

impl Tx {
    /// Makes a hook with a secret that is sealed.
    pub async fn make_hook(&mut self, project: &Name, hook: &Hook, secret: &str) -> Result<()> {
        let sql =
            "INSERT INTO hooks (id, project, url, secret, events, created, last) VALUES ($1, $2, $3, $4, $5, $6, 0)";
        sqlx::query(sql)
            .bind(hook.id.to_string())
            .bind(project.as_str().to_owned())
            .bind(hook.url.clone())
            .bind(secret.to_owned())
            .bind(to_json(&hook.events))
            .bind(hook.created)
            .execute(&mut *self.conn)
            .await?;
        Ok(())
    }

    /// Removes a hook with what it was not told yet.
    pub async fn drop_hook(&mut self, project: &Name, hook: HookId) -> Result<()> {
        let sql = "DELETE FROM hooks WHERE id = $1 AND project = $2";
        let query = sqlx::query(sql).bind(hook.to_string()).bind(project.as_str().to_owned());
        match query.execute(&mut *self.conn).await?.rows_affected() {
            0 => Err(Error::missing("hook", hook)),
            _ => Ok(()),
        }
    }

    /// Lets the hooks of a build's project be told of something.
    pub async fn announce(
        &mut self,
        build: BuildId,
        event: HookEvent,
        task: Option<NoticeTask>,
        now: i64,
    ) -> Result<()> {
        let sql = "SELECT builds.project, builds.name, builds.submitter, builds.state, hooks.id, hooks.events \
                   FROM builds JOIN hooks ON hooks.project = builds.project WHERE builds.id = $1 ORDER BY hooks.id";
        let rows: Vec<(String, String, String, String, String, String)> =
            sqlx::query_as(sql).bind(build.to_string()).fetch_all(&mut *self.conn).await?;
        for (project, name, by, build_state, hook, events) in rows {
            let wanted: BTreeSet<HookEvent> = json(&events)?;
            if wanted.contains(&event) {
                let (project, build_state) = (text(&project)?, state(&build_state)?);
                let notice = Notice { event, at: now, project, build, name, by, build_state, task: task.clone() };
                self.post(text(&hook)?, event, to_json(&notice), now).await?;
            }
        }
        Ok(())
    }

    /// Puts a delivery at the end of a hook's queue.
    async fn post(&mut self, hook: HookId, event: HookEvent, body: String, now: i64) -> Result<DeliveryId> {
        // Whoever else has something to tell it waits here, so numbers are in the order in which others see them.
        let sql = "UPDATE hooks SET last = last + 1 WHERE id = $1 RETURNING last";
        let number: i64 = sqlx::query_scalar(sql).bind(hook.to_string()).fetch_one(&mut *self.conn).await?;
        let id = DeliveryId(Uuid::now_v7());
        let sql = "INSERT INTO deliveries (id, hook, number, event, body, created, state, attempts, not_before) \
                   VALUES ($1, $2, $3, $4, $5, $6, 'waiting', 0, 0)";
        sqlx::query(sql)
            .bind(id.to_string())
            .bind(hook.to_string())
            .bind(number)
            .bind(event.name())
            .bind(body)
            .bind(now)
            .execute(&mut *self.conn)
            .await?;
        Ok(id)
    }

    /// Delivers what was delivered, or given up, once more: the same body, at the end of its hook's queue.
    pub async fn redeliver(&mut self, project: &Name, hook: HookId, id: DeliveryId, now: i64) -> Result<DeliveryId> {
        let sql = "SELECT event, body FROM deliveries JOIN hooks ON hooks.id = deliveries.hook \
                   WHERE deliveries.id = $1 AND hooks.id = $2 AND hooks.project = $3";
        let query = sqlx::query_as(sql).bind(id.to_string()).bind(hook.to_string()).bind(project.as_str().to_owned());
        let row: Option<(String, String)> = query.fetch_optional(&mut *self.conn).await?;
        let (event, body) = row.ok_or_else(|| Error::missing("delivery", id))?;
        self.post(hook, word(&event)?, body, now).await
    }

    /// Takes a delivery for an attempt that ends before `until`; false: somebody else has it.
    pub async fn take_delivery(&mut self, due: &Due, until: i64) -> Result<bool> {
        let sql = "UPDATE deliveries SET attempts = attempts + 1, not_before = $1 \
                   WHERE id = $2 AND attempts = $3 AND state = 'waiting'";
        let query = sqlx::query(sql).bind(until).bind(due.id.to_string()).bind(i64::from(due.attempts));
        Ok(query.execute(&mut *self.conn).await?.rows_affected() == 1)
    }

    /// Notes what came of the `attempts`th attempt.
    pub async fn delivered(
        &mut self,
        id: DeliveryId,
        attempts: u32,
        outcome: &Outcome,
        verdict: Verdict,
        now: i64,
    ) -> Result<()> {
        let (state, not_before, ended) = match verdict {
            Verdict::Delivered => (DeliveryState::Delivered, 0, Some(now)),
            Verdict::Again(then) => (DeliveryState::Waiting, then, None),
            Verdict::GivenUp => (DeliveryState::GivenUp, 0, Some(now)),
        };
        let (status, error) = match outcome {
            Outcome::Answered(status) => (Some(i64::from(*status)), None),
            Outcome::Failed(why) => (None, Some(why.clone())),
        };
        let sql = "UPDATE deliveries SET state = $1, not_before = $2, ended = $3, status = $4, error = $5 \
                   WHERE id = $6 AND attempts = $7 AND state = 'waiting'";
        sqlx::query(sql)
            .bind(state.name())
            .bind(not_before)
            .bind(ended)
            .bind(status)
            .bind(error)
            .bind(id.to_string())
            .bind(i64::from(attempts))
            .execute(&mut *self.conn)
            .await?;
        Ok(())
    }

    /// Forgets deliveries that ended before then.
    pub async fn forget_deliveries(&mut self, before: i64) -> Result<()> {
        sqlx::query("DELETE FROM deliveries WHERE ended < $1").bind(before).execute(&mut *self.conn).await?;
        Ok(())
    }
}

impl Db {
    /// Returns a project's hooks without their secrets.
    pub async fn hooks(&self, project: &Name) -> Result<Vec<Hook>> {
        let sql = "SELECT id, url, events, created FROM hooks WHERE project = $1 ORDER BY id";
        let rows: Vec<(String, String, String, i64)> =
            sqlx::query_as(sql).bind(project.as_str().to_owned()).fetch_all(self.reader()).await?;
        let one = |(id, url, events, created): (String, String, String, i64)| {
            Ok(Hook { id: text(&id)?, url, events: json(&events)?, created, secret: None })
        };
        rows.into_iter().map(one).collect()
    }

    /// Returns a hook's last deliveries, the newest first.
    pub async fn deliveries(&self, project: &Name, hook: HookId, limit: u32) -> Result<Vec<Delivery>> {
        if !self.hooks(project).await?.iter().any(|known| known.id == hook) {
            return Err(Error::missing("hook", hook));
        }
        let sql = "SELECT id, event, body, created, state, attempts, not_before, ended, status, error FROM deliveries \
                   WHERE hook = $1 ORDER BY number DESC LIMIT $2";
        let query = sqlx::query_as(sql).bind(hook.to_string()).bind(i64::from(limit));
        let rows: Vec<Row> = query.fetch_all(self.reader()).await?;
        rows.iter().map(Row::shown).collect()
    }

    /// Returns the next delivery of each hook, where it is time for it: behind one that waits all of its hook wait.
    pub async fn due(&self, now: i64) -> Result<Vec<Due>> {
        let sql = "SELECT deliveries.id, hook, event, body, attempts, url, secret FROM deliveries \
                   JOIN hooks ON hooks.id = deliveries.hook WHERE state = 'waiting' AND not_before <= $1 AND number = \
                   (SELECT min(number) FROM deliveries AS first WHERE first.hook = deliveries.hook AND first.state = 'waiting')";
        let rows: Vec<(String, String, String, String, i64, String, String)> =
            sqlx::query_as(sql).bind(now).fetch_all(self.reader()).await?;
        let one =
            |(id, hook, event, body, attempts, url, secret): (String, String, String, String, i64, String, String)| {
                Ok(Due { id: text(&id)?, hook: text(&hook)?, event, body, attempts: attempts as u32, url, secret })
            };
        rows.into_iter().map(one).collect()
    }
}
