//! The database: SQLite or PostgreSQL, one set of queries.
//!
//! All changes go through one writer. What many ask of it at once it does in one transaction, each in a savepoint of its own, so a
//! disk that has to be waited for is waited for once; nobody hears of a change before it is durable. Entries of build logs are
//! handed to [`Hub`] after the commit, in order.

mod change;
mod log;

pub mod access;
pub mod blobs;
pub mod builds;
pub mod channels;
pub mod counts;
pub mod elsewhere;
pub mod holders;
pub mod hooks;
mod identities;
pub mod nodes;
pub mod parked;
pub mod repeats;
pub mod retain;
pub mod schedules;
mod seals;
pub mod secrets;
pub mod sources;
pub mod stages;
pub mod tasks;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool, Connection as _, Executor as _};
use tokio::sync::{mpsc, oneshot};

use kiln_farm_api::points::{self, Point};
use kiln_farm_api::{BuildId, Entry};

use crate::backup;
use crate::error::{Error, Result};
use crate::hub::Hub;
use crate::metrics::Metrics;

pub(crate) use change::plain;
pub use log::{Like, Said, Wanted};

/// Which database it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
}

impl Kind {
    fn of(url: &str) -> Self {
        match url.split_once(':') {
            Some(("postgres" | "postgresql", _)) => Self::Postgres,
            _ => Self::Sqlite,
        }
    }
}

/// Returns the address of the PostgreSQL that DATABASE_URL names, none where it names nothing. What is no PostgreSQL is refused, without
/// its address, which may hold a password: a server's SQLite is in its folder, and nowhere else.
pub fn postgres(database: Option<&str>) -> Result<Option<&str>> {
    match database {
        Some(url) if Kind::of(url) != Kind::Postgres => Err(Error::bad("DATABASE_URL names no PostgreSQL").hint(
            "`postgres://USER:PASSWORD@HOST/DATABASE`; without DATABASE_URL the database is a SQLite in the folder of `--data`",
        )),
        database => Ok(database),
    }
}

/// A connection for questions, and the way to the writer.
#[derive(Clone)]
pub struct Db {
    pub kind: Kind,
    reader: AnyPool,
    jobs: mpsc::Sender<Job>,
}

/// What is being written: the transaction with what it tells.
pub struct Tx {
    pub conn: PoolConnection<Any>,
    told: Vec<(BuildId, Entry)>,
}

/// Does something in a transaction, then says whether it stays, and how to tell whoever asked once that is certain.
type Job = Box<dyn for<'c> FnOnce(&'c mut Tx) -> BoxFuture<'c, Done> + Send>;

struct Done {
    keep: bool,
    tell: Box<dyn FnOnce(Option<Error>) + Send>,
}

/// Waits for this server's turn at PostgreSQL; the number is kiln's own ("kiln" in ASCII), and the turn ends with the transaction.
const TURN: &str = "SELECT pg_advisory_xact_lock(1802071150)";

/// How many jobs share a transaction at most.
const TOGETHER: usize = 128;

impl Db {
    /// Opens the database at `url` (`sqlite:FILE`, `postgres://…`), brings it up to date, and starts its writer. A SQLite that is to be
    /// changed by that is copied into `backups` before.
    pub async fn open(url: &str, hub: Arc<Hub>, metrics: Arc<Metrics>, backups: &Path, now: i64) -> Result<Self> {
        sqlx::any::install_default_drivers();
        let kind = Kind::of(url);
        let options: AnyConnectOptions =
            url.parse().map_err(|error| Error::failed("read DATABASE_URL", no_url(error)))?;
        let writer = pool(kind, 1).connect_with(options.clone()).await.map_err(|error| opening(no_url(error)))?;
        checked(kind, &writer).await?;
        if kind == Kind::Sqlite {
            let mut conn = writer.acquire().await?;
            let copy = backup::before_update(&mut conn, known(), backups, now).await?;
            copy.iter().for_each(|copy| tracing::info!("the database as it was is `{}`", copy.display()));
        }
        migrate(kind, &mut *writer.acquire().await?).await?;
        let reader = pool(kind, 8).connect_with(options).await.map_err(|error| opening(no_url(error)))?;
        let (jobs, waiting) = mpsc::channel(1024);
        tokio::spawn(write(kind, writer, waiting, hub, metrics));
        Ok(Self { kind, reader, jobs })
    }

    /// Returns connections for questions.
    pub fn reader(&self) -> &AnyPool {
        &self.reader
    }

