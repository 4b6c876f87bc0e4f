//! Build logs: entries are numbered in the transaction that writes them, so there is neither gap nor repeat.

use kiln_farm_api::{BuildId, Entry, FarmEvent, TaskId, What};
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
    /// Only those before this number.
    pub before: Option<u64>,
    /// The last ones instead of the first; in order all the same.
    pub newest: bool,
    /// Parts of their JSON, as it is stored.
    pub like: Like,
    pub limit: u64,
}

/// What the stored JSON of wanted entries has in it, as patterns of LIKE; an empty one takes all. It sorts out: who asks looks closer.
#[derive(Clone, Debug, Default)]
pub struct Like {
    /// A text, whatever its case.
    pub text: String,
    /// As it is.
    pub exact: String,
}

impl Like {
    /// Returns the pattern of a text somewhere in a line. Databases differ in what is one letter in another case beyond ASCII, so there
    /// any letter will do.
    pub fn text(text: &str) -> String {
        // Between words there may be colours, and signs are written otherwise in JSON.
        let open = |c: char| if c.is_ascii_alphanumeric() { c } else { '%' };
        format!("%{}%", text.to_lowercase().chars().take(LONGEST).map(open).collect::<String>())
    }

    /// Returns the pattern of fields with these values, in the order of the JSON.
    pub fn fields(fields: &[(&str, String)]) -> String {
        let parts = fields.iter().map(|(name, value)| format!("{}%", like_exactly(&format!("\"{name}\":\"{value}\""))));
        let parts: String = parts.collect();
        if parts.is_empty() { parts } else { format!("%{parts}") }
    }
}

/// Longest pattern, characters: databases take no more than some thousands.
const LONGEST: usize = 200;

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

    /// Returns how many bytes of output a build's log holds.
    pub async fn output(&mut self, build: BuildId) -> Result<i64> {
        let sql = "SELECT output FROM builds WHERE id = $1";
        let found: Option<i64> =
            sqlx::query_scalar(sql).bind(build.to_string()).fetch_optional(&mut *self.conn).await?;
        found.ok_or_else(|| Error::missing("build", build))
    }

    pub async fn set_output(&mut self, build: BuildId, bytes: i64) -> Result<()> {
        let sql = "UPDATE builds SET output = $1 WHERE id = $2";
        sqlx::query(sql).bind(bytes).bind(build.to_string()).execute(&mut *self.conn).await?;
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

macro_rules! told_sql {
    ($order:literal) => {
        concat!(
            "SELECT seq, body FROM events WHERE build = $1 AND seq > $2 AND seq < $3 AND ($4 = '' OR kind = 'step' OR lower(body) LIKE $4 ESCAPE '\\') \
             AND ($5 = '' OR body LIKE $5 ESCAPE '\\') ORDER BY seq ",
            $order,
            " LIMIT $6"
        )
    };
}

impl Db {
    /// Returns entries of a log as they are stored, in order.
    pub async fn told(&self, build: BuildId, wanted: &Wanted) -> Result<Vec<Told>> {
        let sql = if wanted.newest { told_sql!("DESC") } else { told_sql!("ASC") };
        let query = sqlx::query_as::<_, (i64, String)>(sql)
            .bind(build.to_string())
            .bind(wanted.after as i64)
            .bind(wanted.before.map_or(i64::MAX, |before| before as i64))
            .bind(wanted.like.text.clone())
            .bind(wanted.like.exact.clone())
            .bind(wanted.limit as i64);
        let rows = query.fetch_all(self.reader()).await?;
        let mut told: Vec<Told> =
            rows.into_iter().map(|(seq, body)| Told { seq: seq as u64, json: body.into() }).collect();
        if wanted.newest {
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

/// Returns a text in small letters as LIKE takes it, with `\` before its signs.
pub(super) fn like(text: &str) -> String {
    like_exactly(&text.to_lowercase())
}

fn like_exactly(text: &str) -> String {
    text.chars().flat_map(|c| ['\\'].into_iter().filter(move |_| "%_\\".contains(c)).chain([c])).collect()
}
