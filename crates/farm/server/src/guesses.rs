//! Passwords, checked a few at a time and counted, so that nobody guesses one and nobody wears the server out by trying.

use std::collections::HashMap;
use std::sync::Mutex;

use axum::http::StatusCode;
use tokio::sync::Semaphore;

use crate::error::{Error, Result};
use crate::farm::Farm;
use crate::secret;

/// The passwords that were tried of late, by user.
#[derive(Debug)]
pub struct Guesses {
    tried: Mutex<HashMap<String, Vec<i64>>>,
    /// A check takes 19 MiB by design.
    turns: Semaphore,
}

/// How many are heard of one user in how many milliseconds.
const LIMIT: (usize, i64) = (10, 60_000);

impl Default for Guesses {
    fn default() -> Self {
        Self { tried: Mutex::default(), turns: Semaphore::new(2) }
    }
}

impl Guesses {
    /// Whether a password is the one of a hash; refused where too many were tried for this user.
    pub async fn verify(&self, farm: &Farm, user: &str, password: String, hash: Option<String>) -> Result<bool> {
        if !self.count(user, farm.now()) {
            let why = "too many wrong passwords for this name; wait a minute";
            return Err(Error::refused(StatusCode::TOO_MANY_REQUESTS, why));
        }
        let _turn = self.turns.acquire().await.map_err(|error| Error::failed("check a password", error))?;
        let checked = tokio::task::spawn_blocking(move || secret::verify(&password, hash.as_deref())).await;
        let right = checked.map_err(|error| Error::failed("check a password", error))?;
        if right {
            self.tried.lock().expect("no panic while held").remove(user);
        }
        Ok(right)
    }

    /// Counts a try before it is made, so that many at once are as many; whether it is to be made.
    fn count(&self, user: &str, now: i64) -> bool {
        let mut all = self.tried.lock().expect("no panic while held");
        all.retain(|_, times| times.last().is_some_and(|last| now - last < LIMIT.1));
        let times = all.entry(user.to_owned()).or_default();
        times.retain(|time| now - time < LIMIT.1);
        let heard = times.len() < LIMIT.0;
        if heard {
            times.push(now);
        }
        heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_some_it_is_over_for_a_while() {
        let guesses = Guesses::default();
        assert!((0..10).all(|time| guesses.count("ann", time)));
        assert!(!guesses.count("ann", 10) && guesses.count("ben", 10));
        assert!(guesses.count("ann", LIMIT.1), "the first is long ago");
    }
}
