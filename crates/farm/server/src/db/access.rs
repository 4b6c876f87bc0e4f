//! People, their tokens and projects, and who did what.

use std::collections::{BTreeMap, BTreeSet};

use kiln_farm_api::access::{ChangedProject, Member};
use kiln_farm_api::{Name, NewProject, Project, Retention, Role, Scope, Token, TokenId, User, UserId};

use serde::Deserialize;
use utoipa::IntoParams;

use super::tasks::{json, text, to_json, word};
use super::{Db, Tx};
use crate::error::{Error, Result};

/// Who somebody is, by a token or a session.
#[derive(Clone, Debug)]
pub struct Known {
    pub user: UserId,
    pub name: Name,
    pub admin: bool,
    pub scopes: BTreeSet<Scope>,
    pub by: By,
}

/// By what somebody is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A login.
    Session,
    /// A token, until then where it ends.
    Token { expires: Option<i64> },
}

type KnownRow = (String, String, i64, String, Option<i64>);

fn known((user, name, admin, scopes, expires): KnownRow, token: bool) -> Result<Known> {
    let by = if token { By::Token { expires } } else { By::Session };
    Ok(Known { user: text(&user)?, name: text(&name)?, admin: admin != 0, scopes: json(&scopes)?, by })
}

impl Tx {
    /// Makes an account; `password` is its hash.
    pub async fn make_user(
        &mut self,
        id: UserId,
        name: &Name,
        password: Option<String>,
        admin: bool,
        now: i64,
    ) -> Result<()> {
        let sql = "INSERT INTO users (id, name, password, admin, created) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (name) DO NOTHING";
        let query = sqlx::query(sql).bind(id.to_string()).bind(name.as_str().to_owned()).bind(password);
        match query.bind(i64::from(admin)).bind(now).execute(&mut *self.conn).await?.rows_affected() {
            0 => Err(Error::conflict(format!("there is a user `{name}` already"))),
            _ => Ok(()),
        }
    }

    /// Removes an account with all that hangs on it; one administrator stays.
    pub async fn drop_user(&mut self, name: &Name) -> Result<()> {
        let sql = "SELECT admin, (SELECT count(*) FROM users WHERE admin = 1) FROM users WHERE name = $1";
        let row: Option<(i64, i64)> =
            sqlx::query_as(sql).bind(name.as_str().to_owned()).fetch_optional(&mut *self.conn).await?;
        let (admin, admins) = row.ok_or_else(|| Error::missing("user", name))?;
        if admin != 0 && admins <= 1 {
            return Err(Error::conflict(format!("`{name}` is the only administrator")));
        }
        let sql = "SELECT project, url FROM sources JOIN users ON users.id = sources.owner WHERE users.name = $1 ORDER BY project LIMIT 1";
        let owned: Option<(String, String)> =
            sqlx::query_as(sql).bind(name.as_str().to_owned()).fetch_optional(&mut *self.conn).await?;
        if let Some((project, url)) = owned {
            let why = format!("`{name}` has a source in project `{project}` that would stop: {url}");
            return Err(Error::conflict(why).hint("remove it, or let somebody else make it anew, and try again"));
        }
        let sql = "DELETE FROM users WHERE name = $1";
        sqlx::query(sql).bind(name.as_str().to_owned()).execute(&mut *self.conn).await?;
        Ok(())
    }

    /// Makes a password the user's; sessions from before it end.
    pub async fn set_password(&mut self, user: UserId, password: String) -> Result<()> {
        let sql = "UPDATE users SET password = $1 WHERE id = $2";
        sqlx::query(sql).bind(password).bind(user.to_string()).execute(&mut *self.conn).await?;
        let sql = "DELETE FROM sessions WHERE owner = $1";
        sqlx::query(sql).bind(user.to_string()).execute(&mut *self.conn).await?;
        Ok(())
    }

    pub async fn make_token(&mut self, user: UserId, token: &Token, secret: &str) -> Result<()> {
        let sql = "INSERT INTO tokens (id, owner, name, secret, scopes, created, expires) VALUES ($1, $2, $3, $4, $5, $6, $7)";
        sqlx::query(sql)
            .bind(token.id.to_string())
            .bind(user.to_string())
            .bind(token.name.clone())
            .bind(secret.to_owned())
            .bind(to_json(&token.scopes))
            .bind(token.created)
            .bind(token.expires)
            .execute(&mut *self.conn)
            .await?;
        Ok(())
    }

