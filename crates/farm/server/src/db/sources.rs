//! Sources, and what they were told: a word that comes twice is one row.

use kiln_farm_api::source::{Origin, Push, PushState, PushedRecipe, Source};
use kiln_farm_api::{Name, PushId, SourceId, UserId};
use sqlx::FromRow;
use uuid::Uuid;

use super::tasks::{json, text, to_json, word};
use super::{Db, Tx};
use crate::error::{Error, Result};

/// A source with what opens it, which is sealed.
#[derive(Clone)]
pub struct Kept {
    pub source: Source,
    pub project: Name,
    pub owner: UserId,
    pub secret: String,
    pub credential: Option<String>,
}

/// A push that is to be made.
#[derive(Clone, Debug)]
pub struct Fresh {
    pub origin: Origin,
    pub branch: String,
    pub commit: Option<String>,
    pub base: Option<String>,
    /// The same for what is the same.
    pub once: String,
}

/// A push whose turn it is.
#[derive(Clone, Debug)]
pub struct Due {
    pub id: PushId,
    pub source: SourceId,
    pub origin: Origin,
    pub branch: String,
    pub commit: Option<String>,
    pub base: Option<String>,
    pub attempts: u32,
}

/// What came of looking at a push.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub commit: Option<String>,
    pub error: Option<String>,
    pub hint: Option<String>,
    pub recipes: Vec<PushedRecipe>,
}

#[derive(Clone, Debug, FromRow)]
struct SourceRow {
    id: String,
    project: String,
    owner: String,
    owner_name: String,
    url: String,
    branches: String,
    recipes: String,
    secret: String,
    credential: Option<String>,
    created: i64,
}

impl SourceRow {
    fn kept(self) -> Result<Kept> {
        let source = Source {
            id: text(&self.id)?,
            url: self.url,
            branches: json(&self.branches)?,
            recipes: json(&self.recipes)?,
            owner: text(&self.owner_name)?,
            created: self.created,
            credential: self.credential.is_some(),
            secret: None,
        };
        let (project, owner) = (text(&self.project)?, text(&self.owner)?);
        Ok(Kept { source, project, owner, secret: self.secret, credential: self.credential })
    }
}

#[derive(Clone, Debug, FromRow)]
struct PushRow {
    id: String,
    origin: String,
    branch: String,
    sha: Option<String>,
    created: i64,
    state: String,
    attempts: i64,
    not_before: i64,
    ended: Option<i64>,
    error: Option<String>,
    hint: Option<String>,
    recipes: String,
}

impl PushRow {
    fn shown(self) -> Result<Push> {
        let state: PushState = word(&self.state)?;
        Ok(Push {
            id: text(&self.id)?,
            origin: word(&self.origin)?,
            branch: self.branch,
            commit: self.sha,
            created: self.created,
            state,
            attempts: self.attempts as u32,
            next: (state == PushState::Waiting && self.not_before > 0).then_some(self.not_before),
            ended: self.ended,
            error: self.error,
            hint: self.hint,
            recipes: json(&self.recipes)?,
        })
    }
}

impl Tx {
    pub async fn make_source(&mut self, kept: &Kept) -> Result<()> {
        let sql = "INSERT INTO sources (id, project, owner, url, branches, recipes, secret, credential, created) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        let source = &kept.source;
        sqlx::query(sql)
            .bind(source.id.to_string())
            .bind(kept.project.as_str().to_owned())
            .bind(kept.owner.to_string())
            .bind(source.url.clone())
            .bind(to_json(&source.branches))
            .bind(to_json(&source.recipes))
            .bind(kept.secret.clone())
            .bind(kept.credential.clone())
            .bind(source.created)
            .execute(&mut *self.conn)
            .await?;
        Ok(())
    }

    /// Removes a source with all it was told.
    pub async fn drop_source(&mut self, project: &Name, source: SourceId) -> Result<()> {
        let sql = "DELETE FROM sources WHERE id = $1 AND project = $2";
        let query = sqlx::query(sql).bind(source.to_string()).bind(project.as_str().to_owned());
        match query.execute(&mut *self.conn).await?.rows_affected() {
            0 => Err(Error::missing("source", source)),
            _ => Ok(()),
        }
    }

    /// Notes what a source is told, and returns what it is known by; whether it is new.
    pub async fn push(&mut self, source: SourceId, fresh: Fresh, now: i64) -> Result<(PushId, bool)> {
        let id = PushId(Uuid::now_v7());
        let sql = "INSERT INTO pushes (id, source, origin, branch, sha, base, once, created, state, attempts, not_before, recipes) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'waiting', 0, 0, '[]') ON CONFLICT (source, once) DO NOTHING";
        let made = sqlx::query(sql)
            .bind(id.to_string())
            .bind(source.to_string())
            .bind(fresh.origin.name())
            .bind(fresh.branch)
            .bind(fresh.commit)
            .bind(fresh.base)
            .bind(fresh.once.clone())
            .bind(now)
            .execute(&mut *self.conn)
            .await?;
        if made.rows_affected() == 1 {
            return Ok((id, true));
        }
        // What failed is tried again when the forge says it again.
        let sql = "UPDATE pushes SET state = 'waiting', attempts = 0, not_before = 0, ended = NULL, error = NULL, hint = NULL \
                   WHERE source = $1 AND once = $2 AND state = 'failed' AND recipes = '[]'";
        let again = sqlx::query(sql).bind(source.to_string()).bind(fresh.once.clone()).execute(&mut *self.conn).await?;
        let again = again.rows_affected() == 1;
        let sql = "SELECT id FROM pushes WHERE source = $1 AND once = $2";
        let query = sqlx::query_scalar::<_, String>(sql).bind(source.to_string()).bind(fresh.once);
        Ok((text(&query.fetch_one(&mut *self.conn).await?)?, again))
    }

