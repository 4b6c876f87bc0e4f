//! Publishes to Redis on a thread of its own: whoever posts never waits for it.
//!
//! What Redis has not taken stays on the desk, in order and within a bound, until it is back. Entries of the stream have
//! ids that kiln chose, so that after a lost connection both sides know what had arrived, and a Redis that forgot gets the
//! story again.

mod courier;
mod desk;
mod link;
mod post;

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use desk::Desk;
pub use link::{Link, words};
pub use post::{Addresses, Post, Stream};

use crate::Server;

/// What came of a build's messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Codes that Redis did not take.
    pub undelivered: Vec<u16>,
    /// Other messages that it did not take, lines and progress given up for want of room among them.
    pub others: u64,
    /// How often Redis was lost.
    pub outages: u32,
    /// What else is worth saying.
    pub notes: Vec<String>,
}

impl Delivery {
    /// Returns what a user should be told; nothing when all went well.
    pub fn words(&self) -> Vec<String> {
        let codes = self.undelivered.iter().map(u16::to_string).collect::<Vec<_>>().join(" ");
        let lost = match (codes.is_empty(), self.others) {
            (true, 0) => None,
            (true, others) => Some(format!("{others} messages did not reach Redis")),
            (false, others) => Some(format!("status codes {codes} and {others} messages did not reach Redis")),
        };
        self.notes.iter().cloned().chain(lost).collect()
    }
}

/// Of one that nobody finishes the thread ends all the same.
impl Drop for Publisher {
    fn drop(&mut self) {
        self.desk.leave();
    }
}

/// Where the thread is with something that it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// It is about to tell it.
    Telling,
    /// Redis has answered, and nothing was noted yet.
    Told,
}

/// Posts go in here.
pub struct Publisher {
    desk: Arc<Desk>,
}

impl Publisher {
    /// Starts the thread, which connects at once.
    pub fn start(server: Server, to: Addresses) -> Self {
        Self::watched(server, to, |_| {})
    }

    /// The same; the thread calls `passes` at each moment of everything it tells.
    pub fn watched(server: Server, to: Addresses, passes: fn(Moment)) -> Self {
        let desk = Arc::new(Desk::default());
        let courier = courier::Courier::new(server, to, Arc::clone(&desk), passes);
        thread::spawn(move || courier.run());
        Self { desk }
    }

    /// Hands over a post.
    pub fn post(&self, post: Post) {
        self.desk.put(post);
    }

    /// Waits for what came of the first try to connect.
    pub fn reached(&self, patience: Duration) -> Result<(), String> {
        self.desk.reached(patience)
    }

    /// Waits until all is delivered, at most so long.
    pub fn finish(self, patience: Duration) -> Delivery {
        self.desk.close(patience)
    }
}
