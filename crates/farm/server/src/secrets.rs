//! Secrets of projects: set by owners, asked for by recipes, and given to the node that builds one and to nobody else.
//!
//! A recipe's `[secrets]` names environment variables. On the farm a project's secret of a variable's name stands in its place. Whoever
//! may build for a project may write a recipe that puts its secrets into an image: what is kept from them is the sight of it, not the use.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::StatusCode;
use futures_util::FutureExt as _;
use kiln_farm_api::secret::{Value, Values};
use kiln_farm_api::{Name, Secret, Submission, TaskId, Variable};
use kiln_recipe::spec::{SecretSource, Spec};

use crate::db::secrets::Sealed;
use crate::error::{Error, Result, chain};
use crate::farm::{Farm, leased};
use crate::http::caller::Machine;
use crate::vault::Owner;

/// Fewest bytes of a value: what is shorter is not veiled in logs, for it would be found everywhere.
const SHORTEST: usize = 4;
/// Most bytes of a value.
const LONGEST: usize = 64 << 10;

/// Returns the variables that a recipe's secrets come from.
pub fn variables(spec: &Spec) -> Result<BTreeSet<Variable>> {
    let one = |(name, source): (&String, &SecretSource)| match source {
        SecretSource::Environment(variable) => {
            variable.parse::<Variable>().map_err(|error| Error::bad(format!("secret `{name}` of the recipe: {error}")))
        }
        SecretSource::File(_) => {
            let why =
                format!("secret `{name}` of the recipe comes from a file, and files of secrets stay where they are");
            Err(Error::bad(why).hint("let it come from a variable, `{ env = \"NAME\" }`, and make it a secret of the project: `kiln secret set NAME`"))
        }
    };
    spec.secrets.iter().map(one).collect()
}

impl Farm {
    /// Returns which secrets a project has.
    pub async fn secrets(&self, project: &Name) -> Result<Vec<Secret>> {
        self.db.secrets(project, self.vault.name()).await
    }

    /// Gives a project a secret, or gives the one of this name another value.
    pub async fn set_secret(&self, project: Name, name: Variable, value: Value, by: &str) -> Result<()> {
        sound(&value)?;
        let text = self.vault.seal(Owner(&project, &name), &value)?;
        let (sealed, now, by) = (Sealed { text, seal: self.vault.name().to_owned() }, self.now(), by.to_owned());
        self.db
            .write(move |tx| {
                async move {
                    tx.set_secret(&project, &name, &sealed, &by, now).await?;
                    tx.note(now, &by, "set secret", &format!("{name} of {project}")).await
                }
                .boxed()
            })
            .await
    }

    pub async fn drop_secret(&self, project: Name, name: Variable, by: &str) -> Result<()> {
        let (now, by) = (self.now(), by.to_owned());
        self.db
            .write(move |tx| {
                async move {
                    tx.drop_secret(&project, &name).await?;
                    tx.note(now, &by, "remove secret", &format!("{name} of {project}")).await
                }
                .boxed()
            })
            .await
    }

    /// Refuses what needs a secret that its project has not.
    pub(crate) async fn has_secrets(&self, submission: &Submission) -> Result<()> {
        let wanted: BTreeSet<&Variable> = submission.tasks.iter().flat_map(|task| task.work.secrets()).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let project = &submission.project;
        let known: BTreeMap<_, _> =
            self.secrets(project).await?.into_iter().map(|one| (one.name, one.unreadable)).collect();
        match wanted.into_iter().find(|name| known.get(*name) != Some(&false)) {
            None => Ok(()),
            Some(name) if known.contains_key(name) => Err(unreadable(project, name)),
            Some(name) => Err(absent(project, name)),
        }
    }

    /// Returns the secrets of a task to the node that has it.
    pub async fn values(&self, node: Machine, task: TaskId, epoch: u64) -> Result<Values> {
        let (now, vault) = (self.now(), self.vault.clone());
        self.db
            .write(move |tx| {
                async move {
                    let row = tx.task(task).await?;
                    leased(&row, node.id, task, epoch)?;
                    let (project, work) = (row.project()?, row.work()?);
                    let kept = tx.sealed(&project).await?;
                    let one = |name: &Variable| match kept.get(name) {
                        None => Err(absent(&project, name)),
                        Some(sealed) if sealed.seal != vault.name() => Err(unreadable(&project, name)),
                        // A node asks again and again for what is only away.
                        Some(sealed) => match vault.open(Owner(&project, name), &sealed.text) {
                            Ok(value) => Ok((name.clone(), value)),
                            Err(error) => {
                                tracing::error!("{}", chain(&error));
                                Err(damaged(&project, name))
                            }
                        },
                    };
                    let values = work.secrets().iter().map(one).collect::<Result<_>>()?;
                    tx.note(now, &format!("node {}", node.name), "take secrets", &format!("of task {task}")).await?;
                    Ok(Values { values })
                }
                .boxed()
            })
            .await
    }

    /// Says at the start that there are secrets which this server cannot read.
    pub(crate) async fn look_at_secrets(&self) -> Result<()> {
        let count = self.db.unreadable_secrets(self.vault.name()).await?;
        if count > 0 {
            tracing::warn!(
                "{count} secrets of projects were kept with another key than this server's: give it that one, or set them again"
            );
        }
        Ok(())
    }
}

fn sound(value: &Value) -> Result<()> {
    let Value(text) = value;
    if text.len() < SHORTEST || text.len() > LONGEST {
        let why = format!("a secret has {SHORTEST} to {LONGEST} bytes: what is shorter cannot be veiled in logs");
        return Err(Error::bad(why));
    }
    if text.trim().len() < SHORTEST || text.contains('\0') {
        return Err(Error::bad("a secret is more than spaces, and has no zero bytes in it"));
    }
    Ok(())
}

fn absent(project: &Name, name: &Variable) -> Error {
    Error::refused(
        StatusCode::UNPROCESSABLE_ENTITY,
        format!("`{project}` has no secret `{name}`, which the recipe uses"),
    )
    .hint(way_out(project, name))
}

fn unreadable(project: &Name, name: &Variable) -> Error {
    let why = format!("secret `{name}` of `{project}` was kept with another key than this server has");
    Error::refused(StatusCode::UNPROCESSABLE_ENTITY, why).hint(way_out(project, name))
}

fn damaged(project: &Name, name: &Variable) -> Error {
    let why = format!("secret `{name}` of `{project}` is not as it was kept");
    Error::refused(StatusCode::UNPROCESSABLE_ENTITY, why).hint(way_out(project, name))
}

fn way_out(project: &Name, name: &Variable) -> String {
    format!("an owner of the project sets it: `kiln secret set {name} --project {project}`, or on the project's page")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_a_secret() {
        let long = "x".repeat(LONGEST + 1);
        for (text, is) in [
            ("hunter2", true),
            ("-----BEGIN KEY-----\nMIIE\n-----END KEY-----\n", true),
            ("abc", false),
            ("", false),
            ("      ", false),
            ("abcd\0", false),
            (long.as_str(), false),
        ] {
            assert_eq!(sound(&Value(text.into())).is_ok(), is, "{}", text.escape_debug().take(20).collect::<String>());
        }
    }
}