    /// Takes a push for an attempt that ends before `until`; false: somebody else has it.
    pub async fn take_push(&mut self, due: &Due, until: i64) -> Result<bool> {
        let sql = "UPDATE pushes SET attempts = attempts + 1, not_before = $1 \
                   WHERE id = $2 AND attempts = $3 AND state = 'waiting'";
        let query = sqlx::query(sql).bind(until).bind(due.id.to_string()).bind(i64::from(due.attempts));
        Ok(query.execute(&mut *self.conn).await?.rows_affected() == 1)
    }

    /// Notes what came of the attempt; `again`: when it is made once more.
    pub async fn pushed(&mut self, due: &Due, seen: Seen, again: Option<i64>, now: i64) -> Result<()> {
        let Seen { commit, error, hint, recipes } = seen;
        let well = error.is_none() && recipes.iter().all(|recipe| recipe.build.is_some());
        let state = match again {
            Some(_) => PushState::Waiting,
            None if well => PushState::Done,
            None => PushState::Failed,
        };
        let sql = "UPDATE pushes SET state = $1, not_before = $2, ended = $3, sha = coalesce($4, sha), error = $5, hint = $6, \
                   recipes = $7 WHERE id = $8 AND attempts = $9 AND state = 'waiting'";
        sqlx::query(sql)
            .bind(state.name())
            .bind(again.unwrap_or(0))
            .bind(again.is_none().then_some(now))
            .bind(commit)
            .bind(error)
            .bind(hint)
            .bind(to_json(&recipes))
            .bind(due.id.to_string())
            .bind(i64::from(due.attempts + 1))
            .execute(&mut *self.conn)
            .await?;
        Ok(())
    }

    /// Forgets what ended before then: but for what a forge might say again.
    pub async fn forget_pushes(&mut self, before: i64) -> Result<()> {
        let sql = "DELETE FROM pushes WHERE ended < $1 AND origin <> 'push'";
        sqlx::query(sql).bind(before).execute(&mut *self.conn).await?;
        Ok(())
    }
}

macro_rules! sources {
    ($which:literal) => {
        concat!(
            "SELECT sources.id, project, owner, users.name AS owner_name, url, branches, recipes, secret, credential, \
             sources.created FROM sources JOIN users ON users.id = sources.owner WHERE ",
            $which
        )
    };
}

impl Db {
    /// Returns a project's sources without what opens them.
    pub async fn sources(&self, project: &Name) -> Result<Vec<Source>> {
        let query = sqlx::query_as::<_, SourceRow>(sources!("project = $1 ORDER BY sources.id"));
        let rows = query.bind(project.as_str().to_owned()).fetch_all(self.reader()).await?;
        rows.into_iter().map(|row| Ok(row.kept()?.source)).collect()
    }

    pub async fn source(&self, id: SourceId) -> Result<Kept> {
        let query = sqlx::query_as::<_, SourceRow>(sources!("sources.id = $1")).bind(id.to_string());
        query.fetch_optional(self.reader()).await?.ok_or_else(|| Error::missing("source", id))?.kept()
    }

    /// Returns a source of a project.
    pub async fn source_of(&self, project: &Name, id: SourceId) -> Result<Kept> {
        let kept = self.source(id).await?;
        if kept.project == *project { Ok(kept) } else { Err(Error::missing("source", id)) }
    }

    /// Returns what a source was told last, the newest first.
    pub async fn pushes(&self, source: SourceId, limit: u32) -> Result<Vec<Push>> {
        let sql = "SELECT id, origin, branch, sha, created, state, attempts, not_before, ended, error, hint, recipes FROM pushes \
                   WHERE source = $1 ORDER BY id DESC LIMIT $2";
        let query = sqlx::query_as::<_, PushRow>(sql).bind(source.to_string()).bind(i64::from(limit));
        query.fetch_all(self.reader()).await?.into_iter().map(PushRow::shown).collect()
    }

    /// Returns the pushes that are to be looked at, the oldest first.
    pub async fn due_pushes(&self, now: i64, limit: u32) -> Result<Vec<Due>> {
        let sql = "SELECT id, source, origin, branch, sha, base, attempts FROM pushes \
                   WHERE state = 'waiting' AND not_before <= $1 ORDER BY id LIMIT $2";
        type Row = (String, String, String, String, Option<String>, Option<String>, i64);
        let query = sqlx::query_as::<_, Row>(sql).bind(now).bind(i64::from(limit));
        let one = |(id, source, origin, branch, commit, base, attempts): Row| {
            let (id, source, origin) = (text(&id)?, text(&source)?, word(&origin)?);
            Ok(Due { id, source, origin, branch, commit, base, attempts: attempts as u32 })
        };
        query.fetch_all(self.reader()).await?.into_iter().map(one).collect()
    }
}
