//! Identities at a provider, the accounts they open, and logins under way.

use kiln_farm_api::access::Identity;
use kiln_farm_api::{Name, UserId};

use super::tasks::text;
use super::{Db, Tx};
use crate::error::{Error, Result};
use crate::oidc::{Begun, Claims, Settings, name};

impl Db {
    /// Returns by whom at providers accounts are opened: one user's, or all.
    pub async fn identities(&self, owner: Option<UserId>) -> Result<Vec<Identity>> {
        let sql = "SELECT users.name, issuer, subject, identities.created FROM identities JOIN users ON users.id = identities.owner \
                   WHERE (users.id = $1 OR $1 = '') ORDER BY users.name, issuer, subject";
        let owner = owner.map_or(String::new(), |owner| owner.to_string());
        let rows: Vec<(String, String, String, i64)> = sqlx::query_as(sql).bind(owner).fetch_all(self.reader()).await?;
        let one = |(user, issuer, subject, created): (String, String, String, i64)| {
            Ok(Identity { user: text(&user)?, issuer, subject, created })
        };
        rows.into_iter().map(one).collect()
    }
}

impl Tx {
    /// Lets somebody at a provider open an account no more, and ends the account's sessions. One way in stays.
    pub async fn unlink(&mut self, identity: &Identity) -> Result<()> {
        let Identity { user, issuer, subject, .. } = identity;
        let sql = "SELECT users.id, CASE WHEN password IS NULL THEN 0 ELSE 1 END, \
                   (SELECT count(*) FROM identities WHERE identities.owner = users.id) FROM users WHERE name = $1";
        let row: Option<(String, i64, i64)> =
            sqlx::query_as(sql).bind(user.as_str().to_owned()).fetch_optional(&mut *self.conn).await?;
        let (owner, password, all) = row.ok_or_else(|| Error::missing("user", user))?;
        let sql = "DELETE FROM identities WHERE issuer = $1 AND subject = $2 AND owner = $3";
        let query = sqlx::query(sql).bind(issuer.clone()).bind(subject.clone()).bind(owner.clone());
        if query.execute(&mut *self.conn).await?.rows_affected() == 0 {
            return Err(Error::missing("login of the provider", subject));
        }
        if password == 0 && all == 1 {
            let why = format!("`{user}` has no password, and no other way to log in");
            return Err(Error::conflict(why).hint("set a password first, or remove the account"));
        }
        sqlx::query("DELETE FROM sessions WHERE owner = $1").bind(owner).execute(&mut *self.conn).await?;
        Ok(())
    }

    pub async fn begin_login(&mut self, state: &str, begun: &Begun, now: i64, expires: i64) -> Result<()> {
        sqlx::query("DELETE FROM logins WHERE expires <= $1").bind(now).execute(&mut *self.conn).await?;
        let sql = "INSERT INTO logins (state, nonce, verifier, owner, expires) VALUES ($1, $2, $3, $4, $5)";
        sqlx::query(sql)
            .bind(state.to_owned())
            .bind(begun.nonce.clone())
            .bind(begun.verifier.clone())
            .bind(begun.owner.map(|owner| owner.to_string()))
            .bind(expires)
            .execute(&mut *self.conn)
            .await?;
        Ok(())
    }

    /// Uses a login up.
    pub async fn end_login(&mut self, state: &str, now: i64) -> Result<Option<Begun>> {
        let sql = "DELETE FROM logins WHERE state = $1 AND expires > $2 RETURNING nonce, verifier, owner";
        let query = sqlx::query_as::<_, (String, String, Option<String>)>(sql).bind(state.to_owned()).bind(now);
        let row = query.fetch_optional(&mut *self.conn).await?;
        row.map(|(nonce, verifier, owner)| {
            Ok(Begun { nonce, verifier, owner: owner.as_deref().map(text).transpose()? })
        })
        .transpose()
    }

    /// Returns whose account somebody opens: the one that is theirs, the one of `owner`, who asked for it, or a new one.
    pub async fn known(
        &mut self,
        settings: &Settings,
        claims: &Claims,
        owner: Option<UserId>,
        fresh: UserId,
        now: i64,
    ) -> Result<UserId> {
        let sql = "SELECT owner, made FROM identities WHERE issuer = $1 AND subject = $2";
        let query = sqlx::query_as::<_, (String, i64)>(sql).bind(claims.issuer.clone()).bind(claims.subject.clone());
        let found = query.fetch_optional(&mut *self.conn).await?;
        let found = found.map(|(known, made)| Ok::<_, Error>((text::<UserId>(&known)?, made != 0))).transpose()?;
        let admin =
            settings.admin_group.as_ref().map(|group| claims.groups(&settings.groups_claim).any(|one| one == group));
        match (found, owner) {
            (Some((known, _)), Some(owner)) if known != owner => {
                Err(Error::conflict("who logged in there opens another account here already"))
            }
            (Some((known, made)), _) => {
                self.administer(known, admin.filter(|_| made), now).await?;
                Ok(known)
            }
            (None, Some(owner)) => {
                self.identify(claims, owner, false, now).await?;
                self.note(now, claims.called(), "link login", &claims.issuer).await?;
                Ok(owner)
            }
            (None, None) if settings.create => self.make_known(claims, fresh, admin.unwrap_or(false), now).await,
            (None, None) => Err(Error::forbidden("who logged in there has no account here")
                .hint("log in by password and link it on the page `Account`, or ask an administrator")),
        }
    }

    async fn make_known(&mut self, claims: &Claims, id: UserId, admin: bool, now: i64) -> Result<UserId> {
        let nameless = || {
            Error::forbidden("what you are called there is no name here").hint("ask an administrator for an account")
        };
        let name: Name = name(claims.called()).ok_or_else(nameless)?;
        self.make_user(id, &name, None, admin, now).await.map_err(|error| {
            error
                .hint("if it is yours, log in by password and link it on the page `Account`; else ask an administrator")
        })?;
        self.identify(claims, id, true, now).await?;
        self.note(now, name.as_str(), "first login", &claims.issuer).await?;
        Ok(id)
    }

    async fn identify(&mut self, claims: &Claims, owner: UserId, made: bool, now: i64) -> Result<()> {
        let sql = "INSERT INTO identities (issuer, subject, owner, made, created) VALUES ($1, $2, $3, $4, $5)";
        sqlx::query(sql)
            .bind(claims.issuer.clone())
            .bind(claims.subject.clone())
            .bind(owner.to_string())
            .bind(i64::from(made))
            .bind(now)
            .execute(&mut *self.conn)
            .await?;
        Ok(())
    }

    /// Makes somebody an administrator, or none any more, as their groups say now; the last one stays.
    async fn administer(&mut self, user: UserId, admin: Option<bool>, now: i64) -> Result<()> {
        let Some(admin) = admin else { return Ok(()) };
        let sql = "UPDATE users SET admin = $1 WHERE id = $2 AND admin <> $1 \
                   AND ($1 = 1 OR (SELECT count(*) FROM users WHERE admin = 1) > 1)";
        let query = sqlx::query(sql).bind(i64::from(admin)).bind(user.to_string());
        if query.execute(&mut *self.conn).await?.rows_affected() == 1 {
            self.note(
                now,
                "kiln",
                if admin { "make administrator" } else { "unmake administrator" },
                &user.to_string(),
            )
            .await?;
        }
        Ok(())
    }
}
