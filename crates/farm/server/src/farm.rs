//! The farm itself: everything handlers and pages need, and the verbs that are more than a query.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::FutureExt as _;
use kiln_farm_api::hook::{Hook, NewHook};
use kiln_farm_api::{
    BuildId, Complete, DeliveryId, Enrolled, Given, HookId, Name, NewProject, NodeId, Order, Retention, Role, Scope,
    Submission, Taken, TaskId, Tell, Token, TokenId, UserId, What, Work,
};
use uuid::Uuid;

use crate::blobs::Blobs;
use crate::db::builds::Fresh;
use crate::db::holders::Holder;
use crate::db::tasks::Row;
use crate::db::{Db, Said};
use crate::decide::complete::{Verdict, complete};
use crate::decide::output;
use crate::decide::settle::mistake;
use crate::decide::{State, Terms};
use crate::dispatch::Dispatch;
use crate::error::{Error, Result};
use crate::guesses::Guesses;
use crate::hub::Hub;
use crate::limits::Gate;
use crate::metrics::Metrics;
use crate::oidc::Provider;
use crate::seals::Whose;
use crate::sources::Gather;
use crate::vault::Vault;
use crate::{hooks, secret};

/// What time it is: milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// A farm at work.
#[derive(Clone)]
pub struct Farm {
    pub db: Db,
    pub hub: Arc<Hub>,
    pub blobs: Blobs,
    pub dispatch: Dispatch,
    pub terms: Terms,
    pub clock: Clock,
    /// What the server is called from outside: `http://HOST:PORT`.
    pub address: Arc<str>,
    pub guesses: Arc<Guesses>,
    pub gate: Arc<Gate>,
    pub metrics: Arc<Metrics>,
    /// Whether everyone may look at the metrics.
    pub metrics_open: bool,
    /// Whether somebody tells a Redis of tasks that name a channel.
    pub channels: bool,
    /// Whether webhooks may lead into the server's own network.
    pub webhooks_private: bool,
    /// What reads sources; none: there are none.
    pub gather: Option<Gather>,
    /// Whether sources may lie in the server's own network, or on its disk.
    pub sources_private: bool,
    /// By whom people log in besides; none: by password alone.
    pub oidc: Option<Arc<Provider>>,
    /// Bytes of stages that are kept for nodes; 0: none are taken.
    pub stages_limit: u64,
    /// What secrets are kept with.
    pub vault: Vault,
    /// After so many bytes an upload under way is parked.
    pub park: u64,
}

/// Most tasks in one submission.
const TASKS: usize = 1000;
/// Most files that a task takes of others.
const GIVEN: usize = 1000;
/// Longest name of a build, characters.
const NAME: usize = 200;

impl Farm {
    pub fn now(&self) -> i64 {
        (self.clock)()
    }

    /// Takes a submission of `by`, made from what `holder` may name.
    pub async fn submit(&self, submission: Submission, by: &str, holder: Holder) -> Result<BuildId> {
        let fresh = self.fresh(submission, by, holder).await?;
        let (now, terms) = (self.now(), self.terms);
        let id = self.db.write(move |tx| tx.submit(fresh, now, terms).boxed()).await?;
        self.dispatch.wake();
        Ok(id)
    }

    /// Returns a submission of `by` as the build it is to be, if it can be one; it is made from what `holder` may name.
    pub(crate) async fn fresh(&self, submission: Submission, by: &str, holder: Holder) -> Result<Fresh> {
        sound(&submission)?;
        if let Some(task) = submission.tasks.iter().find(|task| task.channel.is_some() && !self.channels) {
            let why = format!("`{}` is to be told to Redis, and this server knows none", task.name);
            return Err(Error::bad(why).hint("its operator names one: `kiln serve --redis-url URL`"));
        }
        self.has_secrets(&submission).await?;
        for Order { work, name, .. } in &submission.tasks {
            for input in work.inputs() {
                if self.db.blob(input).await?.is_none() || !self.db.may_name(holder, input).await? {
                    let why = format!("the bundle of `{name}` is not uploaded: there is no blob {input}");
                    return Err(Error::conflict(why));
                }
            }
        }
        let ids = submission.tasks.iter().map(|_| TaskId(Uuid::now_v7())).collect();
        Ok(Fresh { id: BuildId(Uuid::now_v7()), tasks: ids, submission, by: by.to_owned() })
    }

    pub async fn cancel(&self, build: BuildId, by: &str) -> Result<()> {
        let (by, now) = (by.to_owned(), self.now());
        self.db
            .write(move |tx| {
                async move {
                    // Where all has ended there is nothing to note.
                    if tx.cancel(build, &by, now).await? {
                        tx.note(now, &by, "cancel build", &build.to_string()).await?;
                    }
                    Ok(())
                }
                .boxed()
            })
            .await?;
        self.dispatch.wake();
        Ok(())
    }