    /// Takes a token back: the owner's own, or anybody's where `owner` is none.
    pub async fn drop_token(&mut self, id: TokenId, owner: Option<UserId>) -> Result<()> {
        let sql = "DELETE FROM tokens WHERE id = $1 AND (owner = $2 OR $2 = '')";
        let query = sqlx::query(sql).bind(id.to_string()).bind(owner.map_or(String::new(), |owner| owner.to_string()));
        match query.execute(&mut *self.conn).await?.rows_affected() {
            0 => Err(Error::missing("token", id)),
            _ => Ok(()),
        }
    }

    /// Lets a user in once; `maker` none: the server says so itself.
    pub async fn invite(&mut self, user: UserId, secret: &str, maker: Option<UserId>, expires: i64) -> Result<()> {
        let sql = "INSERT INTO invitations (secret, owner, maker, expires) VALUES ($1, $2, $3, $4)";
        let query = sqlx::query(sql).bind(secret.to_owned()).bind(user.to_string());
        query.bind(maker.map(|maker| maker.to_string())).bind(expires).execute(&mut *self.conn).await?;
        Ok(())
    }

    /// Uses an invitation up, and returns whose it was; none where its maker may not invite any more.
    pub async fn accept(&mut self, secret: &str, now: i64) -> Result<Option<UserId>> {
        let sql = "DELETE FROM invitations WHERE secret = $1 AND expires > $2 RETURNING owner, maker";
        let query = sqlx::query_as::<_, (String, Option<String>)>(sql).bind(secret.to_owned()).bind(now);
        let Some((owner, maker)) = query.fetch_optional(&mut *self.conn).await? else { return Ok(None) };
        if let Some(maker) = maker {
            let sql = "SELECT count(*) FROM users WHERE id = $1 AND admin = 1";
            let still: i64 = sqlx::query_scalar(sql).bind(maker).fetch_one(&mut *self.conn).await?;
            if still == 0 {
                return Ok(None);
            }
        }
        text(&owner).map(Some)
    }

    pub async fn begin_session(&mut self, user: UserId, secret: &str, now: i64, expires: i64) -> Result<()> {
        let sql = "DELETE FROM sessions WHERE expires <= $1";
        sqlx::query(sql).bind(now).execute(&mut *self.conn).await?;
        let sql = "INSERT INTO sessions (secret, owner, created, expires) VALUES ($1, $2, $3, $4)";
        let query = sqlx::query(sql).bind(secret.to_owned()).bind(user.to_string()).bind(now).bind(expires);
        query.execute(&mut *self.conn).await?;
        let name = sqlx::query_scalar::<_, String>("SELECT name FROM users WHERE id = $1").bind(user.to_string());
        let name = name.fetch_one(&mut *self.conn).await?;
        self.note(now, &name, "log in", "").await
    }

    pub async fn end_session(&mut self, secret: &str, now: i64) -> Result<()> {
        let sql = "SELECT users.name FROM sessions JOIN users ON users.id = sessions.owner WHERE sessions.secret = $1";
        let name = sqlx::query_scalar::<_, String>(sql).bind(secret.to_owned()).fetch_optional(&mut *self.conn).await?;
        let Some(name) = name else { return Ok(()) };
        sqlx::query("DELETE FROM sessions WHERE secret = $1").bind(secret.to_owned()).execute(&mut *self.conn).await?;
        self.note(now, &name, "log out", "").await
    }

    /// Makes a project, whose first owner its maker is.
    pub async fn make_project(&mut self, project: &NewProject, owner: Option<UserId>, now: i64) -> Result<()> {
        let sql =
            "INSERT INTO projects (name, created, open, weight) VALUES ($1, $2, $3, $4) ON CONFLICT (name) DO NOTHING";
        let weight = i64::from(project.weight.unwrap_or(1).clamp(1, 1000));
        let query = sqlx::query(sql).bind(project.name.as_str().to_owned()).bind(now).bind(i64::from(project.open));
        if query.bind(weight).execute(&mut *self.conn).await?.rows_affected() == 0 {
            return Err(Error::conflict(format!("there is a project `{}` already", project.name)));
        }
        match owner {
            Some(owner) => self.join(&project.name, owner, Some(Role::Owner)).await,
            None => Ok(()),
        }
    }

