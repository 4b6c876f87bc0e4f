//! A bucket of permissions: full at first, every request takes one, time fills it up again.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// How many requests are answered at once and in a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(pub u32);

/// A bucket as it was when something was last taken.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bucket {
    left: f64,
    at: Duration,
}

impl Rate {
    /// Permissions that come in a second.
    fn second(self) -> f64 {
        f64::from(self.0) / 60.0
    }

    fn fill(self, bucket: Bucket, now: Duration) -> Bucket {
        let came = now.saturating_sub(bucket.at).as_secs_f64() * self.second();
        Bucket { left: (bucket.left + came).min(f64::from(self.0)), at: now.max(bucket.at) }
    }

    /// Takes one, or says when there is one.
    fn take(self, bucket: &mut Bucket, now: Duration) -> Result<(), Duration> {
        *bucket = self.fill(*bucket, now);
        if bucket.left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.left) / self.second()));
        }
        bucket.left -= 1.0;
        Ok(())
    }
}

/// Buckets by whose they are, no more than so many: one that is full again needs no keeping, and those there is no room for share one.
#[derive(Debug)]
pub struct Buckets<K> {
    rate: Rate,
    most: usize,
    all: HashMap<K, Bucket>,
    others: Bucket,
    /// When there is again a reason to look for full ones.
    look: Duration,
}

impl<K: Hash + Eq> Buckets<K> {
    pub fn new(rate: Rate, most: usize) -> Self {
        let others = Bucket { left: f64::from(rate.0), at: Duration::ZERO };
        Self { rate, most, all: HashMap::new(), others, look: Duration::ZERO }
    }

    /// Takes one of somebody's, or says how long there is none. A rate of nothing limits nobody.
    pub fn take(&mut self, whose: K, now: Duration) -> Result<(), Duration> {
        if self.rate.0 == 0 {
            return Ok(());
        }
        if self.all.len() >= self.most && !self.all.contains_key(&whose) {
            self.forget_full(now);
            if self.all.len() >= self.most {
                return self.rate.take(&mut self.others, now);
            }
        }
        let full = Bucket { left: f64::from(self.rate.0), at: now };
        self.rate.take(self.all.entry(whose).or_insert(full), now)
    }

    /// Looks through all of them once a second at most.
    fn forget_full(&mut self, now: Duration) {
        if now < self.look {
            return;
        }
        self.look = now + Duration::from_secs(1);
        let rate = self.rate;
        self.all.retain(|_, bucket| rate.fill(*bucket, now).left < f64::from(rate.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn as_many_at_once_as_in_a_minute() {
        let mut buckets = Buckets::new(Rate(3), 10);
        for _ in 0..3 {
            assert_eq!(buckets.take("ann", at(0)), Ok(()));
        }
        assert_eq!(buckets.take("ann", at(0)), Err(at(20_000)));
        assert_eq!(buckets.take("ben", at(0)), Ok(()), "ben has one of his own");
        assert_eq!(buckets.take("ann", at(5_000)), Err(at(15_000)));
        assert_eq!(buckets.take("ann", at(20_000)), Ok(()));
        assert_eq!(buckets.take("ann", at(20_000)), Err(at(20_000)));
        // However long nothing was taken, it is full and no more.
        let later = at(3_600_000);
        assert_eq!([0; 4].map(|_| buckets.take("ann", later).is_ok()), [true, true, true, false]);
        // A clock that goes back gives nothing away.
        assert!(buckets.take("ann", at(0)).is_err());
    }

    #[test]
    fn nothing_limits_nobody() {
        let mut buckets = Buckets::new(Rate(0), 1);
        assert!((0..1000).all(|who| buckets.take(who, at(0)).is_ok()) && buckets.all.is_empty());
    }

    #[test]
    fn never_more_than_so_many() {
        let mut buckets = Buckets::new(Rate(2), 100);
        assert!((0..100).all(|who| buckets.take(who, at(0)).is_ok()));
        // There is room for nobody else: they share.
        assert_eq!([100, 101, 102].map(|who| buckets.take(who, at(0)).is_ok()), [true, true, false]);
        assert!(buckets.take(5, at(0)).is_ok(), "who was there before is not hindered");
        assert_eq!(buckets.all.len(), 100);
        // Those that are full again make room.
        assert!(buckets.take(200, at(30_000)).is_ok());
        assert_eq!(buckets.all.len(), 2, "who took two, and who is new");
    }
}
