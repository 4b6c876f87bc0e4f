//! How often somebody may ask, so that one who asks all the time leaves the others their turn.
//!
//! Who is known by a token or a login has a bucket per token and one per user; who is nobody yet has one per address. A secret that
//! opened the door of late does not ask as a stranger, so a crowd behind one address does not hinder those among it who are known; one
//! that opens nothing does. Nodes ask as often as they like: what they may do is bounded by what they are given.

mod bucket;
mod proxies;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bucket::Buckets;
pub use bucket::Rate;
pub use ipnet::IpNet;
use kiln_farm_api::UserId;
pub use proxies::{asker, proxy};

use crate::error::{Error, Result};

/// What an operator says of limits.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Of one token or login.
    pub token: Rate,
    /// Of one address, by who is nobody in particular.
    pub address: Rate,
    /// The proxies whose word on who asks is taken.
    pub proxies: Vec<IpNet>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { token: Rate(6000), address: Rate(600), proxies: vec![] }
    }
}

/// How many of each kind are remembered; about a hundred bytes each.
const MOST: usize = 20_000;
/// How many times as much as one token a user may ask by all together.
const ALL_TOKENS: u32 = 4;
/// How long a secret is remembered to be good.
const GOOD: Duration = Duration::from_secs(600);

/// The requests of late.
#[derive(Debug)]
pub struct Gate {
    began: Instant,
    proxies: Vec<IpNet>,
    lanes: Mutex<Lanes>,
}

#[derive(Debug)]
struct Lanes {
    tokens: Buckets<String>,
    users: Buckets<UserId>,
    addresses: Buckets<IpAddr>,
    /// Digests of secrets that opened the door, and when last.
    good: HashMap<String, Duration>,
}

impl Lanes {
    /// Whether a secret opened the door of late.
    fn is_good(&self, secret: &str, now: Duration) -> bool {
        self.good.get(secret).is_some_and(|last| now.saturating_sub(*last) < GOOD)
    }
}

impl Gate {
    pub fn new(limits: Limits) -> Self {
        let Limits { token, address, proxies } = limits;
        let lanes = Lanes {
            tokens: Buckets::new(token, MOST),
            users: Buckets::new(Rate(token.0.saturating_mul(ALL_TOKENS)), MOST),
            addresses: Buckets::new(address, MOST),
            good: HashMap::new(),
        };
        Self { began: Instant::now(), proxies, lanes: Mutex::new(lanes) }
    }

    pub fn proxies(&self) -> &[IpNet] {
        &self.proxies
    }

    /// Lets somebody in from an address, unless the secret is known to be good.
    pub fn address(&self, address: IpAddr, secret: Option<&str>) -> Result<()> {
        let (now, mut lanes) = (self.began.elapsed(), self.lanes());
        if secret.is_some_and(|secret| lanes.is_good(secret, now)) {
            return Ok(());
        }
        lanes.addresses.take(lane(address), now).map_err(late)
    }

    /// Lets somebody have what nobody is asked for who they are: of those who are known each has as much as by other doors.
    pub fn unasked(&self, address: IpAddr, secret: Option<&str>) -> Result<()> {
        let (now, mut lanes) = (self.began.elapsed(), self.lanes());
        match secret.filter(|secret| lanes.is_good(secret, now)) {
            Some(secret) => lanes.tokens.take(secret.to_owned(), now).map_err(late),
            None => lanes.addresses.take(lane(address), now).map_err(late),
        }
    }

    /// Lets a user ask by a token or login, whose digest is `secret`.
    pub fn user(&self, user: UserId, secret: &str) -> Result<()> {
        self.good(secret);
        let (now, mut lanes) = (self.began.elapsed(), self.lanes());
        lanes.tokens.take(secret.to_owned(), now).map_err(late)?;
        lanes.users.take(user, now).map_err(late)
    }

    /// Remembers a secret that opened the door.
    pub fn good(&self, secret: &str) {
        let (now, mut lanes) = (self.began.elapsed(), self.lanes());
        if lanes.good.len() >= MOST && !lanes.good.contains_key(secret) {
            lanes.good.retain(|_, last| now.saturating_sub(*last) < GOOD);
        }
        if lanes.good.len() < MOST || lanes.good.contains_key(secret) {
            lanes.good.insert(secret.to_owned(), now);
        }
    }

    /// Forgets one that opens it no more.
    pub fn bad(&self, secret: &str) {
        self.lanes().good.remove(secret);
    }

    fn lanes(&self) -> std::sync::MutexGuard<'_, Lanes> {
        self.lanes.lock().expect("no panic while held")
    }
}

/// Returns what counts as one address: of IPv6 the network, for whoever has one has all of it.
fn lane(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

fn late(wait: Duration) -> Error {
    let seconds = wait.as_secs() + 1;
    Error::busy(seconds, "too many requests").hint(format!("ask again in {seconds} s, and then less often"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn gate(token: u32, address: u32) -> Gate {
        Gate::new(Limits { token: Rate(token), address: Rate(address), proxies: vec![] })
    }

    fn count(mut ask: impl FnMut() -> Result<()>) -> usize {
        (0..100).filter(|_| ask().is_ok()).count()
    }

    #[test]
    fn strangers_by_address_and_others_by_token_and_user() {
        let gate = gate(5, 2);
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(count(|| gate.address(at("192.0.2.1"), None)), 2);
        assert_eq!(count(|| gate.address(at("192.0.2.2"), Some("unknown"))), 2);
        assert_eq!(count(|| gate.address(at("2001:db8::1"), None)), 2);
        assert_eq!(count(|| gate.address(at("2001:db8::2"), None)), 0, "the same network");
        assert_eq!(count(|| gate.address(at("2001:db8:0:1::1"), None)), 2);

        let (ann, ben) = (UserId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)));
        assert_eq!(count(|| gate.user(ann, "a")), 5);
        assert_eq!(count(|| gate.user(ben, "b")), 5);
        assert_eq!(count(|| gate.address(at("192.0.2.1"), Some("a"))), 100, "who is known is no stranger");
        gate.bad("a");
        assert_eq!(count(|| gate.address(at("192.0.2.1"), Some("a"))), 0);
        let more: usize = ["c", "d", "e", "f"].map(|token| count(|| gate.user(ann, token))).iter().sum();
        assert!((14..=16).contains(&more), "four times as much by all together, some of it refused: {more}");
    }

    #[test]
    fn what_is_for_all_is_counted_too() {
        let (gate, here) = (gate(5, 2), [192, 0, 2, 1].into());
        assert_eq!(count(|| gate.unasked(here, None)), 2);
        assert_eq!(count(|| gate.unasked(here, Some("unknown"))), 0, "a secret that opens nothing");
        gate.good("a");
        assert_eq!(count(|| gate.unasked(here, Some("a"))), 5, "by the token, whoever else is at this address");
    }

    #[test]
    fn nodes_are_not_hindered() {
        let gate = gate(1, 1);
        gate.good("node");
        assert_eq!(count(|| gate.address([192, 0, 2, 1].into(), Some("node"))), 100);
    }
}
