//! Build logs: entries are numbered in the transaction that writes them, so there is neither gap nor repeat.

use kiln_farm_api::{BuildId, Entry, FarmEvent, Page, TaskId, What};
use kiln_model::EventKind;
use sqlx::AssertSqlSafe;

use super::{Db, Tx};
use crate::error::{Error, Result};
use crate::hub::Told;

/// An entry that has no number yet.
#[derive(Clone, Debug)]
pub struct Said {
    pub at: i64,
    pub task: Option<(TaskId, u64)>,
    pub what: What,
}

impl Said {
    pub fn farm(at: i64, task: Option<(TaskId, u64)>, event: FarmEvent) -> Self {
        Self { at, task, what: What::Farm(event) }
    }
}

/// Which entries of a log are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub after: u64,
    /// Only the last so many.
    pub tail: Option<u64>,
    /// Only those with this text in them, whatever its case.
    pub search: Option<String>,
    pub limit: u64,
}

/// Rows that one INSERT takes; few sizes, so that few statements are prepared.
const SIZES: [usize; 3] = [100, 10, 1];

impl Tx {
    /// Appends to a build's log.
    pub async fn tell(&mut self, build: BuildId, said: Vec<Said>) -> Result<()> {
        if said.is_empty() {
            return Ok(());
        }
        let count = said.len() as i64;
        let last: Option<i64> =
            sqlx::query_scalar("UPDATE builds SET events = events + $1 WHERE id = $2 RETURNING events")
                .bind(count)
                .bind(build.to_string())
                .fetch_optional(&mut *self.conn)
                .await?;
        let first = last.ok_or_else(|| Error::missing("build", build))? - count + 1;
        let numbered = said.into_iter().zip(first as u64..).map(|(said, seq)| {
            let (task, epoch) = said.task.unzip();
            Entry { seq, at: said.at, task, epoch, what: said.what }
        });
        let entries: Vec<Entry> = numbered.collect();
        let mut left = entries.as_slice();
        while let Some(size) = SIZES.into_iter().find(|size| *size <= left.len()) {
            let (now, rest) = left.split_at(size);
            self.insert(build, now).await?;
            left = rest;
        }
        self.told.extend(entries.into_iter().map(|entry| (build, entry)));
        Ok(())
    }

    async fn insert(&mut self, build: BuildId, entries: &[Entry]) -> Result<()> {
        let rows = (0..entries.len()).map(|row| format!("($1, ${}, ${}, ${})", row * 3 + 2, row * 3 + 3, row * 3 + 4));
        let sql = format!("INSERT INTO events (build, seq, kind, body) VALUES {}", rows.collect::<Vec<_>>().join(", "));
        let mut query = sqlx::query(AssertSqlSafe(sql)).bind(build.to_string());
        for entry in entries {
            query = query
                .bind(entry.seq as i64)
                .bind(kind(&entry.what))
                .bind(serde_json::to_string(entry).expect("entries serialise"));
        }
        query.execute(&mut *self.conn).await?;
        Ok(())
    }
}

impl Db {
    /// Returns entries of a log as they are stored, in order.
    pub async fn told(&self, build: BuildId, wanted: &Wanted) -> Result<Vec<Told>> {
        let search = wanted.search.as_ref().map(|text| format!("%{}%", like(text)));
        let sql = match (&search, wanted.tail) {
            (None, None) => "SELECT seq, body FROM events WHERE build = $1 AND seq > $2 ORDER BY seq LIMIT $3",
            (None, Some(_)) => "SELECT seq, body FROM events WHERE build = $1 AND seq > $2 ORDER BY seq DESC LIMIT $3",
            (Some(_), None) => {
                "SELECT seq, body FROM events WHERE build = $1 AND seq > $2 AND lower(body) LIKE $4 ESCAPE '\\' \
                 ORDER BY seq LIMIT $3"
            }
            (Some(_), Some(_)) => {
                "SELECT seq, body FROM events WHERE build = $1 AND seq > $2 AND lower(body) LIKE $4 ESCAPE '\\' \
                 ORDER BY seq DESC LIMIT $3"
            }
        };
        let limit = wanted.tail.map_or(wanted.limit, |tail| tail.min(wanted.limit));
        let mut query = sqlx::query_as::<_, (i64, String)>(sql)
            .bind(build.to_string())
            .bind(wanted.after as i64)
            .bind(limit as i64);
        if let Some(search) = &search {
            query = query.bind(search);
        }
        let rows = query.fetch_all(self.reader()).await?;
        let mut told: Vec<Told> =
            rows.into_iter().map(|(seq, body)| Told { seq: seq as u64, json: body.into() }).collect();
        if wanted.tail.is_some() {
            told.reverse();
        }
        Ok(told)
    }

    /// Returns the entries that are neither lines of output nor progress: what a build is made of.
    pub async fn steps(&self, build: BuildId) -> Result<Vec<Entry>> {
        let sql = "SELECT body FROM events WHERE build = $1 AND kind = 'step' ORDER BY seq";
        let rows: Vec<String> = sqlx::query_scalar(sql).bind(build.to_string()).fetch_all(self.reader()).await?;
        rows.iter().map(|body| super::tasks::json(body)).collect()
    }

    /// Returns entries of a log with how it stands.
    pub async fn page(&self, build: BuildId, wanted: &Wanted) -> Result<Page> {
        // How it stands first: what is written meanwhile is in the entries, or comes after `last`.
        let (last, ended) = self.standing(build).await?;
        let told = self.told(build, wanted).await?;
        let read = |told: &Told| serde_json::from_str(&told.json).map_err(|error| Error::failed("read a log", error));
        Ok(Page { entries: told.iter().map(read).collect::<Result<_>>()?, last, ended })
    }

    /// Returns the number of a log's last entry, and whether nothing will come after it.
    pub async fn standing(&self, build: BuildId) -> Result<(u64, bool)> {
        let row: Option<(i64, String)> = sqlx::query_as("SELECT events, state FROM builds WHERE id = $1")
            .bind(build.to_string())
            .fetch_optional(self.reader())
            .await?;
        let (events, state) = row.ok_or_else(|| Error::missing("build", build))?;
        Ok((events as u64, super::builds::state(&state)?.is_final()))
    }
}

fn kind(what: &What) -> &'static str {
    match what {
        What::Build(EventKind::Log { .. }) => "log",
        What::Build(EventKind::Progress { .. }) => "progress",
        What::Build(_) | What::Farm(_) => "step",
    }
}

/// Returns a text as LIKE takes it, with `\` before its signs.
pub(super) fn like(text: &str) -> String {
    text.to_lowercase()
        .chars()
        .flat_map(|c| ['\\'].into_iter().filter(move |_| "%_\\".contains(c)).chain([c]))
        .collect()
}