    /// Runs `job` in a transaction and returns its answer once that is durable. Its error undoes what it did.
    pub async fn write<T, F>(&self, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut Tx) -> BoxFuture<'c, Result<T>> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |tx| {
            Box::pin(async move {
                let done = job(tx).await;
                let keep = done.is_ok();
                let tell = Box::new(move |failed: Option<Error>| {
                    // Who asked may have gone away.
                    let _ = answer.send(failed.map_or(done, Err));
                });
                Done { keep, tell }
            })
        });
        let ended = || Error::failed("write to the database", "its writer has ended");
        self.jobs.send(job).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }
}

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// Returns how many migrations there are.
pub(crate) fn known() -> usize {
    MIGRATIONS.iter().count()
}

/// Opens a database for one who reads or writes it whole.
pub(crate) async fn connect(url: &str) -> Result<AnyConnection> {
    sqlx::any::install_default_drivers();
    AnyConnection::connect(url).await.map_err(|error| opening(no_url(error)))
}

/// Brings the database up to date. PostgreSQL would say with each start, as news, that the table of migrations is there already.
pub(crate) async fn migrate(kind: Kind, conn: &mut AnyConnection) -> Result<()> {
    if kind == Kind::Postgres {
        conn.execute("SET client_min_messages = warning").await?;
    }
    MIGRATIONS.run(&mut *conn).await.map_err(|error| Error::failed("bring the database up to date", error))?;
    if kind == Kind::Postgres {
        conn.execute("RESET client_min_messages").await?;
    }
    Ok(())
}

fn opening(error: sqlx::Error) -> Error {
    Error::failed("open the database", error)
}

/// Keeps addresses, which hold passwords, out of messages.
fn no_url(error: sqlx::Error) -> sqlx::Error {
    match error {
        sqlx::Error::Configuration(_) => sqlx::Error::Configuration("it is no address of a database".into()),
        other => other,
    }
}

fn pool(kind: Kind, connections: u32) -> AnyPoolOptions {
    let set_up: &[&str] = match kind {
        // A commit is on the disk before anyone hears of it.
        Kind::Sqlite => &[
            "PRAGMA journal_mode = WAL",
            "PRAGMA synchronous = FULL",
            "PRAGMA busy_timeout = 10000",
            "PRAGMA foreign_keys = ON",
            "PRAGMA cache_size = -8192",
        ],
        Kind::Postgres => &[],
    };
    AnyPoolOptions::new().max_connections(connections).after_connect(move |conn, _| {
        Box::pin(async move {
            for statement in set_up {
                conn.execute(*statement).await?;
            }
            Ok(())
        })
    })
}

/// Refuses a SQLite whose write-ahead log is known to lose commits (mended in 3.51.3).
async fn checked(kind: Kind, pool: &AnyPool) -> Result<()> {
    if kind == Kind::Postgres {
        return Ok(());
    }
    let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(pool).await?;
    let numbers: Vec<u32> = version.split('.').filter_map(|part| part.parse().ok()).collect();
    if numbers.as_slice() < [3, 51, 3].as_slice() {
        return Err(Error::failed("open the database", format!("SQLite is {version}; kiln needs 3.51.3")));
    }
    Ok(())
}

/// The writer.
async fn write(kind: Kind, pool: AnyPool, mut waiting: mpsc::Receiver<Job>, hub: Arc<Hub>, metrics: Arc<Metrics>) {
    let mut jobs = Vec::with_capacity(TOGETHER);
    while waiting.recv_many(&mut jobs, TOGETHER).await > 0 {
        let mut told = vec![];
        let (count, began) = (jobs.len(), Instant::now());
        let committed = together(kind, &pool, &mut jobs, &mut told).await;
        metrics.transaction(count, began.elapsed(), committed.is_ok());
        // Those that were not begun go unanswered, which tells their askers.
        jobs.clear();
        match committed {
            Ok(entries) => {
                hub.publish(entries);
                told.into_iter().for_each(|tell| tell(None));
            }
            Err(error) => {
                let words = crate::error::chain(&error);
                tracing::error!("the database took nothing: {words}");
                told.into_iter().for_each(|tell| tell(Some(Error::failed("write to the database", words.clone()))));
            }
        }
    }
}

type Tell = Box<dyn FnOnce(Option<Error>) + Send>;

