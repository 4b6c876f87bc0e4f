//! What is kept: the projects' rules, pinned builds, and what nobody needs any more.

use std::collections::{BTreeMap, BTreeSet};

use kiln_farm_api::retention::Retention;
use kiln_farm_api::{BuildId, Name};
use kiln_model::Digest;

use super::builds::state;
use super::tasks::text;
use super::{Db, Tx};
use crate::blobs::{Place, Stray};
use crate::decide::retain::{Blob, Ended};
use crate::error::{Error, Result};

/// Whether a schedule of the project's submits this build again: the newest of its name.
macro_rules! again {
    () => {
        "(SELECT count(*) FROM repeats WHERE repeats.project = builds.project AND repeats.name = builds.name AND NOT EXISTS \
         (SELECT 1 FROM builds AS newer WHERE newer.project = builds.project AND newer.name = builds.name AND newer.id > builds.id))"
    };
}

type RulesRow = (String, Option<i64>, Option<i64>, Option<i64>);

fn rules((project, builds, days, failed_days): RulesRow) -> Result<(Name, Retention)> {
    let number = |value: Option<i64>| value.map(|value| value as u32);
    let rules = Retention { builds: number(builds), days: number(days), failed_days: number(failed_days) };
    Ok((text(&project)?, rules))
}

impl Tx {
    pub async fn set_retention(&mut self, project: &Name, rules: &Retention) -> Result<()> {
        let sql = "UPDATE projects SET keep_builds = $1, keep_days = $2, keep_failed_days = $3 WHERE name = $4";
        let query = sqlx::query(sql)
            .bind(rules.builds.map(i64::from))
            .bind(rules.days.map(i64::from))
            .bind(rules.failed_days.map(i64::from))
            .bind(project.as_str().to_owned());
        match query.execute(&mut *self.conn).await?.rows_affected() {
            0 => Err(Error::missing("project", project)),
            _ => Ok(()),
        }
    }

    /// Lets a build stay whatever the rules say, or not any more.
    pub async fn pin(&mut self, build: BuildId, pinned: bool) -> Result<()> {
        let sql = "UPDATE builds SET pinned = $1 WHERE id = $2";
        let query = sqlx::query(sql).bind(i64::from(pinned)).bind(build.to_string());
        match query.execute(&mut *self.conn).await?.rows_affected() {
            0 => Err(Error::missing("build", build)),
            _ => Ok(()),
        }
    }

    /// Removes an ended build with all rows of it, if it still is as it was seen: neither pinned nor tried again, and none that a schedule
    /// submits again.
    pub async fn forget_build(&mut self, build: &Ended) -> Result<bool> {
        let sql = concat!(
            "DELETE FROM builds WHERE id = $1 AND state = $2 AND ended = $3 AND pinned = 0 AND ",
            again!(),
            " = 0"
        );
        let query = sqlx::query(sql).bind(build.id.to_string()).bind(build.state.name()).bind(build.ended);
        Ok(query.execute(&mut *self.conn).await?.rows_affected() == 1)
    }

    /// Removes the rows of blobs in a part of the store that nobody needs and nobody asked for since `before`.
    pub async fn forget_blobs(&mut self, shard: &str, before: i64) -> Result<Vec<Stray>> {
        let sql = "DELETE FROM blobs WHERE sha256 >= $1 AND sha256 < $2 AND used < $3 \
                   AND NOT EXISTS (SELECT 1 FROM artifacts WHERE artifacts.sha256 = blobs.sha256) \
                   AND NOT EXISTS (SELECT 1 FROM stages WHERE stages.sha256 = blobs.sha256) \
                   AND NOT EXISTS (SELECT 1 FROM inputs WHERE inputs.sha256 = blobs.sha256) RETURNING sha256, size, place";
        // No digit comes after a `g`.
        let query = sqlx::query_as(sql).bind(shard.to_owned()).bind(format!("{shard}g")).bind(before);
        let rows: Vec<(String, i64, Option<String>)> = query.fetch_all(&mut *self.conn).await?;
        let stray = |(sha256, size, place): (String, i64, Option<String>)| {
            Ok(Stray { digest: text(&sha256)?, place: Place::of(place), size: size as u64 })
        };
        rows.into_iter().map(stray).collect()
    }
}

