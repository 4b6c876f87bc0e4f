//! What other servers on the same PostgreSQL did: heard of by LISTEN and NOTIFY.
//!
//! Who writes says in the transaction itself whose logs have grown, so it is heard when that is durable and not otherwise. It is a hint:
//! whoever hears looks at the database, and whoever missed one looks there now and then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kiln_farm_api::{BuildId, Entry};
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgListener;
use sqlx::{Any, AnyPool};
use tokio::time::timeout;

use crate::error::chain;
use crate::hub::Hub;

/// Logs that have grown: builds, and the numbers of their last entries.
const LOGS: &str = "kiln_logs";
/// There may be something to do for nodes.
const WORK: &str = "kiln_work";

/// How many builds one word names; PostgreSQL takes 8000 bytes.
const TOGETHER: usize = 100;
/// How long to wait before a connection that does not come about is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// How long nothing is heard before the database is asked whether it is still there, and how long it may take to say so.
pub const QUIET: Duration = Duration::from_secs(30);

/// Says, within a transaction, whose logs it makes longer.
pub async fn tell(conn: &mut PoolConnection<Any>, told: &[(BuildId, Entry)]) -> Result<(), sqlx::Error> {
    let last: BTreeMap<String, u64> = told.iter().map(|(build, entry)| (build.to_string(), entry.seq)).collect();
    let words: Vec<String> = last.into_iter().map(|(build, seq)| format!("{build}:{seq}")).collect();
    for some in words.chunks(TOGETHER) {
        say(&mut **conn, LOGS, some.join(" ")).await?;
    }
    Ok(())
}

/// Says that there may be something to do for nodes; `own` is the server that says it.
pub async fn wake(pool: &AnyPool, own: &str) -> Result<(), sqlx::Error> {
    say(pool, WORK, own.to_owned()).await
}

async fn say<'e>(to: impl sqlx::Executor<'e, Database = Any>, channel: &str, word: String) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_notify($1, $2)").bind(channel.to_owned()).bind(word).execute(to).await.map(drop)
}

/// A server that listens.
pub struct Ear {
    /// The database.
    pub url: String,
    /// What it calls itself: its own words about work it knows already.
    pub own: String,
    /// How long nothing is heard before the database is asked whether it is still there: [`QUIET`], as a rule.
    pub quiet: Duration,
}

impl Ear {
    /// Listens for ever: nudges those who watch, and calls `wake` where there may be something to do.
    pub async fn listen(self, hub: Arc<Hub>, wake: impl Fn() + Send) {
        loop {
            let ended = self.heard(&hub, &wake).await;
            hub.listening(false);
            match ended {
                Ok(()) => tracing::warn!("nothing is heard of other servers: the database has closed the line"),
                Err(error) => tracing::warn!("nothing is heard of other servers: {}", chain(&error)),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Hears until the line breaks. One that it made anew by itself would seem to be there for as long as that takes.
    async fn heard(&self, hub: &Hub, wake: &impl Fn()) -> Result<(), sqlx::Error> {
        let mut listener = PgListener::connect(&self.url).await?;
        listener.eager_reconnect(false);
        listener.listen_all([LOGS, WORK]).await?;
        hub.listening(true);
        // What was said before nobody heard.
        hub.wake();
        wake();
        loop {
            let word = match timeout(self.quiet, listener.try_recv()).await {
                Ok(Ok(Some(word))) => word,
                Ok(ended) => return ended.map(drop),
                // A database that lost its power closes no line.
                Err(_) => {
                    let alive = timeout(self.quiet, sqlx::query("SELECT 1").execute(&mut listener)).await;
                    alive.map_err(|_| sqlx::Error::PoolTimedOut)??;
                    continue;
                }
            };
            match word.channel() {
                LOGS => grown(word.payload()).for_each(|(build, last)| hub.nudge(build, last)),
                _ if word.payload() == self.own => {}
                _ => wake(),
            }
        }
    }
}

fn grown(word: &str) -> impl Iterator<Item = (BuildId, u64)> {
    word.split(' ')
        .filter_map(|one| one.split_once(':'))
        .filter_map(|(build, last)| Some((build.parse().ok()?, last.parse().ok()?)))
}
