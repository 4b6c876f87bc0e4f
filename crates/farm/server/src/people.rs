//! Who comes in and who leaves: accounts, invitations, nodes that are no more.

use futures_util::FutureExt as _;
use kiln_farm_api::access::Invitation;
use kiln_farm_api::{Name, NodeId, Role, User, UserId};
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::farm::Farm;
use crate::secret;

/// How long an invitation opens the door, milliseconds.
const INVITATION: i64 = 24 * 3600 * 1000;

impl Farm {
    /// Makes an account; `password` is its hash, and without one it is entered by invitation.
    pub async fn make_user(&self, name: Name, password: Option<String>, admin: bool, by: &str) -> Result<User> {
        let user = User { id: UserId(Uuid::now_v7()), name, admin, created: self.now() };
        let (kept, by) = (user.clone(), by.to_owned());
        let job = self.db.write(move |tx| {
            async move {
                tx.make_user(kept.id, &kept.name, password, admin, kept.created).await?;
                tx.note(kept.created, &by, "make user", kept.name.as_str()).await
            }
            .boxed()
        });
        job.await?;
        Ok(user)
    }

    /// Whether somebody may build for a project, whoever asks for it in their name.
    pub(crate) async fn may_build(&self, user: &Name, project: &Name) -> Result<bool> {
        let Some((known, _)) = self.db.user_named(user.as_str()).await? else { return Ok(false) };
        let found = self.db.projects().await?.into_iter().find(|one| one.name == *project);
        let members = found.map(|project| project.members).unwrap_or_default();
        Ok(known.admin || members.iter().any(|one| one.user == *user && one.role >= Role::Builder))
    }

    /// Returns a link that logs a user in once.
    pub async fn invite(&self, name: &Name, by: &str) -> Result<Invitation> {
        let (user, _) = self.db.user_named(name.as_str()).await?.ok_or_else(|| Error::missing("user", name))?;
        let secret::Fresh { secret, digest } = secret::fresh("")?;
        let (now, by) = (self.now(), by.to_owned());
        let expires = now + INVITATION;
        let job = self.db.write(move |tx| {
            async move {
                tx.invite(user.id, &digest, expires).await?;
                tx.note(now, &by, "invite user", user.name.as_str()).await
            }
            .boxed()
        });
        job.await?;
        Ok(Invitation { link: format!("{}/welcome/{secret}", self.address), expires })
    }

    /// Removes an account with its tokens, sessions and places in projects; what it submitted stays.
    pub async fn drop_user(&self, name: Name, by: &Name) -> Result<()> {
        if name == *by {
            return Err(Error::conflict("nobody removes their own account").hint("another administrator does"));
        }
        let (now, by) = (self.now(), by.to_string());
        let job = self.db.write(move |tx| {
            async move {
                tx.drop_user(&name).await?;
                tx.note(now, &by, "remove user", name.as_str()).await
            }
            .boxed()
        });
        job.await
    }

    /// Forgets a node that was revoked, or never came: its name is free again.
    pub async fn forget(&self, node: NodeId, by: &str) -> Result<()> {
        let (now, by) = (self.now(), by.to_owned());
        let job = self.db.write(move |tx| {
            async move {
                let name = tx.forget(node).await?;
                tx.note(now, &by, "forget node", name.as_str()).await
            }
            .boxed()
        });
        job.await
    }
}
