//! Passwords, checked a few at a time and counted, so that nobody guesses one and nobody wears the server out by trying.

use std::collections::HashMap;
use std::sync::Mutex;

use axum::http::StatusCode;
use kiln_model::Digest;
use tokio::sync::Semaphore;

use crate::error::{Error, Result};
use crate::farm::Farm;
use crate::secret;

/// The passwords that were tried of late, by the digest of the name they were tried for. It may be nobody's, or a password that was typed
/// in the wrong place: who has an account is not to be told from how often one may try.
#[derive(Debug)]
pub struct Guesses {
    tried: Mutex<HashMap<Digest, Vec<i64>>>,
    /// In which minute how many wrong ones were noted.
    noted: Mutex<(i64, u32)>,
    /// A check takes 19 MiB by design.
    turns: Semaphore,
}

/// How many are heard of one name in how many milliseconds.
const LIMIT: (usize, i64) = (10, 60_000);
/// How many names are known at once; a further one takes the place of what was tried longest ago.
const NAMES: usize = 4096;
/// How many wrong ones are noted in a minute, whoever typed them.
const NOTED: u32 = 60;

impl Default for Guesses {
    fn default() -> Self {
        Self { tried: Mutex::default(), noted: Mutex::default(), turns: Semaphore::new(2) }
    }
}

impl Guesses {
    /// Whether a password is the one of a hash; refused where too many were tried for this name.
    pub async fn verify(&self, farm: &Farm, name: &str, password: String, hash: Option<String>) -> Result<bool> {
        if !self.count(name, farm.now()) {
            let why = "too many wrong passwords for this name; wait a minute";
            return Err(Error::refused(StatusCode::TOO_MANY_REQUESTS, why));
        }
        let _turn = self.turns.acquire().await.map_err(|error| Error::failed("check a password", error))?;
        let checked = tokio::task::spawn_blocking(move || secret::verify(&password, hash.as_deref())).await;
        let right = checked.map_err(|error| Error::failed("check a password", error))?;
        if right {
            self.tried.lock().expect("no panic while held").remove(&Digest::of(name));
        }
        Ok(right)
    }

    /// Whether a wrong one is noted in the audit log, which nobody is to fill by typing.
    pub fn is_noted(&self, now: i64) -> bool {
        let mut noted = self.noted.lock().expect("no panic while held");
        let minute = now / 60_000;
        *noted = if noted.0 == minute { (minute, noted.1.saturating_add(1)) } else { (minute, 1) };
        noted.1 <= NOTED
    }

    /// Counts a try before it is made, so that many at once are as many; whether it is to be made.
    fn count(&self, name: &str, now: i64) -> bool {
        let name = Digest::of(name);
        let mut all = self.tried.lock().expect("no panic while held");
        all.retain(|_, times| times.last().is_some_and(|last| now - last < LIMIT.1));
        if all.len() >= NAMES && !all.contains_key(&name) {
            let oldest = all.iter().min_by_key(|(_, times)| times.last().copied()).map(|(name, _)| *name);
            if let Some(oldest) = oldest {
                all.remove(&oldest);
            }
        }
        let times = all.entry(name).or_default();
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

    #[test]
    fn names_without_end_take_no_room_without_end() {
        let guesses = Guesses::default();
        assert!((0..10).all(|time| guesses.count("early", time)) && (20..30).all(|time| guesses.count("late", time)));
        assert!((0..NAMES - 1).all(|name| guesses.count(&name.to_string(), 40)));
        assert!(!guesses.count("late", 40) && guesses.count("early", 40), "the one of longest ago is forgotten");
        assert_eq!(guesses.tried.lock().unwrap().len(), NAMES);
    }
}