    pub async fn retry(&self, build: BuildId, by: &str) -> Result<()> {
        let (by, now) = (by.to_owned(), self.now());
        self.db
            .write(move |tx| {
                async move {
                    tx.note(now, &by, "try build again", &build.to_string()).await?;
                    tx.retry(build, by, now).await
                }
                .boxed()
            })
            .await?;
        self.dispatch.wake();
        Ok(())
    }

    /// Takes events of a task from the node that has it; those it has already are skipped.
    pub async fn tell(&self, node: NodeId, task: TaskId, tell: Tell) -> Result<Taken> {
        let limit = self.terms.output;
        self.db
            .write(move |tx| {
                async move {
                    let row = tx.task(task).await?;
                    leased(&row, node, task, tell.epoch)?;
                    let told = row.told as u64;
                    let fresh: Vec<_> = tell.events.into_iter().skip_while(|event| event.seq <= told).collect();
                    if let Some(wrong) = fresh.iter().zip(told + 1..).find(|(event, seq)| event.seq != *seq) {
                        let why = format!("event {} is to come next, not {}", wrong.1, wrong.0.seq);
                        return Err(Error::bad(why).hint("events of a task come in order and without gaps"));
                    }
                    let seq = told + fresh.len() as u64;
                    let build = row.build.parse().map_err(|error| Error::failed("read a build's id", error))?;
                    let before = tx.output(build).await?;
                    let mut used = before;
                    let said = fresh.into_iter().filter_map(|event| {
                        let kind = output::bounded(output::shortened(event.kind), &mut used, limit)?;
                        let (at, task) = (tell.began + event.at as i64, Some((task, tell.epoch)));
                        Some(Said { at, task, what: What::Build(kind) })
                    });
                    let said = said.collect();
                    if used != before {
                        tx.set_output(build, used).await?;
                    }
                    tx.tell(build, said).await?;
                    tx.took(task, seq).await?;
                    Ok(Taken { seq })
                }
                .boxed()
            })
            .await
    }

    /// Takes a task's result from the node that has it.
    pub async fn complete(&self, node: NodeId, task: TaskId, result: Complete) -> Result<()> {
        result.artifacts.iter().try_for_each(|artifact| plain_path(&artifact.name))?;
        let (now, terms) = (self.now(), self.terms);
        self.db
            .write(move |tx| {
                async move {
                    let row = tx.task(task).await?;
                    let seen = row.task()?;
                    let Complete { epoch, failure, artifacts } = result;
                    match complete(&seen, row.node()?, node, epoch, failure, now, &terms) {
                        Verdict::Refuse => Err(not_its_lease(task, epoch)),
                        Verdict::Known => Ok(()),
                        Verdict::Accept(change) => {
                            tx.stored((seen.build, task), node, &artifacts, now).await?;
                            let made = tx.apply(vec![change], now).await?;
                            if made.is_empty() { Err(not_its_lease(task, epoch)) } else { Ok(()) }
                        }
                    }
                }
                .boxed()
            })
            .await?;
        self.dispatch.wake();
        Ok(())
    }

    /// Says which builds a project keeps.
    pub async fn set_retention(&self, project: Name, rules: Retention, by: &str) -> Result<()> {
        let (now, by) = (self.now(), by.to_owned());
        self.db
            .write(move |tx| {
                async move {
                    tx.set_retention(&project, &rules).await?;
                    tx.note(now, &by, "change retention", project.as_str()).await
                }
                .boxed()
            })
            .await
    }

    /// Lets a build stay whatever the rules say, or not any more.
    pub async fn pin(&self, build: BuildId, pinned: bool, by: &str) -> Result<()> {
        let (now, by) = (self.now(), by.to_owned());
        self.db
            .write(move |tx| {
                async move {
                    tx.pin(build, pinned).await?;
                    tx.note(now, &by, if pinned { "pin build" } else { "unpin build" }, &build.to_string()).await
                }
                .boxed()
            })
            .await
    }

    /// Lets somebody be told of a project's builds; the secret is in the answer and nowhere else that people look.
    pub async fn make_hook(&self, project: Name, new: NewHook, by: &str) -> Result<Hook> {
        let NewHook { url, events, secret } = new;
        let url: url::Url = url.parse().map_err(|error| Error::bad(format!("`{url}` is no address: {error}")))?;
        if let Some(why) = hooks::refused(&url, self.webhooks_private) {
            return Err(Error::bad(why).hint("an operator may allow private addresses: `--webhooks-private`"));
        }
        if events.is_empty() || secret.as_ref().is_some_and(|secret| secret.chars().count() < 16) {
            return Err(Error::bad("a hook has at least one event, and a secret of at least 16 characters"));
        }
        let secret = secret.map_or_else(|| secret::fresh("").map(|fresh| fresh.secret), Ok)?;
        let (now, by) = (self.now(), by.to_owned());
        let hook = Hook { id: HookId(Uuid::now_v7()), url: url.into(), events, created: now, secret: None };
        let (kept, key) = (hook.clone(), Whose::Hook(hook.id).seal(&self.vault, &secret)?);
        self.db
            .write(move |tx| {
                async move {
                    tx.make_hook(&project, &kept, &key).await?;
                    tx.note(now, &by, "make hook", project.as_str()).await
                }
                .boxed()
            })
            .await?;
        Ok(Hook { secret: Some(secret), ..hook })
    }

