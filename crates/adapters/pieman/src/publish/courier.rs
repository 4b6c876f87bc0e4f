//! Carries posts to Redis, comes back for what did not arrive, and tells a Redis that forgot the story again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use redis::{FromRedisValue as _, Value, cmd};

use super::link::words;
use super::post::Ask;
use super::{Addresses, Desk, Link, Moment, Post, Stream};
use crate::Server;

/// How much of the story is kept for a Redis that forgets, in bytes.
const MEMORY: usize = 8 << 20;

/// The first pause after a failure; each next is twice as long, up to the longest.
const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);

/// How long listeners that were there before an outage may take to come back before codes go on without them.
const GATHERING: Duration = Duration::from_secs(3);

/// What Redis answers while it cannot serve but soon will.
const SOON: [&str; 7] = ["LOADING", "BUSY", "MASTERDOWN", "READONLY", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS"];

pub struct Courier {
    server: Server,
    to: Addresses,
    desk: Arc<Desk>,
    /// What tells this build's entries in the stream from those of others.
    base: Option<u64>,
    /// What an earlier teller of this very story told already.
    known: u64,
    told: VecDeque<Post>,
    told_size: usize,
    settled: bool,
    /// How many heard the last code.
    audience: i64,
    passes: fn(Moment),
}

impl Courier {
    pub fn new(server: Server, to: Addresses, desk: Arc<Desk>, passes: fn(Moment)) -> Self {
        let base = to.stream.as_ref().and_then(|stream| stream.base);
        let (told, told_size) = (VecDeque::new(), 0);
        Self { server, to, desk, base, known: 0, told, told_size, settled: false, audience: 0, passes }
    }

    /// Serves until no more comes and all has arrived, or the time is over.
    pub fn run(mut self) {
        while let Some(mut link) = self.connect() {
            match self.serve(&mut link) {
                Ok(()) => break,
                Err(_) => self.desk.lost(),
            }
            // One that takes connections and refuses to write is not asked as fast as it can answer.
            if !self.desk.pause(SHORTEST) {
                break;
            }
        }
        self.desk.done();
    }

    fn connect(&mut self) -> Option<Link> {
        let mut pause = SHORTEST;
        loop {
            let tried = Link::open(&self.server).and_then(|mut link| self.settle(&mut link).map(|()| link));
            self.desk.tried(tried.as_ref().map(drop).map_err(Clone::clone));
            match tried {
                Ok(link) => return Some(link),
                Err(_) if !self.desk.pause(pause) => return None,
                Err(_) => pause = (pause * 2).min(LONGEST),
            }
        }
    }

    fn serve(&mut self, link: &mut Link) -> Result<(), String> {
        while let Some(mut posts) = self.desk.handful() {
            let handed = posts.len();
            posts.retain(|post| post.seq == 0 || post.seq > self.known);
            self.desk.arrived(handed - posts.len());
            if posts.is_empty() {
                continue;
            }
            let asks: Vec<Vec<Ask>> =
                posts.iter().map(|post| post.commands(&self.to, self.base.unwrap_or(0))).collect();
            (self.passes)(Moment::Telling);
            let mut answers = link.ask_all(asks.iter().flatten().map(Ask::command))?.into_iter();
            (self.passes)(Moment::Told);
            for (post, asks) in posts.into_iter().zip(&asks) {
                self.judge(&post, asks, answers.by_ref().take(asks.len()).collect())?;
                self.desk.arrived(1);
                self.remember(post);
            }
        }
        Ok(())
    }

    /// Looks at the answers to one post; an error when it must be sent again.
    fn judge(&mut self, post: &Post, asks: &[Ask], answers: Vec<Value>) -> Result<(), String> {
        for (ask, answer) in asks.iter().zip(answers) {
            match (ask, answer) {
                (_, Value::ServerError(error)) if SOON.contains(&error.code()) => return Err(words(&error)),
                (Ask::Code(_), Value::ServerError(error)) => {
                    self.desk.note(format!("publish to `{}`: {}", self.to.codes, words(&error)));
                    self.desk.refused(&post.codes);
                }
                // The entry is there already.
                (Ask::Entry(_), Value::ServerError(error)) if is_known(&error) => {}
                (Ask::Entry(_), Value::ServerError(error)) => self.without_stream(&words(&error)),
                (Ask::Code(_), Value::Int(listeners)) => self.audience = listeners,
                _ => {}
            }
        }
        Ok(())
    }

    fn remember(&mut self, post: Post) {
        if self.to.stream.is_none() || post.event.is_none() {
            return;
        }
        self.told_size += post.size();
        self.told.push_back(post);
        if self.told_size > MEMORY {
            let size = &mut self.told_size;
            self.told.retain(|post| {
                let stays = post.must || *size <= MEMORY / 4 * 3;
                *size -= if stays { 0 } else { post.size() };
                stays
            });
        }
    }

    /// Comes to terms with what Redis knows: nothing yet, all but the newest, or nothing any more.
    fn settle(&mut self, link: &mut Link) -> Result<(), String> {
        let first = !std::mem::replace(&mut self.settled, true);
        if let Some(stream) = self.to.stream.clone() {
            match top(link, &stream.key)? {
                Ok(top) => self.catch_up(link, &stream, top)?,
                Err(refusal) => self.without_stream(&refusal),
            }
        }
        self.base.get_or_insert_with(now);
        if !first {
            self.gather(link)?;
        }
        Ok(())
    }

    fn catch_up(&mut self, link: &mut Link, stream: &Stream, top: Option<(u64, u64)>) -> Result<(), String> {
        let (newest, last) = top.unwrap_or((0, 0));
        let base = *self.base.get_or_insert_with(|| now().max(newest + 1));
        let last = if newest == base { last } else { 0 };
        if newest > base {
            self.desk.note(format!("another build tells to `{}` too", stream.key));
            return Ok(());
        }
        self.known = self.known.max(last);
        self.desk.arrived_up_to(last).into_iter().for_each(|post| self.remember(post));
        let missing = self.told.iter().filter(|post| post.seq > last);
        let again: Vec<_> =
            missing.filter_map(|post| Some(stream.add(base, post.seq, post.event.as_deref()?))).collect();
        for some in again.chunks(500) {
            let answers = link.ask_all(some)?;
            let refusal = answers.iter().find_map(|answer| match answer {
                Value::ServerError(error) if SOON.contains(&error.code()) => Some(words(error)),
                _ => None,
            });
            refusal.map_or(Ok(()), Err)?;
        }
        Ok(())
    }

    /// Gives listeners that were cut off as well a moment to subscribe again.
    fn gather(&self, link: &mut Link) -> Result<(), String> {
        let began = Instant::now();
        while self.audience > 0 && began.elapsed() < GATHERING {
            let answer = link.ask(cmd("PUBSUB").arg("NUMSUB").arg(&self.to.codes))?;
            let there = <(String, i64)>::from_redis_value(answer).map_or(i64::MAX, |(_, there)| there);
            if there >= self.audience || !self.desk.pause(SHORTEST) {
                break;
            }
        }
        Ok(())
    }

    /// Goes on without the stream when Redis does not want one (too old, not allowed, another kind of key).
    fn without_stream(&mut self, why: &str) {
        if let Some(stream) = self.to.stream.take() {
            self.desk.note(format!("write the stream `{}`: {why}", stream.key));
            (self.told, self.told_size) = (VecDeque::new(), 0);
        }
    }
}

/// Asks for the id of a stream's newest entry; inside, a refusal.
fn top(link: &mut Link, key: &str) -> Result<Result<Option<(u64, u64)>, String>, String> {
    Ok(match link.ask(&Stream::top(key))? {
        Value::ServerError(error) if SOON.contains(&error.code()) => return Err(words(&error)),
        Value::ServerError(error) => Err(words(&error)),
        answer => Ok(crate::watch::entries(answer).first().map(|entry| entry.id)),
    })
}

fn is_known(error: &redis::ServerError) -> bool {
    error.details().is_some_and(|details| details.contains("equal or smaller"))
}

/// Milliseconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
