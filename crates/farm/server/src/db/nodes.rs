//! Nodes: let in, heard of, sent away.

use kiln_farm_api::{Name, Node, NodeId, NodeState, Resources};
use sqlx::FromRow;

use super::tasks::{json, text, to_json};
use super::{Db, Tx};
use crate::error::{Error, Result};

/// After so long a silence a node counts as lost, milliseconds.
pub const SILENT: i64 = 30_000;

#[derive(Clone, Debug, FromRow)]
struct Row {
    id: String,
    name: String,
    revoked: i64,
    draining: i64,
    seen: Option<i64>,
    resources: Option<String>,
}

impl Row {
    fn state(&self, now: i64) -> NodeState {
        match self.seen {
            _ if self.revoked != 0 => NodeState::Revoked,
            None => NodeState::New,
            Some(seen) if now - seen > SILENT => NodeState::Lost,
            Some(_) if self.draining != 0 => NodeState::Draining,
            Some(_) => NodeState::Ready,
        }
    }
}

impl Tx {
    /// Lets a node in; `secret` is the digest of its credential.
    pub async fn enrol(&mut self, id: NodeId, name: &Name, secret: &str, now: i64) -> Result<()> {
        let sql = "INSERT INTO nodes (id, name, secret, created, revoked, draining) VALUES ($1, $2, $3, $4, 0, 0) \
                   ON CONFLICT (name) DO NOTHING";
        let query =
            sqlx::query(sql).bind(id.to_string()).bind(name.as_str().to_owned()).bind(secret.to_owned()).bind(now);
        match query.execute(&mut *self.conn).await?.rows_affected() {
            0 => Err(Error::conflict(format!("there is a node `{name}` already"))
                .hint("give this one another name, or revoke and forget that one")),
            _ => Ok(()),
        }
    }

    /// Gives a node that is there a new credential, so that the old one is worth nothing.
    pub async fn renew_credential(&mut self, name: &Name, secret: &str) -> Result<NodeId> {
        let sql = "UPDATE nodes SET secret = $1 WHERE name = $2 RETURNING id";
        let query = sqlx::query_scalar::<_, String>(sql).bind(secret.to_owned()).bind(name.as_str().to_owned());
        text(&query.fetch_optional(&mut *self.conn).await?.ok_or_else(|| Error::missing("node", name))?)
    }

    pub async fn heard(&mut self, id: NodeId, resources: &Resources, draining: bool, now: i64) -> Result<()> {
        let sql = "UPDATE nodes SET seen = $1, resources = $2, draining = $3 WHERE id = $4";
        let query = sqlx::query(sql).bind(now).bind(to_json(resources)).bind(i64::from(draining)).bind(id.to_string());
        query.execute(&mut *self.conn).await?;
        Ok(())
    }

    /// Returns the nodes that were sent away.
    pub async fn revoked(&mut self) -> Result<Vec<NodeId>> {
        let sql = "SELECT id FROM nodes WHERE revoked = 1";
        let rows: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut *self.conn).await?;
        rows.iter().map(|id| text(id)).collect()
    }

    /// Forgets a node that can do nothing any more, or never did, and returns what it was called.
    pub async fn forget(&mut self, id: NodeId) -> Result<Name> {
        let sql = "SELECT name, revoked, seen FROM nodes WHERE id = $1";
        let row: Option<(String, i64, Option<i64>)> =
            sqlx::query_as(sql).bind(id.to_string()).fetch_optional(&mut *self.conn).await?;
        let (name, revoked, seen) = row.ok_or_else(|| Error::missing("node", id))?;
        if revoked == 0 && seen.is_some() {
            return Err(Error::conflict(format!("node `{name}` may still come")).hint("revoke it first"));
        }
        sqlx::query("DELETE FROM nodes WHERE id = $1").bind(id.to_string()).execute(&mut *self.conn).await?;
        text(&name)
    }

    pub async fn revoke(&mut self, id: NodeId) -> Result<()> {
        let sql = "UPDATE nodes SET revoked = 1 WHERE id = $1";
        match sqlx::query(sql).bind(id.to_string()).execute(&mut *self.conn).await?.rows_affected() {
            0 => Err(Error::missing("node", id)),
            _ => Ok(()),
        }
    }
}

impl Db {
    pub async fn nodes(&self, now: i64) -> Result<Vec<Node>> {
        let sql = "SELECT id, name, revoked, draining, seen, resources FROM nodes ORDER BY name";
        let rows: Vec<Row> = sqlx::query_as(sql).fetch_all(self.reader()).await?;
        let sql = "SELECT node, id FROM tasks WHERE state = 'running' ORDER BY id";
        let held: Vec<(Option<String>, String)> = sqlx::query_as(sql).fetch_all(self.reader()).await?;
        let one = |row: Row| {
            let holding = held.iter().filter(|(node, _)| node.as_ref() == Some(&row.id)).map(|(_, task)| text(task));
            Ok(Node {
                id: text(&row.id)?,
                name: text(&row.name)?,
                state: row.state(now),
                seen: row.seen,
                resources: row.resources.as_deref().map(json).transpose()?,
                holding: holding.collect::<Result<_>>()?,
            })
        };
        rows.into_iter().map(one).collect()
    }

    /// Returns the node with this credential's digest, unless it was sent away.
    pub async fn node_with(&self, secret: &str) -> Result<Option<(NodeId, Name)>> {
        let sql = "SELECT id, name FROM nodes WHERE secret = $1 AND revoked = 0";
        let row: Option<(String, String)> =
            sqlx::query_as(sql).bind(secret.to_owned()).fetch_optional(self.reader()).await?;
        row.map(|(id, name)| Ok((text(&id)?, text(&name)?))).transpose()
    }
}
