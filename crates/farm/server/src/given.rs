//! Files that one task of a build makes and another takes: packages, and the image that installs them.

use axum::http::StatusCode;
use futures_util::FutureExt as _;
use kiln_farm_api::{Given, Handed, Name, Stored, TaskId};

use crate::error::{Error, Result};
use crate::farm::{Farm, leased};
use crate::http::caller::Machine;

impl Farm {
    /// Returns what a task takes from others to the node that has it; from here on the node may download it.
    pub async fn handed(&self, node: Machine, task: TaskId, epoch: u64) -> Result<Vec<Handed>> {
        let now = self.now();
        self.db
            .write(move |tx| {
                async move {
                    let row = tx.task(task).await?;
                    leased(&row, node.id, task, epoch)?;
                    let (work, made) = (row.work()?, tx.made(row.build()?).await?);
                    let mut handed = vec![];
                    for given in work.given() {
                        let Stored { size, sha256, .. } = found(given, &made)?;
                        if tx.want(*sha256, now).await?.is_none() {
                            return Err(gone(given));
                        }
                        tx.need(task, *sha256, now).await?;
                        handed.push(Handed { path: given.path.clone(), size: *size, sha256: *sha256 });
                    }
                    Ok(handed)
                }
                .boxed()
            })
            .await
    }
}

fn found<'m>(given: &Given, made: &'m [(Name, Stored)]) -> Result<&'m Stored> {
    let Given { task, artifact, .. } = given;
    let own = || made.iter().filter(|(by, _)| by == task).map(|(_, stored)| stored);
    own().find(|stored| stored.name == *artifact).ok_or_else(|| {
        let names: Vec<&str> = own().map(|stored| stored.name.as_str()).collect();
        let why = format!("`{task}` made no `{artifact}`, which the recipe takes from it");
        let hint =
            if names.is_empty() { "it made nothing".to_owned() } else { format!("it made {}", names.join(", ")) };
        Error::refused(StatusCode::UNPROCESSABLE_ENTITY, why).hint(hint)
    })
}

fn gone(Given { task, artifact, .. }: &Given) -> Error {
    let why = format!("the `{artifact}` that `{task}` made is not here any more");
    Error::refused(StatusCode::UNPROCESSABLE_ENTITY, why).hint("submit all of the build again")
}
