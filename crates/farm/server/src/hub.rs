//! Who watches which build's log now: entries reach them from memory, the database is asked for what came before.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use kiln_farm_api::{BuildId, Entry};
use tokio::sync::watch;

/// How many entries of a build are kept for those who are a little behind.
const RECENT: usize = 1024;

/// An entry as watchers get it, made once for all of them.
#[derive(Clone, Debug)]
pub struct Told {
    pub seq: u64,
    pub json: Arc<str>,
}

/// The builds that somebody watches.
#[derive(Default)]
pub struct Hub {
    watched: Mutex<HashMap<BuildId, Watched>>,
    /// Whether this server is told of what others write.
    listens: AtomicBool,
}

struct Watched {
    recent: VecDeque<Told>,
    last: watch::Sender<u64>,
}

impl Hub {
    /// Tells watchers of entries that are in the database now.
    pub fn publish(&self, entries: Vec<(BuildId, Entry)>) {
        let mut watched = self.watched.lock().expect("no panic while held");
        for (build, entry) in entries {
            let Some(here) = watched.get_mut(&build) else { continue };
            if here.last.is_closed() {
                watched.remove(&build);
                continue;
            }
            let json = serde_json::to_string(&entry).expect("entries serialise").into();
            here.recent.push_back(Told { seq: entry.seq, json });
            if here.recent.len() > RECENT {
                here.recent.pop_front();
            }
            here.last.send_replace(entry.seq);
        }
    }

    /// Wakes the watchers of a build another server wrote to.
    pub fn nudge(&self, build: BuildId, last: u64) {
        if let Some(here) = self.watched.lock().expect("no panic while held").get(&build) {
            here.last.send_if_modified(|known| {
                let more = last > *known;
                *known = (*known).max(last);
                more
            });
        }
    }

    /// Wakes every watcher, to look at the database.
    pub fn wake(&self) {
        self.watched.lock().expect("no panic while held").values().for_each(|here| here.last.send_modify(|_| {}));
    }

    /// Notes whether this server is told of what others write.
    pub fn listening(&self, listens: bool) {
        self.listens.store(listens, Ordering::Relaxed);
    }

    /// Whether this server is told of what others write.
    pub fn listens(&self) -> bool {
        self.listens.load(Ordering::Relaxed)
    }

    /// Begins to watch; what is in the database before this call is to be read there.
    pub fn watch(&self, build: BuildId) -> watch::Receiver<u64> {
        let mut watched = self.watched.lock().expect("no panic while held");
        watched.retain(|_, here| !here.last.is_closed());
        let fresh = || Watched { recent: VecDeque::new(), last: watch::Sender::new(0) };
        watched.entry(build).or_insert_with(fresh).last.subscribe()
    }

    /// Returns the builds somebody watches.
    pub fn builds(&self) -> Vec<BuildId> {
        self.watched.lock().expect("no panic while held").keys().copied().collect()
    }

    /// Returns how many follow a log now.
    pub fn watchers(&self) -> usize {
        self.watched.lock().expect("no panic while held").values().map(|here| here.last.receiver_count()).sum()
    }

    /// Returns the entries that come right after number `after`, if they are still here.
    pub fn after(&self, build: BuildId, after: u64, limit: usize) -> Option<Vec<Told>> {
        let watched = self.watched.lock().expect("no panic while held");
        let recent = &watched.get(&build)?.recent;
        let first = recent.front()?.seq;
        let skip = (after + 1).checked_sub(first)? as usize;
        let found: Vec<Told> = recent.iter().skip(skip).take(limit).cloned().collect();
        // Between what this server told there may be what another one did.
        let gapless = found.iter().zip(after + 1..).all(|(told, seq)| told.seq == seq);
        (!found.is_empty() && gapless).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_farm_api::{FarmEvent, What};
    use uuid::Uuid;

    #[test]
    fn what_came_lately_is_here() {
        let (hub, build) = (Hub::default(), BuildId(Uuid::from_u128(1)));
        let entry = |seq| {
            let what = What::Farm(FarmEvent::Submitted { by: "ann".into() });
            (build, Entry { seq, at: 0, task: None, epoch: None, what })
        };
        hub.publish(vec![entry(1)]);
        assert!(hub.after(build, 0, 9).is_none(), "nobody watched");
        let mut watching = hub.watch(build);
        hub.publish(vec![entry(2), entry(3)]);
        assert_eq!(*watching.borrow_and_update(), 3);
        let seqs = |after| hub.after(build, after, 9).map(|told| told.iter().map(|one| one.seq).collect::<Vec<_>>());
        assert_eq!(seqs(0), None, "the first is not");
        assert_eq!(seqs(1), Some(vec![2, 3]));
        assert_eq!(seqs(2), Some(vec![3]));
        assert_eq!(seqs(3), None);
        hub.publish(vec![entry(5)]);
        assert_eq!(seqs(2), None, "the fourth was told elsewhere");
        drop(watching);
        hub.publish(vec![entry(6)]);
        assert!(hub.builds().is_empty());
    }
}
