//! What is in one database, carried into another, which may be of the other kind: they have the same tables, of texts and whole numbers.

use std::path::Path;

use futures_util::TryStreamExt as _;
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Executor as _, Row as _};

use crate::db::{self, Kind};
use crate::error::{Error, Result};

/// Values that one statement carries at most.
const TOGETHER: usize = 512;
/// Where sqlx notes what was brought up to date; each database has its own.
const MIGRATIONS: &str = "_sqlx_migrations";

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
    let mut all = to.begin().await?;
    carry(&tables().await?, &mut from, &mut all, Kind::Sqlite).await?;
    all.commit().await?;
    to.close().await?;
    Ok(from.close().await?)
}

/// Refuses a PostgreSQL that holds anything; nothing in it is changed.
pub async fn ready(url: &str) -> Result<()> {
    let mut conn = db::connect(url).await?;
    let sql = "SELECT CAST(tablename AS TEXT) FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename";
    let found: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut conn).await?;
    // Those of a restore that broke off may be there, with nothing in them.
    let ours = tables().await?;
    let (ours, others): (Vec<_>, Vec<_>) = found
        .into_iter()
        .filter(|name| name != MIGRATIONS)
        .partition(|name| ours.iter().any(|table| table.name == *name));
    if let Some(other) = others.first() {
        return Err(taken(format!("the PostgreSQL of DATABASE_URL holds something else: a table `{other}`")));
    }
    empty(&mut conn, ours.iter().map(String::as_str)).await?;
    Ok(conn.close().await?)
}

/// Copies a SQLite, which is brought up to date for it, into a PostgreSQL that holds nothing: all of it or nothing. Where `committing`
/// is set, an error leaves open which.
pub async fn into(url: &str, file: &Path, committing: &mut bool) -> Result<()> {
    let mut from = db::connect(&format!("sqlite:{}", file.display())).await?;
    db::migrate(Kind::Sqlite, &mut from).await?;
    let mut conn = db::connect(url).await?;
    db::migrate(Kind::Postgres, &mut conn).await?;
    let tables = tables().await?;
    let mut to = conn.begin().await?;
    empty(&mut to, tables.iter().map(|table| table.name.as_str())).await?;
    carry(&tables, &mut from, &mut to, Kind::Postgres).await?;
    from.close().await?;
    *committing = true;
    to.commit()
        .await
        .map_err(|error| Error::failed("commit what was restored; perhaps it is in the database", error))?;
    // Nothing after this can be taken back.
    let _ = conn.close().await;
    Ok(())
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

async fn carry(tables: &[Table], from: &mut AnyConnection, to: &mut AnyConnection, into: Kind) -> Result<()> {
    for table in tables {
        let carried = rows(table, from, to, into).await;
        carried.map_err(|error| Error::failed(format!("carry the table `{}`", table.name), error))?;
    }
    Ok(())
}

async fn rows(table: &Table, from: &mut AnyConnection, to: &mut AnyConnection, into: Kind) -> Result<()> {
    let names: Vec<&str> = table.columns.iter().map(|(name, _)| name.as_str()).collect();
    let (name, names) = (&table.name, names.join(", "));
    let read = AssertSqlSafe(format!("SELECT {names} FROM {name}"));
    let rows = sqlx::query(read).fetch(from).map_err(Error::from);
    let mut rows = rows.try_chunks((TOGETHER / table.columns.len()).max(1));
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
                    Like::Text => {
                        let text: Option<String> = row.try_get(at)?;
                        query.bind(if into == Kind::Postgres { text.map(|text| db::plain(&text)) } else { text })
                    }
                    Like::Number => query.bind(row.try_get::<Option<i64>, _>(at)?),
                };
            }
        }
        query.execute(&mut *to).await?;
    }
    Ok(())
}

