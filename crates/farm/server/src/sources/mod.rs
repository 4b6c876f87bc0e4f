//! Looks at what sources were told: fetches the commit, and lets what changed by it be built.
//!
//! A push is taken in the database before it is looked at, for a while, so that of several servers one does; of one that dies over it
//! another takes it later. Each build has a word of its own that comes from the push, so whoever comes second finds it made.
//!
//! What a repository holds is read by [`Gather`], which whoever starts the server gives it: the farm never builds.

mod gather;
mod make;
pub(crate) mod schedule;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
pub use gather::{Gather, Gathered, Mistake, Packed, Read, Wish};
use kiln_farm_api::source::{Origin, PushedRecipe};
use kiln_farm_api::{Order, Problem, Submission, Work};
use kiln_model::{Fault, FaultKind};
use tokio::sync::Semaphore;

use crate::db::holders::Holder;
use crate::db::sources::{Due, Kept, Seen};
use crate::error::{Error, Result, chain};
use crate::farm::Farm;
use crate::seals::Whose;

/// How often there is a look at what was told.
const TICK: Duration = Duration::from_millis(500);
/// How long a push belongs to who looks at it, milliseconds; longer than any fetch takes.
const TURN: i64 = 15 * 60_000;
/// How many are looked at at once.
const TOGETHER: usize = 2;
/// How often a fetch is tried.
const ATTEMPTS: u32 = 4;
/// The pause after the first try, milliseconds; each time it is four times as long.
const PAUSE: i64 = 15_000;
/// How much of a commit's name is in a build's.
const SHORT: usize = 12;

/// Looks at what sources were told until the farm ends.
pub async fn run(farm: Farm) {
    let Some(gather) = farm.gather.clone() else { return };
    let turns = Arc::new(Semaphore::new(TOGETHER));
    loop {
        tokio::time::sleep(TICK).await;
        if let Err(error) = schedule::keep(&farm).await {
            tracing::error!("look at schedules: {}", chain(&error));
        }
        let free = turns.available_permits() as u32;
        let due = if free == 0 { Ok(vec![]) } else { farm.db.due_pushes(farm.now(), free).await };
        match due {
            Ok(due) => {
                for due in due {
                    let Ok(turn) = turns.clone().try_acquire_owned() else { break };
                    let (farm, gather) = (farm.clone(), gather.clone());
                    tokio::spawn(async move {
                        if let Err(error) = look(&farm, gather, &due).await {
                            tracing::error!("push {} of source {}: {}", due.id, due.source, chain(&error));
                        }
                        drop(turn);
                    });
                }
            }
            Err(error) => tracing::error!("look at what sources were told: {}", chain(&error)),
        }
    }
}

/// Looks at one push, if nobody else does.
async fn look(farm: &Farm, gather: Gather, due: &Due) -> Result<()> {
    let (taken, until) = (due.clone(), farm.now() + TURN);
    if !farm.db.write(move |tx| async move { tx.take_push(&taken, until).await }.boxed()).await? {
        return Ok(());
    }
    let kept = farm.db.source(due.source).await?;
    // Whose looks all broke off with the server is not looked at for ever.
    let tired = || Fault::recipe("read the repository: the server ended while it did, again and again");
    let found = if due.attempts < ATTEMPTS { gathered(farm, gather, &kept, due).await } else { Err(tired()) };
    let (seen, again) = match found {
        Ok(seen) => (seen, None),
        Err(fault) => (failed(&fault), again(fault.kind(), due.attempts + 1, farm.now())),
    };
    let (due, now) = (due.clone(), farm.now());
    farm.db.write(move |tx| async move { tx.pushed(&due, seen, again, now).await }.boxed()).await
}

/// Returns when a failed look is worth another; none: it is not.
fn again(kind: FaultKind, attempts: u32, now: i64) -> Option<i64> {
    let passing = matches!(kind, FaultKind::Upstream | FaultKind::Again | FaultKind::Farm);
    (passing && attempts < ATTEMPTS).then(|| now + (PAUSE << (2 * attempts.saturating_sub(1)).min(20)))
}

fn failed(fault: &Fault) -> Seen {
    Seen { error: Some(fault.chain()), hint: fault.hint_text().map(str::to_owned), ..Seen::default() }
}

