//! Where posts wait for the courier: in order, within a bound, with a word for whoever waits for the end.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Delivery, Post};

/// How much waits at most, in bytes; beyond that the oldest lines and progress are given up, never a code.
const ROOM: usize = 16 << 20;

/// How many posts go in one round trip.
const HANDFUL: usize = 64;

#[derive(Default)]
pub struct Desk {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Default)]
struct State {
    /// On their way: sent, or about to be, and not known to have arrived.
    hand: VecDeque<Post>,
    waiting: VecDeque<Post>,
    /// Bytes that wait.
    size: usize,
    /// Until when the rest may be delivered, once no more comes.
    until: Option<Instant>,
    first: Option<Result<(), String>>,
    done: bool,
    delivery: Delivery,
}

impl Desk {
    pub fn put(&self, post: Post) {
        let mut state = self.state();
        state.size += post.size();
        state.waiting.push_back(post);
        state.make_room();
        self.news.notify_all();
    }

    /// Waits for posts and returns those to send now, oldest first; none when all are sent or the time is over.
    pub fn handful(&self) -> Option<Vec<Post>> {
        let mut state = self.state();
        while state.is_empty() && state.until.is_none() {
            state = self.news.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.pick_up();
        (!state.hand.is_empty() && !state.late()).then(|| state.hand.iter().cloned().collect())
    }

    /// The oldest `count` posts arrived.
    pub fn arrived(&self, count: usize) {
        self.state().hand.drain(..count);
    }

    /// What was sent with an event up to `seq` arrived, as is known afterwards; returns it.
    pub fn arrived_up_to(&self, seq: u64) -> Vec<Post> {
        let mut state = self.state();
        let count = state.hand.iter().take_while(|post| post.seq <= seq).count();
        state.hand.drain(..count).collect()
    }

    /// Redis was asked for the first time.
    pub fn tried(&self, result: Result<(), String>) {
        self.state().first.get_or_insert(result);
        self.news.notify_all();
    }

    pub fn lost(&self) {
        self.state().delivery.outages += 1;
    }

    /// Redis will not take these codes.
    pub fn refused(&self, codes: &[u16]) {
        self.state().delivery.undelivered.extend(codes);
    }

    /// Says something once.
    pub fn note(&self, words: String) {
        let notes = &mut self.state().delivery.notes;
        if !notes.contains(&words) {
            notes.push(words);
        }
    }

    /// Waits a while, less when the end is near; false when there is nothing to go on for.
    pub fn pause(&self, long: Duration) -> bool {
        const SHORT: Duration = Duration::from_millis(100);
        let state = self.state();
        let ending = state.until.is_some();
        let wait = |state, long, go_on: fn(&mut State) -> bool| {
            self.news.wait_timeout_while(state, long, go_on).unwrap_or_else(PoisonError::into_inner).0
        };
        let state = if ending {
            wait(state, long.min(SHORT), |_| true)
        } else {
            wait(state, long, |state| state.until.is_none())
        };
        !(state.late() || state.until.is_some() && state.is_empty())
    }

    /// The courier is home.
    pub fn done(&self) {
        self.state().done = true;
        self.news.notify_all();
    }

    pub fn reached(&self, patience: Duration) -> Result<(), String> {
        let state = self.state();
        let wait = self.news.wait_timeout_while(state, patience, |state| state.first.is_none());
        let state = wait.unwrap_or_else(PoisonError::into_inner).0;
        state.first.clone().unwrap_or_else(|| Err("no answer yet".into()))
    }

    /// No more comes; waits for the courier, and tells what stayed.
    /// Nobody waits for what is on the desk any more.
    pub fn leave(&self) {
        self.state().until.get_or_insert_with(Instant::now);
        self.news.notify_all();
    }

    pub fn close(&self, patience: Duration) -> Delivery {
        let mut state = self.state();
        state.until = Some(Instant::now() + patience);
        self.news.notify_all();
        let wait = self.news.wait_timeout_while(state, patience, |state| !state.done);
        let state = wait.unwrap_or_else(PoisonError::into_inner).0;
        let mut delivery = state.delivery.clone();
        for post in state.hand.iter().chain(&state.waiting) {
            delivery.undelivered.extend(&post.codes);
            delivery.others += u64::from(post.event.is_some());
        }
        delivery
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_empty(&self) -> bool {
        self.hand.is_empty() && self.waiting.is_empty()
    }

    fn late(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() > until)
    }

    fn pick_up(&mut self) {
        while self.hand.len() < HANDFUL {
            let Some(post) = self.waiting.pop_front() else { break };
            self.size -= post.size();
            self.hand.push_back(post);
        }
    }

    /// Gives up a quarter of the room at once, so that this is rare.
    fn make_room(&mut self) {
        if self.size <= ROOM {
            return;
        }
        let (mut size, mut given_up) = (self.size, 0);
        self.waiting.retain(|post| {
            let stays = post.must || size <= ROOM / 4 * 3;
            if !stays {
                size -= post.size();
                given_up += 1;
            }
            stays
        });
        self.size = size;
        self.delivery.others += given_up;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(seq: u64, size: usize) -> Post {
        Post { seq, codes: vec![], event: Some("x".repeat(size)), log: None, must: false }
    }

    #[test]
    fn memory_is_bounded_and_codes_stay() {
        let desk = Desk::default();
        desk.put(Post::code(10));
        (1..200).for_each(|seq| desk.put(line(seq, 1 << 20)));
        desk.put(Post::code(20));
        assert!(desk.state().size <= ROOM);
        let delivery = desk.close(Duration::ZERO);
        assert_eq!((delivery.undelivered, delivery.others), (vec![10, 20], 199));
    }

    #[test]
    fn what_is_known_to_have_arrived_is_not_sent_again() {
        let desk = Desk::default();
        (1..=3).for_each(|seq| desk.put(line(seq, 1)));
        assert_eq!(desk.handful().unwrap().len(), 3);
        assert_eq!(desk.arrived_up_to(2).len(), 2);
        desk.put(line(4, 1));
        let seqs: Vec<u64> = desk.handful().unwrap().iter().map(|post| post.seq).collect();
        assert_eq!(seqs, [3, 4]);
        desk.arrived(2);
        assert_eq!(desk.close(Duration::ZERO), Delivery::default());
    }
}
