//! Tells others of builds: takes what the outbox has, one delivery of each hook at a time, and notes what came of it.
//!
//! An attempt is taken in the database before it is made, for a minute, so that of several servers one makes it; a server that dies
//! over it leaves it to whoever looks next. That may be after the other side has heard: at least once, with the same
//! `X-Kiln-Delivery`. The next of a hook goes only after the one before it was taken or given up.

mod address;
mod send;

use std::time::Duration;

pub use address::allowed;
use futures_util::FutureExt as _;
pub use send::refused;

use crate::db::hooks::Due;
use crate::decide::deliver::judge;
use crate::error::{Result, chain};
use crate::farm::Farm;

/// How often the outbox is looked at.
const TICK: Duration = Duration::from_millis(500);
/// How long an attempt belongs to who makes it, milliseconds; longer than any takes.
const TURN: i64 = 60_000;

/// Looks at the outbox until the farm ends.
pub async fn run(farm: Farm) {
    let client = send::client(farm.webhooks_private);
    loop {
        tokio::time::sleep(TICK).await;
        match farm.db.due(farm.now()).await {
            Ok(due) => {
                for due in due {
                    let (farm, client) = (farm.clone(), client.clone());
                    tokio::spawn(async move {
                        if let Err(error) = deliver(&farm, &client, due).await {
                            tracing::error!("a delivery: {}", chain(&error));
                        }
                    });
                }
            }
            Err(error) => tracing::error!("look at what is to be delivered: {}", chain(&error)),
        }
    }
}

/// Makes one attempt, if nobody else does.
async fn deliver(farm: &Farm, client: &reqwest::Client, due: Due) -> Result<()> {
    let (taken, until) = (due.clone(), farm.now() + TURN);
    if !farm.db.write(move |tx| async move { tx.take_delivery(&taken, until).await }.boxed()).await? {
        return Ok(());
    }
    let outcome = send::send(client, &due, farm.webhooks_private).await;
    let (attempts, now) = (due.attempts + 1, farm.now());
    let verdict = judge(attempts, &outcome, now);
    tracing::debug!(hook = %due.hook, "delivery {} to hook {}: {outcome:?}", due.id, due.hook);
    farm.db.write(move |tx| async move { tx.delivered(due.id, attempts, &outcome, verdict, now).await }.boxed()).await
}
