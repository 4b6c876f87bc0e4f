//! Files that one task of a build makes and another takes: packages, and the image that installs them.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use futures_util::FutureExt as _;
use kiln_farm_api::{Given, Handed, Name, Stored, TaskId};

use crate::error::{Error, Result};
use crate::farm::{Farm, leased};
use crate::http::caller::Machine;

/// Most names that are told of what a task made.
const TOLD: usize = 8;

impl Farm {
    /// Returns what a task takes from others to the node that has it; from here on the node may download it.
    pub async fn handed(&self, node: Machine, task: TaskId, epoch: u64) -> Result<Vec<Handed>> {
        let now = self.now();
        self.db
            .write(move |tx| {
                async move {
                    let row = tx.task(task).await?;
                    leased(&row, node.id, task, epoch)?;
                    let (work, made) = (row.work()?, Made::of(tx.made(row.build()?).await?));
                    let mut handed = vec![];
                    for given in work.given() {
                        let Stored { size, sha256, .. } = made.find(given)?;
                        tx.need(task, *sha256, now).await.map_err(|error| match error {
                            Error::Refused(_) => gone(given),
                            failed => failed,
                        })?;
                        handed.push(Handed { path: given.path.clone(), size: *size, sha256: *sha256 });
                    }
                    Ok(handed)
                }
                .boxed()
            })
            .await
    }
}

/// What the tasks of a build made.
struct Made(BTreeMap<Name, BTreeMap<String, Stored>>);

impl Made {
    fn of(all: Vec<(Name, Stored)>) -> Self {
        let mut made: BTreeMap<Name, BTreeMap<String, Stored>> = BTreeMap::new();
        for (task, stored) in all {
            made.entry(task).or_default().insert(stored.name.clone(), stored);
        }
        Self(made)
    }

    fn find(&self, Given { task, artifact, .. }: &Given) -> Result<&Stored> {
        let own = self.0.get(task);
        own.and_then(|own| own.get(artifact)).ok_or_else(|| {
            let mut names = own.into_iter().flat_map(BTreeMap::keys).map(String::as_str);
            let told: Vec<&str> = names.by_ref().take(TOLD).collect();
            let hint = match (told.as_slice(), names.count()) {
                ([], _) => "it made nothing".to_owned(),
                (told, 0) => format!("it made {}", told.join(", ")),
                (told, more) => format!("it made {} and {more} more", told.join(", ")),
            };
            let why = format!("`{task}` made no `{artifact}`, which the recipe takes from it");
            Error::refused(StatusCode::UNPROCESSABLE_ENTITY, why).hint(hint)
        })
    }
}

fn gone(Given { task, artifact, .. }: &Given) -> Error {
    let why = format!("the `{artifact}` that `{task}` made is not here any more");
    Error::refused(StatusCode::UNPROCESSABLE_ENTITY, why).hint("submit all of the build again")
}
