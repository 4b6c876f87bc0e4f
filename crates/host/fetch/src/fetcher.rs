//! The fetcher: how it behaves, what it is asked for, what it tells.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kiln_model::Digest;

use crate::Failure;
use crate::client::Http;
use crate::small::Validators;

/// How a fetcher behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Downloads at once.
    pub connections: usize,
    /// Time to get a connection.
    pub connect: Duration,
    /// Time without a single byte after which a download counts as stalled.
    pub stall: Duration,
    /// Attempts after the first that a URL gets when its failure may pass.
    pub retries: u32,
    /// Pause before the first of these attempts; doubles each time.
    pub pause: Duration,
    pub user_agent: String,
    /// Never asks the network: what was answered before counts as unchanged, all else is missing.
    pub offline: bool,
    /// Raised by whoever wants every download to stop.
    pub cancel: Arc<AtomicBool>,
    /// Asked every few milliseconds whether the process was told to stop, however long a server says nothing.
    pub interrupted: fn() -> bool,
}

impl Options {
    pub(crate) fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed) || (self.interrupted)()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connections: 12,
            connect: Duration::from_secs(15),
            stall: Duration::from_secs(30),
            retries: 3,
            pause: Duration::from_millis(500),
            user_agent: concat!("kiln/", env!("CARGO_PKG_VERSION")).to_owned(),
            offline: false,
            cancel: Arc::default(),
            interrupted: || false,
        }
    }
}

/// A blob wanted in the store.
#[derive(Clone, Debug)]
pub struct Request {
    /// Mirrors in order: the next is asked when one fails.
    pub urls: Vec<String>,
    pub digest: Digest,
    /// Length in bytes, when known.
    pub size: Option<u64>,
    /// For people, in messages.
    pub name: String,
}

/// How far `fetch_all` has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes in place; what was in the store already counts.
    pub done: u64,
    /// Bytes of all requests whose size is known.
    pub total: u64,
    /// Files in place.
    pub files: u64,
    pub of: u64,
    /// How many of `files` were in the store already.
    pub cached: u64,
}

/// A small document and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub bytes: Vec<u8>,
    /// The URL that gave it, without credentials.
    pub url: String,
    /// Whether the server said that the stored copy is still the newest.
    pub unchanged: bool,
    /// The server's time as its `Date` header says it, when it was asked just now.
    pub date: Option<String>,
    /// What to ask with next time, once the answer is believed.
    pub(crate) validators: Validators,
}

/// Fetches over HTTP(S) and from `file:` URLs; keeps its connections.
pub struct Fetcher {
    pub(crate) options: Options,
    pub(crate) http: Http,
}

impl Fetcher {
    pub fn new(options: Options) -> Self {
        Self { http: Http::new(&options), options }
    }

    pub(crate) fn cancelled(&self) -> bool {
        self.options.cancelled()
    }

    /// Waits before attempt `number` (from 1) of the same URL.
    pub(crate) fn pause(&self, number: u32) -> Result<(), Failure> {
        let mut left = self.options.pause * 2_u32.pow(number.saturating_sub(1).min(6));
        while !left.is_zero() {
            if self.cancelled() {
                return Err(Failure::Cancelled);
            }
            let step = left.min(Duration::from_millis(50));
            std::thread::sleep(step);
            left -= step;
        }
        Ok(())
    }
}

/// What was tried in vain.
#[derive(Default)]
pub(crate) struct Tried(Vec<Failure>);

impl Tried {
    pub fn push(&mut self, failure: Failure) {
        self.0.push(failure);
    }

    /// Becomes the error of the whole download. The failure that says most is told as its cause: wrong bytes before
    /// anything else, then what was with the first mirror, since that is the one the user chose; a file that is not
    /// there under one of its names says least of it.
    pub fn into_error(mut self, name: &str) -> crate::Error {
        let weight = |failure: &Failure| match failure {
            Failure::Store(_) | Failure::Cancelled => 2,
            Failure::WrongDigest { .. } | Failure::WrongSize { .. } | Failure::TooLarge { .. } => 1,
            _ => 0,
        };
        let first = self.0.first().and_then(host).map(str::to_owned);
        let telling = |failure: &Failure| {
            let chosen = host(failure) == first.as_deref();
            (weight(failure), chosen, !matches!(failure, Failure::NotFound { .. }))
        };
        let most = self.0.iter().enumerate().max_by_key(|(at, failure)| (telling(failure), *at)).map(|(at, _)| at);
        let failure = most.map_or(Failure::NoUrl, |at| self.0.remove(at));
        let tried = self.0.iter().map(ToString::to_string).collect();
        crate::Error { name: name.to_owned(), failure: Box::new(failure), tried }
    }
}

/// Returns the part of a URL that says who was asked.
fn host(failure: &Failure) -> Option<&str> {
    failure.url().map(|url| url.split_once("://").map_or(url, |(_, rest)| rest.split('/').next().unwrap_or(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_mirror_is_told_first_unless_another_sent_wrong_bytes() {
        let missing = |host: &str| Failure::NotFound { url: format!("http://{host}/x"), status: 404 };
        let refused = |host: &str| Failure::ConnectionRefused { url: format!("http://{host}/y") };
        let wrong = |host: &str| Failure::WrongSize { url: format!("http://{host}/z"), expected: 1, got: 2 };
        let told = |failures: Vec<Failure>| Tried(failures).into_error("f").failure.to_string();
        let is = |failure: Failure| failure.to_string();
        assert_eq!(told(vec![missing("mine"), refused("other")]), is(missing("mine")));
        assert_eq!(told(vec![refused("mine"), refused("mine"), missing("other")]), is(refused("mine")));
        assert_eq!(told(vec![missing("mine"), refused("mine"), refused("other")]), is(refused("mine")));
        assert_eq!(told(vec![refused("mine"), wrong("other")]), is(wrong("other")));
        assert_eq!(told(vec![]), is(Failure::NoUrl));
    }
}