    pub async fn change_project(&mut self, project: &Name, change: &ChangedProject) -> Result<()> {
        let sql = "UPDATE projects SET open = coalesce($1, open), weight = coalesce($2, weight) WHERE name = $3";
        let query = sqlx::query(sql).bind(change.open.map(i64::from)).bind(change.weight.map(i64::from));
        match query.bind(project.as_str().to_owned()).execute(&mut *self.conn).await?.rows_affected() {
            0 => Err(Error::missing("project", project)),
            _ => Ok(()),
        }
    }

    /// Gives a user a role in a project, or takes it away.
    pub async fn join(&mut self, project: &Name, user: UserId, role: Option<Role>) -> Result<()> {
        let sql = "DELETE FROM members WHERE project = $1 AND member = $2";
        let query = sqlx::query(sql).bind(project.as_str().to_owned()).bind(user.to_string());
        query.execute(&mut *self.conn).await?;
        let Some(role) = role else { return Ok(()) };
        let sql = "INSERT INTO members (project, member, role) VALUES ($1, $2, $3)";
        let query = sqlx::query(sql).bind(project.as_str().to_owned()).bind(user.to_string()).bind(role.name());
        query.execute(&mut *self.conn).await?;
        Ok(())
    }

    /// Notes who did what.
    pub async fn note(&mut self, now: i64, who: &str, what: &str, subject: &str) -> Result<()> {
        let sql = "INSERT INTO audit (id, at, who, what, subject) VALUES ($1, $2, $3, $4, $5)";
        sqlx::query(sql)
            .bind(uuid::Uuid::now_v7().to_string())
            .bind(now)
            .bind(who.to_owned())
            .bind(what.to_owned())
            .bind(subject.to_owned())
            .execute(&mut *self.conn)
            .await?;
        Ok(())
    }
}

/// A line of the audit log.
#[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
pub struct Audited {
    /// Later ones have greater ids.
    pub id: uuid::Uuid,
    pub at: i64,
    pub who: String,
    pub what: String,
    pub subject: String,
}

impl Db {
    /// Returns whose token this is, by the digest of its secret.
    pub async fn token_owner(&self, secret: &str, now: i64) -> Result<Option<Known>> {
        let sql = "SELECT users.id, users.name, users.admin, tokens.scopes, tokens.expires FROM tokens JOIN users ON users.id = tokens.owner \
                   WHERE tokens.secret = $1 AND (tokens.expires IS NULL OR tokens.expires > $2)";
        let query = sqlx::query_as::<_, KnownRow>(sql).bind(secret.to_owned()).bind(now);
        query.fetch_optional(self.reader()).await?.map(|row| known(row, true)).transpose()
    }

    /// Returns whose session this is, by the digest of its secret.
    pub async fn session_owner(&self, secret: &str, now: i64) -> Result<Option<Known>> {
        let sql = "SELECT users.id, users.name, users.admin, '[\"read\",\"submit\",\"admin\"]', sessions.expires FROM sessions \
                   JOIN users ON users.id = sessions.owner WHERE sessions.secret = $1 AND sessions.expires > $2";
        let query = sqlx::query_as::<_, KnownRow>(sql).bind(secret.to_owned()).bind(now);
        query.fetch_optional(self.reader()).await?.map(|row| known(row, false)).transpose()
    }

    /// Returns a user with the hash of the password, where there is one.
    pub async fn user_named(&self, name: &str) -> Result<Option<(User, Option<String>)>> {
        let sql = "SELECT id, name, password, admin, created FROM users WHERE name = $1";
        let row: Option<(String, String, Option<String>, i64, i64)> =
            sqlx::query_as(sql).bind(name.to_owned()).fetch_optional(self.reader()).await?;
        row.map(|(id, name, password, admin, created)| {
            Ok((User { id: text(&id)?, name: text(&name)?, admin: admin != 0, created }, password))
        })
        .transpose()
    }