/// Returns the tables of a farm, those that others name before these.
async fn tables() -> Result<Vec<Table>> {
    let mut sqlite = db::connect("sqlite::memory:").await?;
    db::migrate(Kind::Sqlite, &mut sqlite).await?;
    // They were made in such an order: a table can only name what is there.
    let sql =
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY rowid";
    let names: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut sqlite).await?;
    let mut tables = vec![];
    for name in names.into_iter().filter(|name| name != MIGRATIONS) {
        let sql = "SELECT name, type FROM pragma_table_info($1) ORDER BY cid";
        let columns: Vec<(String, String)> = sqlx::query_as(sql).bind(name.clone()).fetch_all(&mut sqlite).await?;
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
async fn empty(to: &mut AnyConnection, tables: impl Iterator<Item = &str>) -> Result<()> {
    for name in tables {
        let sql = AssertSqlSafe(format!("SELECT count(*) FROM {name}"));
        let rows: i64 = sqlx::query_scalar(sql).fetch_one(&mut *to).await?;
        if rows > 0 {
            return Err(taken("the PostgreSQL of DATABASE_URL holds a farm already".into()));
        }
    }
    Ok(())
}

fn taken(why: String) -> Error {
    Error::conflict(why).hint("make a new one, or unset DATABASE_URL to restore into a SQLite in the folder")
}

#[cfg(test)]
mod tests {
    use kiln_testkit::Postgres;

    use super::*;

    /// Puts two rows into every table: one of whatever can be there, one without what can be missing.
    async fn fill(conn: &mut AnyConnection, tables: &[Table]) {
        for Table { name, columns } in tables {
            let sql = "SELECT \"notnull\" + pk FROM pragma_table_info($1) ORDER BY cid";
            let needed: Vec<i64> = sqlx::query_scalar(sql).bind(name.clone()).fetch_all(&mut *conn).await.unwrap();
            for row in ["all", "few"] {
                // What is named in another table is named like this row.
                let value = |((_, like), needed): (&(String, Like), &i64)| match (like, row) {
                    (_, "few") if *needed == 0 => "NULL".to_owned(),
                    (Like::Text, _) => format!("'{row}'"),
                    (Like::Number, "all") => i64::MAX.to_string(),
                    (Like::Number, _) => "-1".to_owned(),
                };
                let values: Vec<String> = columns.iter().zip(&needed).map(value).collect();
                let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
                let sql = format!("INSERT INTO {name} ({}) VALUES ({})", names.join(", "), values.join(", "));
                conn.execute(AssertSqlSafe(sql)).await.unwrap();
            }
        }
    }

    /// Tells every row of every table.
    async fn told(conn: &mut AnyConnection, tables: &[Table]) -> String {
        let mut told = String::new();
        for Table { name, columns } in tables {
            let fields: Vec<_> =
                columns.iter().map(|(column, _)| format!("COALESCE(CAST({column} AS TEXT), 'nothing')")).collect();
            let sql = format!("SELECT {} FROM {name} ORDER BY 1", fields.join(" || ' ' || "));
            let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut *conn).await.unwrap();
            told += &format!("{name}: {}\n", rows.join("; "));
        }
        told
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn every_table_is_carried_there_and_back() {
        let (postgres, folder) = (Postgres::start(), tempfile::tempdir().unwrap());
        let [first, second] = ["first.db", "second.db"].map(|name| folder.path().join(name));
        let mut from = db::connect(&format!("sqlite:{}?mode=rwc", first.display())).await.unwrap();
        db::migrate(Kind::Sqlite, &mut from).await.unwrap();
        let tables = tables().await.unwrap();
        fill(&mut from, &tables).await;
        // A text as PostgreSQL takes none.
        from.execute("UPDATE audit SET subject = 'a' || char(0) || 'b' WHERE id = 'few'").await.unwrap();
        let wanted = told(&mut from, &tables).await;
        assert_eq!(wanted.matches("; ").count(), tables.len(), "{wanted}");
        ready(&postgres.url()).await.unwrap();
        into(&postgres.url(), &first, &mut false).await.unwrap();
        out_of(&postgres.url(), &second).await.unwrap();
        let mut to = db::connect(&format!("sqlite:{}", second.display())).await.unwrap();
        assert_eq!(told(&mut to, &tables).await, wanted.replace('\0', ""));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_not_empty_is_left_as_it_is() {
        let postgres = Postgres::start();
        postgres.run("CREATE TABLE theirs (id BIGINT)");
        let Err(Error::Refused(refused)) = ready(&postgres.url()).await else { panic!("it is refused") };
        assert_eq!(refused.title, "the PostgreSQL of DATABASE_URL holds something else: a table `theirs`");
        // An older farm's, of which no migration is performed.
        postgres.run("DROP TABLE theirs; CREATE TABLE users (id TEXT); INSERT INTO users VALUES ('ann')");
        let Err(Error::Refused(refused)) = ready(&postgres.url()).await else { panic!("it is refused") };
        assert_eq!(refused.title, "the PostgreSQL of DATABASE_URL holds a farm already");
        let tables = "SELECT string_agg(tablename, ' ') FROM pg_tables WHERE schemaname = 'public'";
        assert_eq!(postgres.run(tables), "users");
        postgres.run("DELETE FROM users");
        ready(&postgres.url()).await.unwrap();
    }
}
