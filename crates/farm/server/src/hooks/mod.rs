//! Tells others of builds: takes what the outbox has, one delivery of each hook at a time, and notes what came of it.
//!
//! An attempt is taken in the database before it is made, for a minute, so that of several servers one makes it; a server that dies
//! over it leaves it to whoever looks next. That may be after the other side has heard: at least once, with the same
//! `X-Kiln-Delivery`. The next of a hook goes only after the one before it was taken or given up.

mod address;
mod send;

use std::sync::Arc;
use std::time::Duration;

pub use address::allowed;
use futures_util::FutureExt as _;
pub use send::refused;
use tokio::sync::Notify;

use crate::db::hooks::Due;
use crate::decide::deliver::{Verdict, judge};
use crate::error::{Result, chain};
use crate::farm::Farm;

/// How often the outbox is looked at where nothing was delivered meanwhile.
const TICK: Duration = Duration::from_millis(500);
/// How long an attempt belongs to who makes it, milliseconds; longer than any takes.
const TURN: i64 = 60_000;

/// Looks at the outbox until the farm ends.
pub async fn run(farm: Farm) {
    let client = send::client(farm.webhooks_private);
    let next = Arc::new(Notify::new());
    loop {
        let _ = tokio::time::timeout(TICK, next.notified()).await;
        match farm.db.due(farm.now()).await {
            Ok(due) => {
                for due in due {
                    let (farm, client, next) = (farm.clone(), client.clone(), next.clone());
                    tokio::spawn(async move {
                        match deliver(&farm, &client, due).await {
                            Ok(true) => next.notify_one(),
                            Ok(false) => {}
                            Err(error) => tracing::error!("a delivery: {}", chain(&error)),
                        }
                    });
                }
            }
            Err(error) => tracing::error!("look at what is to be delivered: {}", chain(&error)),
        }
    }
}

/// Makes one attempt, if nobody else does; returns whether the next of the hook may go.
async fn deliver(farm: &Farm, client: &reqwest::Client, due: Due) -> Result<bool> {
    let (taken, until) = (due.clone(), farm.now() + TURN);
    if !farm.db.write(move |tx| async move { tx.take_delivery(&taken, until).await }.boxed()).await? {
        return Ok(false);
    }
    let outcome = send::send(client, &due, farm).await;
    let (attempts, now) = (due.attempts + 1, farm.now());
    let verdict = judge(attempts, &outcome, now);
    tracing::debug!(hook = %due.hook, "delivery {} to hook {}: {outcome:?}", due.id, due.hook);
    farm.db
        .write(move |tx| async move { tx.delivered(due.id, attempts, &outcome, verdict, now).await }.boxed())
        .await?;
    Ok(!matches!(verdict, Verdict::Again(_)))
}