    pub async fn drop_hook(&self, project: Name, hook: HookId, by: &str) -> Result<()> {
        let (now, by) = (self.now(), by.to_owned());
        self.db
            .write(move |tx| {
                async move {
                    tx.drop_hook(&project, hook).await?;
                    tx.note(now, &by, "drop hook", project.as_str()).await
                }
                .boxed()
            })
            .await
    }

    /// Delivers something once more.
    pub async fn redeliver(&self, project: Name, hook: HookId, delivery: DeliveryId, by: &str) -> Result<()> {
        let (now, by) = (self.now(), by.to_owned());
        self.db
            .write(move |tx| {
                async move {
                    tx.redeliver(&project, hook, delivery, now).await?;
                    tx.note(now, &by, "deliver again", &delivery.to_string()).await
                }
                .boxed()
            })
            .await
    }

    /// Lets a node in.
    pub async fn enrol(&self, name: Name, by: &str) -> Result<Enrolled> {
        let fresh = secret::fresh(secret::NODE)?;
        let (id, now, by) = (NodeId(Uuid::now_v7()), self.now(), by.to_owned());
        let told = name.clone();
        let credential = self
            .db
            .write(move |tx| {
                async move {
                    tx.enrol(id, &told, &fresh.digest, now).await?;
                    tx.note(now, &by, "enrol node", told.as_str()).await?;
                    Ok(fresh.secret)
                }
                .boxed()
            })
            .await?;
        Ok(Enrolled { id, name, credential })
    }

    /// Gives the node that lives in this process a credential for as long as the process.
    pub async fn enrol_own(&self, name: &Name) -> Result<String> {
        let fresh = secret::fresh(secret::NODE)?;
        let (id, now, name) = (NodeId(Uuid::now_v7()), self.now(), name.clone());
        self.db
            .write(move |tx| {
                async move {
                    if tx.renew_credential(&name, &fresh.digest).await.is_err() {
                        tx.enrol(id, &name, &fresh.digest, now).await?;
                    }
                    Ok(fresh.secret)
                }
                .boxed()
            })
            .await
    }

    /// Sends a node away; what it has goes out again.
    pub async fn revoke(&self, node: NodeId, by: &str) -> Result<()> {
        let (now, terms, by) = (self.now(), self.terms, by.to_owned());
        self.db
            .write(move |tx| {
                async move {
                    tx.revoke(node).await?;
                    let lost = crate::decide::hear::hear(node, &[], true, &tx.running_on(node).await?, now, &terms);
                    tx.apply(lost.changes, now).await?;
                    tx.note(now, &by, "revoke node", &node.to_string()).await
                }
                .boxed()
            })
            .await?;
        self.dispatch.wake();
        Ok(())
    }

    /// Makes a project that `owner` owns.
    pub async fn make_project(&self, project: NewProject, owner: Option<UserId>, by: &str) -> Result<()> {
        let (now, by) = (self.now(), by.to_owned());
        self.db
            .write(move |tx| {
                async move {
                    tx.make_project(&project, owner, now).await?;
                    tx.note(now, &by, "make project", project.name.as_str()).await
                }
                .boxed()
            })
            .await
    }

    /// Gives a user a role in a project, or takes it away.
    pub async fn join(&self, project: Name, user: UserId, role: Option<Role>, by: &str) -> Result<()> {
        let (now, by) = (self.now(), by.to_owned());
        self.db
            .write(move |tx| {
                async move {
                    tx.join(&project, user, role).await?;
                    tx.note(now, &by, "change members", project.as_str()).await
                }
                .boxed()
            })
            .await
    }

    /// Returns a token that is in no database yet, with its secret.
    pub fn new_token(
        user: &Name,
        name: String,
        scopes: BTreeSet<Scope>,
        lasts: Option<u64>,
        now: i64,
    ) -> Result<(Token, secret::Fresh)> {
        let expires = lasts.map(|seconds| now.saturating_add_unsigned(seconds.saturating_mul(1000)));
        let (id, user) = (TokenId(Uuid::now_v7()), user.clone());
        let token = Token { id, name, user, scopes, created: now, expires, secret: None };
        Ok((token, secret::fresh(secret::TOKEN)?))
    }

