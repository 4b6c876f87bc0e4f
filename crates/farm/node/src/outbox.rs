//! Results on disk before the server hears of them, kept until it has taken or refused them for good.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use kiln_farm_api::points::{self, Point};
use kiln_farm_api::task::Failure;
use kiln_farm_api::{Client, Complete, Holding};
use kiln_model::FaultKind;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::backoff::Backoff;
use crate::home::Home;
use crate::spool::Reader;
use crate::teller::{Teller, Told, Trouble};
use crate::upload;

pub const RESULT: &str = "result.json";
pub const SPOOL: &str = "events";
pub const OUT: &str = "out";

/// What the server is to hear of a task that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// When its event stream began.
    pub began: i64,
    pub complete: Complete,
}

/// Makes a task's work its result: from here on it outlives the node.
pub fn commit(home: &Home, holding: Holding, outcome: &Outcome) -> io::Result<PathBuf> {
    let work = home.work(holding);
    let partial = work.join(".result.json.partial");
    let mut file = File::create(&partial)?;
    file.write_all(&serde_json::to_vec(outcome)?)?;
    file.sync_all()?;
    fs::rename(&partial, work.join(RESULT))?;
    File::open(&work)?.sync_all()?;
    points::pass(Point::ResultWritten);
    home.promote(holding)
}

/// Returns a result that was not taken yet.
pub fn read(folder: &Path) -> io::Result<Outcome> {
    Ok(serde_json::from_slice(&fs::read(folder.join(RESULT))?)?)
}

/// Tells the events of a result that a node before this one left.
pub async fn tell_the_rest(client: &Client, holding: Holding, folder: &Path, began: i64) -> io::Result<Told> {
    let mut reader = Reader::open(&folder.join(SPOOL))?;
    let (_keep, progress) = watch::channel(reader.rest()?);
    Ok(Teller { client: client.clone(), holding, began, reader, progress }.run().await)
}

/// Uploads what the task made, then says how it ended; returns when the server has taken it or never will. What it refuses for good is
/// told once more, as a failure without artifacts.
pub async fn deliver(client: &Client, holding: Holding, folder: &Path, complete: &Complete) {
    let mut complete = complete.clone();
    if let Err(why) = upload::all(client, &folder.join(OUT), &complete.artifacts).await {
        complete.artifacts.retain(|artifact| artifact.name != why.name);
        complete.failure.get_or_insert_with(|| lost(&why.message));
        complete.artifacts = upload::those_there(client, &folder.join(OUT), complete.artifacts).await;
    }
    points::pass(Point::Uploaded);
    let mut backoff = Backoff::of_calls();
    loop {
        match client.complete(holding.task, &complete).await.map_err(|error| (Trouble::of(&error), error)) {
            Ok(()) => return points::pass(Point::Completed),
            Err((Trouble::NotOurs, error)) => {
                return tracing::info!(task = %holding.task, "the server does not take a result: {error}");
            }
            Err((Trouble::Passing, _)) => backoff.pause().await,
            Err((Trouble::Lasting(why), _)) => {
                tracing::error!(task = %holding.task, "say how a task ended: {why}");
                if complete.artifacts.is_empty() {
                    return;
                }
                // What it does not take is most likely what they are called or how many they are.
                complete.artifacts.clear();
                complete.failure = Some(lost(&format!("the server does not take the result: {why}")));
            }
        }
    }
}

fn lost(message: &str) -> Failure {
    Failure { fault: FaultKind::Farm, message: message.to_owned(), hint: None }
}

#[cfg(test)]
mod tests {
    use kiln_farm_api::TaskId;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_result_outlives_the_node() {
        let folder = tempfile::tempdir().unwrap();
        let holding = Holding { task: TaskId(Uuid::from_u128(1)), epoch: 2 };
        let outcome =
            Outcome { began: 5, complete: Complete { epoch: 2, failure: Some(lost("x")), artifacts: vec![] } };
        {
            let home = Home::open(folder.path()).unwrap();
            fs::create_dir(home.work(holding)).unwrap();
            commit(&home, holding, &outcome).unwrap();
        }
        let home = Home::open(folder.path()).unwrap();
        assert_eq!(home.left_results().unwrap(), [holding]);
        assert_eq!(read(&home.outbox(holding)).unwrap(), outcome);
    }
}