async fn gathered(farm: &Farm, gather: Gather, kept: &Kept, due: &Due) -> Result<Seen, Fault> {
    may_build(farm, kept).await.map_err(refused)?;
    let open = |kept: &String| Whose::Credential(due.source).open(&farm.vault, kept);
    let credential = kept.credential.as_ref().map(open).transpose().map_err(refused)?;
    let wish = Wish {
        url: kept.source.url.clone(),
        credential,
        private: farm.sources_private,
        branch: due.branch.clone(),
        commit: due.commit.clone(),
        base: due.base.clone(),
        recipes: kept.source.recipes.clone(),
        all: due.origin != Origin::Push,
    };
    let gathered = tokio::task::spawn_blocking(move || gather.gather(&wish)).await;
    let Gathered { commit, recipes } =
        gathered.map_err(|error| Fault::recipe("read the repository: its reader broke down").because(error))??;
    let mut pushed = vec![];
    for Read { path, outcome } in recipes {
        pushed.push(match outcome {
            Ok(packed) => match built(farm, kept, due, &commit, path.clone(), packed).await {
                // It lacks a secret, as a rule: others are built.
                Err(Error::Refused(problem)) if problem.status < 500 => {
                    let Problem { title, hint, diagnostics, .. } = problem;
                    PushedRecipe { path, build: None, error: Some(title), hint, diagnostics }
                }
                other => other.map_err(refused)?,
            },
            Err(Mistake { error, hint, diagnostics }) => {
                PushedRecipe { path, build: None, error: Some(error), hint, diagnostics }
            }
        });
    }
    Ok(Seen { commit: Some(commit), recipes: pushed, ..Seen::default() })
}

/// Whether the source's owner may still build for the project.
async fn may_build(farm: &Farm, kept: &Kept) -> Result<()> {
    if farm.may_build(&kept.source.owner, &kept.project).await? {
        return Ok(());
    }
    let why = format!("`{}`, whose source it is, may not build for `{}` any more", kept.source.owner, kept.project);
    Err(Error::forbidden(why).hint("somebody who may makes the source anew"))
}

fn refused(error: Error) -> Fault {
    match error {
        Error::Busy { problem, .. } => Fault::farm(problem.title),
        Error::Refused(problem) if problem.status >= 500 => Fault::farm(problem.title),
        Error::Refused(problem) => problem.hint.into_iter().fold(Fault::recipe(problem.title), Fault::hint),
        failed => Fault::farm("submit the recipe").because(failed),
    }
}

async fn built(
    farm: &Farm,
    kept: &Kept,
    due: &Due,
    commit: &str,
    path: String,
    packed: Packed,
) -> Result<PushedRecipe> {
    let Packed { name, arch, bundle, recipe, secrets } = packed;
    let bundle = farm.keep(bundle.into()).await?;
    let order = Order { arch: Some(arch), ..Order::image(Work::image(bundle, recipe).with_secrets(secrets)) };
    let name = build_name(&name, &due.branch, commit);
    let once = Some(format!("push:{}:{path}", due.id));
    let submission = Submission { project: kept.project.clone(), name, priority: 0, tasks: vec![order], once };
    let build = farm.submit(submission, kept.source.owner.as_str(), Holder::Server).await?;
    Ok(PushedRecipe { path, build: Some(build), error: None, hint: None, diagnostics: vec![] })
}

/// Returns what a build is called: the recipe's name, and of which commit it is.
fn build_name(recipe: &str, branch: &str, commit: &str) -> String {
    let commit = commit.get(..SHORT).unwrap_or(commit);
    let room = 198_usize.saturating_sub(recipe.chars().count() + commit.len());
    let branch: String = branch.chars().take(room).collect();
    format!("{recipe} {branch}@{commit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_go_better_later_is_tried_again() {
        let cases = [
            (FaultKind::Upstream, 1, Some(15_100)),
            (FaultKind::Again, 2, Some(60_100)),
            (FaultKind::Farm, 3, Some(240_100)),
            (FaultKind::Upstream, ATTEMPTS, None),
            (FaultKind::Recipe, 1, None),
        ];
        for (kind, attempts, wanted) in cases {
            assert_eq!(again(kind, attempts, 100), wanted, "{kind:?} {attempts}");
        }
    }

    #[test]
    fn builds_say_of_which_commit_they_are() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(build_name("edge", "main", commit), "edge main@0123456789ab");
        assert_eq!(build_name("edge", &"b".repeat(300), commit).chars().count(), 200);
    }
}