    /// Makes a token of a user's; its secret is in the answer and nowhere else.
    pub async fn make_token(
        &self,
        user: UserId,
        user_name: &Name,
        name: String,
        scopes: impl IntoIterator<Item = Scope>,
        lasts: Option<u64>,
    ) -> Result<Token> {
        let (now, scopes) = (self.now(), scopes.into_iter().collect());
        let (token, fresh) = Self::new_token(user_name, name, scopes, lasts, now)?;
        let kept = token.clone();
        let secret = self
            .db
            .write(move |tx| {
                async move {
                    tx.make_token(user, &kept, &fresh.digest).await?;
                    tx.note(now, kept.user.as_str(), "make token", &kept.name).await?;
                    Ok(fresh.secret)
                }
                .boxed()
            })
            .await?;
        Ok(Token { secret: Some(secret), ..token })
    }
}

/// Refuses a node that has no lease of a task.
pub(crate) fn leased(row: &Row, node: NodeId, task: TaskId, epoch: u64) -> Result<()> {
    let running = matches!(row.task()?.state, State::Running { .. });
    match row.node()? {
        Some(holder) if holder == node && row.epoch as u64 == epoch && running => Ok(()),
        _ => Err(not_its_lease(task, epoch)),
    }
}

fn not_its_lease(task: TaskId, epoch: u64) -> Error {
    let why = format!("lease {epoch} of task `{task}` is not this node's, or is over");
    Error::conflict(why).hint("stop it and forget it: it went out again, or was cancelled")
}

/// Refuses a task that takes files where they cannot lie, or from tasks that need not come before it.
fn givable(order: &Order) -> Result<()> {
    let given = order.work.given();
    if given.len() > GIVEN {
        return Err(Error::bad(format!("a task takes {GIVEN} files of others at most, not {}", given.len())));
    }
    let (mut paths, needs) = (BTreeSet::new(), order.needs.iter().collect::<BTreeSet<_>>());
    for Given { task, artifact, path } in given {
        plain_path(path)?;
        plain_path(artifact)?;
        if !paths.insert(path) {
            return Err(Error::bad(format!("`{}` takes two files to `{path}`", order.name)));
        }
        if !needs.contains(task) {
            let why = format!("`{}` takes `{artifact}` from `{task}`, which is not among what it needs", order.name);
            return Err(Error::bad(why));
        }
    }
    Ok(())
}

fn sound(submission: &Submission) -> Result<()> {
    let count = submission.tasks.len();
    if count == 0 || count > TASKS {
        return Err(Error::bad(format!("a build has 1 to {TASKS} tasks, not {count}")));
    }
    let length = submission.name.chars().count();
    if length == 0 || length > NAME || submission.name.chars().any(char::is_control) {
        return Err(Error::bad(format!("a build's name has 1 to {NAME} characters and no control characters")));
    }
    if submission.once.as_ref().is_some_and(|once| once.len() > NAME || once.contains(char::is_control)) {
        let why = format!("what a submission is known by again has {NAME} bytes at most and no control characters");
        return Err(Error::bad(why));
    }
    for Order { work: Work::Image { recipe, .. }, channel, .. } in &submission.tasks {
        plain_path(recipe)?;
        let odd = |c: char| c.is_control() || c.is_whitespace();
        if let Some(name) = channel.as_ref().filter(|name| name.is_empty() || name.len() > NAME || name.contains(odd)) {
            let why = format!("`{}` is no name of a channel", name.escape_debug());
            return Err(Error::bad(why).hint("1 to 200 bytes without spaces"));
        }
    }
    let mut channels = BTreeSet::new();
    if let Some(twice) =
        submission.tasks.iter().filter_map(|task| task.channel.as_ref()).find(|name| !channels.insert(*name))
    {
        return Err(Error::bad(format!("two tasks are told in channel `{twice}`: nobody could tell them apart")));
    }
    let tasks: Vec<_> = submission.tasks.iter().map(|task| (task.name.clone(), task.needs.clone())).collect();
    mistake(&tasks).map_or(Ok(()), |mistake| Err(Error::bad(mistake)))?;
    submission.tasks.iter().try_for_each(givable)
}

/// Refuses a path that leads out of its folder.
fn plain_path(path: &str) -> Result<()> {
    let odd = |part: &str| matches!(part, "" | "." | "..");
    if path.is_empty() || path.len() > 1024 || path.split('/').any(odd) || path.chars().any(char::is_control) {
        return Err(Error::bad(format!("`{}` is no path under a folder", path.escape_debug())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (path, sound) in
            [("kiln.toml", true), ("a/b", true), ("", false), ("/a", false), ("a/../b", false), ("a\n", false)]
        {
            assert_eq!(plain_path(path).is_ok(), sound, "{path}");
        }
    }
}
