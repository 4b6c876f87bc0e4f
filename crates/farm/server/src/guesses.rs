//! Wrong passwords, counted, so that nobody guesses one.

use std::collections::HashMap;
use std::sync::Mutex;

/// The wrong passwords of late, by name.
#[derive(Debug, Default)]
pub struct Guesses(Mutex<HashMap<String, Vec<i64>>>);

/// Most names that are remembered.
const NAMES: usize = 10_000;

impl Guesses {
    /// Whether one more password of a name is to be heard: fewer than `limit.0` were wrong in the last `limit.1` milliseconds.
    pub fn may(&self, name: &str, now: i64, limit: (usize, i64)) -> bool {
        let mut all = self.0.lock().expect("no panic while held");
        all.retain(|_, times| times.last().is_some_and(|last| now - last < limit.1));
        all.get(name).is_none_or(|times| times.iter().filter(|time| now - **time < limit.1).count() < limit.0)
    }

    pub fn wrong(&self, name: &str, now: i64) {
        let mut all = self.0.lock().expect("no panic while held");
        if all.len() < NAMES || all.contains_key(name) {
            all.entry(name.to_owned()).or_default().push(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_two_wrong_ones_it_is_over_for_a_while() {
        let (guesses, limit) = (Guesses::default(), (2, 100));
        guesses.wrong("ann", 0);
        assert!(guesses.may("ann", 1, limit));
        guesses.wrong("ann", 1);
        assert!(!guesses.may("ann", 2, limit) && guesses.may("ben", 2, limit));
        assert!(guesses.may("ann", 102, limit));
    }
}
