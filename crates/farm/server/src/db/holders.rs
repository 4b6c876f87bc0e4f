//! Who may name a blob: a digest is no secret, and who only knows one gets nothing by it.

use std::fmt;

use kiln_farm_api::{NodeId, Role, UserId};
use kiln_model::Digest;
use sqlx::{Any, Executor};

use super::{Db, Tx};
use crate::error::Result;

/// Who brings blobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    User(UserId),
    Node(NodeId),
    /// The server itself, which names what it knows from elsewhere: of a build that is submitted again, or of a source.
    Server,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => write!(f, "user {id}"),
            Self::Node(id) => write!(f, "node {id}"),
            Self::Server => f.write_str("server"),
        }
    }
}

/// What somebody may download anyhow: an artifact of a build that he may look at, or what one was made from that he could submit again.
const OF_USER: &str = "SELECT count(*) FROM users WHERE id = $2 AND (admin = 1 \
     OR EXISTS (SELECT 1 FROM artifacts JOIN builds ON builds.id = artifacts.build JOIN projects ON projects.name = builds.project \
         WHERE artifacts.sha256 = $1 AND (projects.open = 1 \
             OR EXISTS (SELECT 1 FROM members WHERE members.project = projects.name AND members.member = users.id))) \
     OR EXISTS (SELECT 1 FROM inputs JOIN tasks ON tasks.id = inputs.task JOIN members ON members.project = tasks.project \
         WHERE inputs.sha256 = $1 AND members.member = users.id AND members.role IN ($3, $4)))";

/// A stage that all nodes share, what a task that the node runs is made from, or what its project has made before.
const OF_NODE: &str = "SELECT (SELECT count(*) FROM stages WHERE sha256 = $1) + \
     (SELECT count(*) FROM tasks WHERE node = $2 AND state = 'running' AND ( \
         EXISTS (SELECT 1 FROM inputs WHERE inputs.task = tasks.id AND inputs.sha256 = $1) \
         OR EXISTS (SELECT 1 FROM artifacts JOIN builds ON builds.id = artifacts.build \
             WHERE artifacts.sha256 = $1 AND builds.project = tasks.project)))";

async fn holds(conn: impl Executor<'_, Database = Any>, holder: Holder, digest: Digest) -> Result<bool> {
    let sql = "SELECT count(*) FROM holders WHERE sha256 = $1 AND holder = $2";
    let query = sqlx::query_scalar::<_, i64>(sql).bind(digest.to_string()).bind(holder.to_string());
    Ok(query.fetch_one(conn).await? > 0)
}

async fn has_right(conn: impl Executor<'_, Database = Any>, holder: Holder, digest: Digest) -> Result<bool> {
    let query = |sql| sqlx::query_scalar::<_, i64>(sql).bind(digest.to_string());
    let count = match holder {
        Holder::User(id) => {
            let query = query(OF_USER).bind(id.to_string()).bind(Role::Builder.name()).bind(Role::Owner.name());
            query.fetch_one(conn).await?
        }
        Holder::Node(id) => query(OF_NODE).bind(id.to_string()).fetch_one(conn).await?,
        Holder::Server => return Ok(true),
    };
    Ok(count > 0)
}

impl Tx {
    /// Notes that somebody sent a blob, whose row is there, or was told that it is here.
    pub async fn hold(&mut self, holder: Holder, digest: Digest) -> Result<()> {
        if holder != Holder::Server {
            let sql = "INSERT INTO holders (sha256, holder) VALUES ($1, $2) ON CONFLICT (sha256, holder) DO NOTHING";
            let query = sqlx::query(sql).bind(digest.to_string()).bind(holder.to_string());
            query.execute(&mut *self.conn).await?;
        }
        Ok(())
    }

    /// Whether somebody is known to have a blob.
    pub async fn holds(&mut self, holder: Holder, digest: Digest) -> Result<bool> {
        holds(&mut *self.conn, holder, digest).await
    }

    /// Whether somebody may name a blob, if there is one.
    pub async fn may_name(&mut self, holder: Holder, digest: Digest) -> Result<bool> {
        Ok(self.holds(holder, digest).await? || has_right(&mut *self.conn, holder, digest).await?)
    }
}

impl Db {
    /// Whether somebody is known to have a blob.
    pub async fn holds(&self, holder: Holder, digest: Digest) -> Result<bool> {
        holds(self.reader(), holder, digest).await
    }

    /// Whether somebody may name a blob, if there is one.
    pub async fn may_name(&self, holder: Holder, digest: Digest) -> Result<bool> {
        Ok(self.holds(holder, digest).await? || has_right(self.reader(), holder, digest).await?)
    }
}