fn sizes(rows: Vec<(String, i64)>) -> Result<Vec<(Digest, u64)>> {
    rows.into_iter().map(|(sha256, size)| Ok((text(&sha256)?, size as u64))).collect()
}

impl Db {
    /// Returns the rules of the projects that have some.
    pub async fn retention(&self) -> Result<Vec<(Name, Retention)>> {
        let sql = "SELECT name, keep_builds, keep_days, keep_failed_days FROM projects ORDER BY name";
        let rows: Vec<RulesRow> = sqlx::query_as(sql).fetch_all(self.reader()).await?;
        let all = rows.into_iter().map(rules).collect::<Result<Vec<_>>>()?;
        Ok(all.into_iter().filter(|(_, rules)| *rules != Retention::default()).collect())
    }

    /// Returns a project's builds that have ended.
    pub async fn ended_builds(&self, project: &Name) -> Result<Vec<Ended>> {
        let sql = concat!(
            "SELECT id, state, ended, pinned, ",
            again!(),
            " FROM builds WHERE project = $1 AND ended IS NOT NULL"
        );
        let rows: Vec<(String, String, i64, i64, i64)> =
            sqlx::query_as(sql).bind(project.as_str().to_owned()).fetch_all(self.reader()).await?;
        let one = |(id, name, ended, pinned, again): (String, String, i64, i64, i64)| {
            Ok(Ended { id: text(&id)?, state: state(&name)?, ended, pinned: pinned != 0, again: again != 0 })
        };
        rows.into_iter().map(one).collect()
    }

    /// Returns the blobs that a build has: what it made, and what it was made from.
    pub async fn blobs_of(&self, build: BuildId) -> Result<BTreeSet<Digest>> {
        let sql = "SELECT sha256 FROM artifacts WHERE build = $1 UNION \
                   SELECT inputs.sha256 FROM inputs JOIN tasks ON tasks.id = inputs.task WHERE tasks.build = $1";
        let rows: Vec<String> = sqlx::query_scalar(sql).bind(build.to_string()).fetch_all(self.reader()).await?;
        rows.iter().map(|sha256| text(sha256)).collect()
    }

    /// Returns a blob with the builds that have it.
    pub async fn blob_with_builds(&self, digest: Digest) -> Result<Option<Blob>> {
        let sql = "SELECT size, used FROM blobs WHERE sha256 = $1";
        let row: Option<(i64, i64)> =
            sqlx::query_as(sql).bind(digest.to_string()).fetch_optional(self.reader()).await?;
        let Some((size, used)) = row else { return Ok(None) };
        let sql = "SELECT build FROM artifacts WHERE sha256 = $1 UNION \
                   SELECT tasks.build FROM inputs JOIN tasks ON tasks.id = inputs.task WHERE inputs.sha256 = $1";
        let rows: Vec<String> = sqlx::query_scalar(sql).bind(digest.to_string()).fetch_all(self.reader()).await?;
        let builds = rows.iter().map(|build| text(build)).collect::<Result<_>>()?;
        Ok(Some(Blob { digest, size: size as u64, used, builds }))
    }

    /// Returns the blobs that no build has and nobody asked for since `before`.
    pub async fn unused_blobs(&self, before: i64) -> Result<Vec<(Digest, u64)>> {
        let sql = "SELECT sha256, size FROM blobs WHERE used < $1 \
                   AND NOT EXISTS (SELECT 1 FROM artifacts WHERE artifacts.sha256 = blobs.sha256) \
                   AND NOT EXISTS (SELECT 1 FROM stages WHERE stages.sha256 = blobs.sha256) \
                   AND NOT EXISTS (SELECT 1 FROM inputs WHERE inputs.sha256 = blobs.sha256)";
        sizes(sqlx::query_as(sql).bind(before).fetch_all(self.reader()).await?)
    }

    /// Returns which blobs there are rows of in a part of the store, and where their bytes are.
    pub async fn blobs_in(&self, shard: &str) -> Result<BTreeMap<Digest, Place>> {
        let sql = "SELECT sha256, place FROM blobs WHERE sha256 >= $1 AND sha256 < $2";
        let query = sqlx::query_as(sql).bind(shard.to_owned()).bind(format!("{shard}g"));
        let rows: Vec<(String, Option<String>)> = query.fetch_all(self.reader()).await?;
        rows.into_iter().map(|(sha256, place)| Ok((text(&sha256)?, Place::of(place)))).collect()
    }
}
