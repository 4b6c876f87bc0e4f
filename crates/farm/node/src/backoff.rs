//! How long to wait before the next try of what came to nothing.

use std::time::Duration;

/// Doubles from try to try, up to a bound.
#[derive(Clone, Debug)]
pub struct Backoff {
    next: Duration,
    first: Duration,
    longest: Duration,
}

impl Backoff {
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { next: first, first, longest }
    }

    /// For calls to the server: from a fifth of a second to ten.
    pub const fn of_calls() -> Self {
        Self::new(Duration::from_millis(200), Duration::from_secs(10))
    }

    /// Returns how long to wait now.
    pub fn step(&mut self) -> Duration {
        let now = self.next;
        self.next = (now * 2).min(self.longest);
        now
    }

    pub async fn pause(&mut self) {
        tokio::time::sleep(self.step()).await;
    }

    /// It went well: begin anew.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_its_bound() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(3));
        let steps: Vec<_> = (0..4).map(|_| backoff.step().as_secs()).collect();
        assert_eq!(steps, [1, 2, 3, 3]);
        backoff.reset();
        assert_eq!(backoff.step().as_secs(), 1);
    }
}
