//! What is in one database, carried into another, which may be of the other kind: they have the same tables, of texts and whole numbers.

use std::path::Path;

use futures_util::TryStreamExt as _;
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Executor as _, Row as _};

use crate::db::{self, Kind};
use crate::error::{Error, Result};

/// Values that one statement carries at most.
const TOGETHER: usize = 512;

/// Copies a PostgreSQL, as it is at one moment and also while others write, into a SQLite that is not there yet.
pub async fn out_of(url: &str, file: &Path) -> Result<()> {
    let mut from = db::connect(url).await?;
    from.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let found: i64 = sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations").fetch_one(&mut from).await?;
    if found as usize != db::known() {
        let (version, known) = (env!("CARGO_PKG_VERSION"), db::known());
        let why = format!("the database has seen {found} migrations, and kiln {version} knows {known}");
        return Err(Error::bad(why).hint("back up with the kiln that serves this farm"));
    }
    let mut to = db::connect(&format!("sqlite:{}?mode=rwc", file.display())).await?;
    // Nobody has this file yet: it is seen onto the disk once, by whoever packs it.
    to.execute("PRAGMA synchronous = OFF").await?;
    db::migrate(Kind::Sqlite, &mut to).await?;
    carry(&mut from, &mut to, Kind::Sqlite).await?;
    to.close().await?;
    Ok(from.close().await?)
}

/// Copies a SQLite, brought up to date before, into a PostgreSQL that holds nothing: all of it or nothing.
pub async fn into(url: &str, file: &Path) -> Result<()> {
    let mut from = db::connect(&format!("sqlite:{}", file.display())).await?;
    db::migrate(Kind::Sqlite, &mut from).await?;
    let mut to = db::connect(url).await?;
    db::migrate(Kind::Postgres, &mut to).await?;
    carry(&mut from, &mut to, Kind::Postgres).await?;
    to.close().await?;
    Ok(from.close().await?)
}

/// A table, by what it is made of.
struct Table {
    name: String,
    columns: Vec<(String, Like)>,
}

/// What a column holds; there are no others.
#[derive(Clone, Copy)]
enum Like {
    Text,
    Number,
}

async fn carry(from: &mut AnyConnection, to: &mut AnyConnection, into: Kind) -> Result<()> {
    let sqlite = if into == Kind::Sqlite { &mut *to } else { &mut *from };
    let tables = tables(sqlite).await?;
    let mut to = to.begin().await?;
    if into == Kind::Postgres {
        empty(&mut to, &tables).await?;
    }
    for table in &tables {
        let names: Vec<&str> = table.columns.iter().map(|(name, _)| name.as_str()).collect();
        let (name, names) = (&table.name, names.join(", "));
        let read = AssertSqlSafe(format!("SELECT {names} FROM {name}"));
        let rows = sqlx::query(read).fetch(&mut *from);
        let mut rows = rows.map_err(Error::from).try_chunks((TOGETHER / table.columns.len()).max(1));
        while let Some(rows) = rows.try_next().await.map_err(|error| error.1)? {
            let mut numbers = 1..;
            let mut row = || {
                let places: Vec<_> = numbers.by_ref().take(table.columns.len()).map(|at| format!("${at}")).collect();
                format!("({})", places.join(", "))
            };
            let places: Vec<String> = rows.iter().map(|_| row()).collect();
            let write = AssertSqlSafe(format!("INSERT INTO {name} ({names}) VALUES {}", places.join(", ")));
            let mut query = sqlx::query(write);
            for row in &rows {
                for (at, (_, like)) in table.columns.iter().enumerate() {
                    query = match like {
                        Like::Text => query.bind(row.try_get::<Option<String>, _>(at)?),
                        Like::Number => query.bind(row.try_get::<Option<i64>, _>(at)?),
                    };
                }
            }
            query.execute(&mut *to).await?;
        }
    }
    Ok(to.commit().await?)
}

/// Returns the tables of a SQLite, those that others name before these.
async fn tables(sqlite: &mut AnyConnection) -> Result<Vec<Table>> {
    // They were made in such an order: a table can only name what is there.
    let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_sqlx\\_%' ESCAPE '\\' \
               AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY rowid";
    let names: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut *sqlite).await?;
    let mut tables = vec![];
    for name in names {
        let sql = "SELECT name, type FROM pragma_table_info($1) ORDER BY cid";
        let columns: Vec<(String, String)> = sqlx::query_as(sql).bind(name.clone()).fetch_all(&mut *sqlite).await?;
        let like = |(column, like): (String, String)| match like.as_str() {
            "TEXT" => Ok((column, Like::Text)),
            "BIGINT" => Ok((column, Like::Number)),
            other => Err(Error::failed("carry the database", format!("`{name}.{column}` is a {other}"))),
        };
        let columns = columns.into_iter().map(like).collect::<Result<_>>()?;
        tables.push(Table { name, columns });
    }
    Ok(tables)
}

/// Refuses a database that a farm has begun in.
async fn empty(to: &mut AnyConnection, tables: &[Table]) -> Result<()> {
    for Table { name, .. } in tables {
        let sql = AssertSqlSafe(format!("SELECT count(*) FROM {name}"));
        let rows: i64 = sqlx::query_scalar(sql).fetch_one(&mut *to).await?;
        if rows > 0 {
            let hint = "make a new one, or unset DATABASE_URL to restore into a SQLite in the folder";
            return Err(Error::conflict("the PostgreSQL of DATABASE_URL holds a farm already").hint(hint));
        }
    }
    Ok(())
}