    pub async fn users(&self) -> Result<Vec<User>> {
        let sql = "SELECT id, name, admin, created FROM users ORDER BY name";
        let rows: Vec<(String, String, i64, i64)> = sqlx::query_as(sql).fetch_all(self.reader()).await?;
        let one = |(id, name, admin, created): (String, String, i64, i64)| {
            Ok(User { id: text(&id)?, name: text(&name)?, admin: admin != 0, created })
        };
        rows.into_iter().map(one).collect()
    }

    /// Returns tokens without their secrets: of one user, or of all.
    pub async fn tokens(&self, owner: Option<UserId>) -> Result<Vec<Token>> {
        let sql = "SELECT tokens.id, tokens.name, users.name, scopes, tokens.created, expires FROM tokens \
                   JOIN users ON users.id = tokens.owner WHERE (users.id = $1 OR $1 = '') ORDER BY tokens.id";
        let owner = owner.map_or(String::new(), |owner| owner.to_string());
        let rows: Vec<(String, String, String, String, i64, Option<i64>)> =
            sqlx::query_as(sql).bind(owner).fetch_all(self.reader()).await?;
        let one = |(id, name, user, scopes, created, expires): (String, String, String, String, i64, Option<i64>)| {
            let scopes = json(&scopes)?;
            Ok(Token { id: text(&id)?, name, user: text(&user)?, scopes, created, expires, secret: None })
        };
        rows.into_iter().map(one).collect()
    }

    /// Whether somebody has a role in any project that lets them build.
    pub async fn builds_somewhere(&self, user: UserId) -> Result<bool> {
        let sql = "SELECT count(*) FROM members WHERE member = $1 AND role IN ($2, $3)";
        let query = sqlx::query_scalar::<_, i64>(sql).bind(user.to_string());
        let query = query.bind(Role::Builder.name()).bind(Role::Owner.name());
        Ok(query.fetch_one(self.reader()).await? > 0)
    }

    pub async fn projects(&self) -> Result<Vec<Project>> {
        let rules: BTreeMap<Name, Retention> = self.retention().await?.into_iter().collect();
        let sql = "SELECT name, created, open, weight FROM projects ORDER BY name";
        let rows: Vec<(String, i64, i64, i64)> = sqlx::query_as(sql).fetch_all(self.reader()).await?;
        let sql =
            "SELECT project, users.name, role FROM members JOIN users ON users.id = members.member ORDER BY users.name";
        let members: Vec<(String, String, String)> = sqlx::query_as(sql).fetch_all(self.reader()).await?;
        let one = |(name, created, open, weight): (String, i64, i64, i64)| {
            let here = members.iter().filter(|(project, _, _)| *project == name);
            let members = here.map(|(_, user, role)| Ok(Member { user: text(user)?, role: word(role)? }));
            let members = members.collect::<Result<_>>()?;
            let name = text(&name)?;
            let retention = rules.get(&name).copied().unwrap_or_default();
            Ok(Project { name, created, open: open != 0, weight: weight as u32, members, retention })
        };
        rows.into_iter().map(one).collect()
    }

    /// Returns what was done, the newest first.
    pub async fn audit(&self, wanted: &Sought) -> Result<Vec<Audited>> {
        let sql = "SELECT id, at, who, what, subject FROM audit WHERE (id < $1 OR $1 = '') AND (who = $2 OR $2 = '') \
                   AND (what = $3 OR $3 = '') ORDER BY id DESC LIMIT $4";
        let query = sqlx::query_as(sql).bind(wanted.before.map(|id| id.to_string()).unwrap_or_default());
        let query = query.bind(wanted.who.clone()).bind(wanted.what.clone()).bind(i64::from(wanted.limit));
        let rows: Vec<(String, i64, String, String, String)> = query.fetch_all(self.reader()).await?;
        let one = |(id, at, who, what, subject): (String, i64, String, String, String)| {
            Ok(Audited { id: text(&id)?, at, who, what, subject })
        };
        rows.into_iter().map(one).collect()
    }
}

/// Which lines of the audit log are wanted.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct Sought {
    /// Only those before the one of this id.
    pub before: Option<uuid::Uuid>,
    /// Only what this user did; empty: what all did.
    pub who: String,
    /// Only this, as `log in`; empty: everything.
    pub what: String,
    /// 500 at most.
    pub limit: u32,
}

impl Default for Sought {
    fn default() -> Self {
        Self { before: None, who: String::new(), what: String::new(), limit: 500 }
    }
}