/// Runs jobs in one transaction.
async fn together(
    kind: Kind,
    pool: &AnyPool,
    jobs: &mut Vec<Job>,
    told: &mut Vec<Tell>,
) -> Result<Vec<(BuildId, Entry)>, sqlx::Error> {
    let mut tx = Tx { conn: pool.acquire().await?, told: vec![] };
    let done = within(kind, &mut tx, jobs, told).await;
    if done.is_err() {
        // In what state it is nobody knows.
        tx.conn.close().await.ok();
        return Err(done.expect_err("it is an error"));
    }
    Ok(tx.told)
}

async fn within(kind: Kind, tx: &mut Tx, jobs: &mut Vec<Job>, told: &mut Vec<Tell>) -> Result<(), sqlx::Error> {
    tx.conn.execute(if kind == Kind::Sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" }).await?;
    if kind == Kind::Postgres {
        // Of several servers one writes at a time, as with SQLite: what a decision is made on is not changed under it, and rows that
        // are locked in one order here and in another there stop nobody.
        tx.conn.execute(TURN).await?;
    }
    for job in jobs.drain(..) {
        tx.conn.execute("SAVEPOINT job").await?;
        let mark = tx.told.len();
        let done = job(tx).await;
        points::pass(Point::Job);
        told.push(done.tell);
        if !done.keep {
            tx.told.truncate(mark);
            tx.conn.execute("ROLLBACK TO job").await?;
        }
        tx.conn.execute("RELEASE job").await?;
    }
    if kind == Kind::Postgres {
        elsewhere::tell(&mut tx.conn, &tx.told).await?;
    }
    points::pass(Point::BeforeCommit);
    tx.conn.execute("COMMIT").await?;
    points::pass(Point::AfterCommit);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::migrate::Migrator;

    #[tokio::test]
    async fn an_older_database_is_copied_and_brought_up_to_date() {
        sqlx::any::install_default_drivers();
        let folder = tempfile::tempdir().unwrap();
        let (url, backups) = (format!("sqlite:{}/kiln.db?mode=rwc", folder.path().display()), folder.path().join("b"));
        let pool = pool(Kind::Sqlite, 1).connect(&url).await.unwrap();
        let first = MIGRATIONS.iter().take(1).cloned().collect();
        Migrator::with_migrations(first).run(&pool).await.unwrap();
        let bundle = "ab".repeat(32);
        for statement in [
            "INSERT INTO projects (name, created, open, weight) VALUES ('p', 0, 1, 1)".to_owned(),
            "INSERT INTO builds (id, project, name, priority, submitter, state, created, events) \
             VALUES ('b', 'p', 'b', 0, 'ann', 'queued', 0, 0)"
                .to_owned(),
            format!(
                "INSERT INTO tasks (id, build, number, name, project, priority, work, needs, arch, capabilities, attempts, state, \
                 epoch, losses, queued, not_before, stopping, told) VALUES ('t', 'b', 0, 't', 'p', 0, \
                 '{{\"kind\":\"image\",\"bundle\":\"{bundle}\",\"recipe\":\"kiln.toml\",\"no_verify\":false}}', '[]', '', '[]', 3, \
                 'queued', 0, 0, 0, 0, 0, 0)"
            ),
            format!("INSERT INTO blobs (sha256, size, created) VALUES ('{bundle}', 1, 7)"),
        ] {
            sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&pool).await.unwrap();
        }
        pool.close().await;

        let open = || Db::open(&url, Arc::default(), Arc::default(), &backups, 0);
        let db = open().await.unwrap();
        let inputs: Vec<(String, String)> =
            sqlx::query_as("SELECT task, sha256 FROM inputs").fetch_all(db.reader()).await.unwrap();
        assert_eq!(inputs, [("t".to_owned(), bundle.clone())]);
        assert_eq!(db.blob(bundle.parse().unwrap()).await.unwrap().map(|known| known.used), Some(7));
        let copies = || std::fs::read_dir(&backups).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
        let [copy] = copies().try_into().unwrap();
        let old = pool_of(&format!("sqlite:{}", copy.display())).await;
        let applied: i64 = sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations").fetch_one(&old).await.unwrap();
        assert_eq!(applied, 1);
        old.close().await;
        drop(db);
        open().await.unwrap();
        assert_eq!(copies(), [copy], "there is nothing to change any more");
    }

    async fn pool_of(url: &str) -> AnyPool {
        pool(Kind::Sqlite, 1).connect(url).await.unwrap()
    }
}
