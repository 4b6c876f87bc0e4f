//! Who comes in and who leaves: accounts, invitations, nodes that are no more.

use futures_util::FutureExt as _;
use kiln_farm_api::access::{ChangedProject, Identity, Invitation};
use kiln_farm_api::{Name, NodeId, Role, TokenId, User, UserId};
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

    /// Returns a link that logs a user in once, as long as its maker administers; none: whoever has the server does.
    pub async fn invite(&self, name: &Name, by: &str, maker: Option<UserId>) -> Result<Invitation> {
        let (user, _) = self.db.user_named(name.as_str()).await?.ok_or_else(|| Error::missing("user", name))?;
        let secret::Fresh { secret, digest } = secret::fresh("")?;
        let (now, by) = (self.now(), by.to_owned());
        let expires = now + INVITATION;
        let job = self.db.write(move |tx| {
            async move {
                tx.invite(user.id, &digest, maker, expires).await?;
                tx.note(now, &by, "invite user", user.name.as_str()).await
            }
            .boxed()
        });
        job.await?;
        Ok(Invitation { link: format!("{}/welcome/{secret}", self.address), expires })
    }

    /// Lets somebody at a provider open an account no more.
    pub async fn unlink(&self, identity: Identity, by: &str) -> Result<()> {
        let (now, by) = (self.now(), by.to_owned());
        let job = self.db.write(move |tx| {
            async move {
                tx.unlink(&identity).await?;
                tx.note(now, &by, "unlink login", &format!("{} of {}", identity.subject, identity.user)).await
            }
            .boxed()
        });
        job.await
    }

    /// Takes a token back: of `owner`, or anybody's.
    pub async fn drop_token(&self, id: TokenId, owner: Option<UserId>, by: &str) -> Result<()> {
        let (now, by) = (self.now(), by.to_owned());
        let job = self.db.write(move |tx| {
            async move {
                tx.drop_token(id, owner).await?;
                tx.note(now, &by, "drop token", &id.to_string()).await
            }
            .boxed()
        });
        job.await
    }

    /// Lets a project be seen by others, or have another share of the farm.
    pub async fn change_project(&self, project: Name, change: ChangedProject, by: &str) -> Result<()> {
        if change.weight.is_some_and(|weight| !(1..=1000).contains(&weight)) {
            return Err(Error::bad("a project's weight is a number from 1 to 1000"));
        }
        let (now, by) = (self.now(), by.to_owned());
        let job = self.db.write(move |tx| {
            async move {
                tx.change_project(&project, &change).await?;
                tx.note(now, &by, "change project", project.as_str()).await
            }
            .boxed()
        });
        job.await
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
