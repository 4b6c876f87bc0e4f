//! Tells the server a task's events: in order, one request at a time, whatever becomes of the line.

use std::time::Duration;

use kiln_farm_api::{Client, Error, Holding, Taken, Tell};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::backoff::Backoff;
use crate::spool::{Progress, Reader};

/// Between two requests of a task: the first event goes out at once, a flood of them in handfuls.
const BREATH: Duration = Duration::from_millis(20);
/// A server that has not taken a batch by then never heard of it.
const LIMIT: Duration = Duration::from_secs(45);

/// What is told to whom.
#[derive(Debug)]
pub struct Teller {
    pub client: Client,
    pub holding: Holding,
    /// When the stream began, milliseconds since 1970.
    pub began: i64,
    pub reader: Reader,
    pub progress: watch::Receiver<Progress>,
}

/// How the telling ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The server has everything, or will never take it.
    All,
    /// The lease is not this node's any more.
    NotOurs,
}

impl Teller {
    /// Tells events as they come until the spool is closed and the server has them all.
    pub async fn run(mut self) -> Told {
        let (mut has, mut backoff) = (0, Backoff::of_calls());
        loop {
            let Progress { last, closed } = *self.progress.borrow_and_update();
            if has >= last {
                if closed || self.progress.changed().await.is_err() {
                    return Told::All;
                }
                continue;
            }
            match self.tell(has, last).await {
                Ok(taken) => {
                    let further = taken.seq != has;
                    has = taken.seq.min(last);
                    if further {
                        backoff.reset();
                        sleep(BREATH).await;
                    } else {
                        backoff.pause().await;
                    }
                }
                Err(Trouble::Passing) => backoff.pause().await,
                Err(Trouble::NotOurs) => return Told::NotOurs,
                Err(Trouble::Lasting(why)) => {
                    tracing::error!(task = %self.holding.task, "tell the server what happens: {why}");
                    return Told::All;
                }
            }
        }
    }

    async fn tell(&mut self, has: u64, last: u64) -> Result<Taken, Trouble> {
        let events = self.reader.batch(has, last).map_err(|error| Trouble::Lasting(error.to_string()))?;
        if events.is_empty() {
            return Err(Trouble::Lasting("the spool has lost events".into()));
        }
        let tell = Tell { epoch: self.holding.epoch, began: self.began, events };
        match timeout(LIMIT, self.client.tell(self.holding.task, &tell)).await {
            Ok(answer) => answer.map_err(|error| Trouble::of(&error)),
            Err(_) => Err(Trouble::Passing),
        }
    }
}

/// What an error of a call about a task means for the task.
#[derive(Debug, PartialEq, Eq)]
pub enum Trouble {
    Passing,
    NotOurs,
    Lasting(String),
}

impl Trouble {
    pub fn of(error: &Error) -> Self {
        match error.status() {
            Some(404 | 409 | 410) => Self::NotOurs,
            // Whether the credential is worth anything is the poll's to find out.
            Some(401 | 403) => Self::Passing,
            _ if error.is_passing() => Self::Passing,
            _ => Self::Lasting(error.to_string()),
        }
    }
}
