//! Many blobs at once.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kiln_store::Store;

use crate::{Fetcher, Progress, Request, Result};

/// Time between two words of progress while bytes come in.
const BREATH: Duration = Duration::from_millis(50);

impl Fetcher {
    /// Brings all blobs into the store, several at once. `on_done` hears of each (index, path) as soon as it is there,
    /// from any thread: first of those that were there already. The order of the requests is the order in which they
    /// are begun. The first failure stops those not yet begun and is returned.
    pub fn fetch_all(
        &self,
        store: &Store,
        requests: &[Request],
        on_done: &(dyn Fn(usize, PathBuf) + Sync),
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<()> {
        let tally = Tally::new(requests, progress);
        let missing = self.hand_out_stored(store, requests, on_done, &tally)?;
        let (next, failed, failure) = (AtomicUsize::new(0), AtomicBool::new(false), Mutex::new(None));
        let work = || {
            while !failed.load(Ordering::Relaxed) {
                let Some(&index) = missing.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
                let request = &requests[index];
                match self.fetch_blob(store, request, &|written| tally.written(index, written)) {
                    Ok(path) => {
                        tally.done(index, request.size);
                        on_done(index, path);
                    }
                    Err(error) => {
                        failed.store(true, Ordering::Relaxed);
                        failure.lock().expect("no panic while held").get_or_insert(error);
                        return;
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.options.connections.clamp(1, missing.len().max(1)) {
                scope.spawn(work);
            }
        });
        tally.tell();
        failure.into_inner().expect("no panic while held").map_or(Ok(()), Err)
    }

    /// Hands out what is in the store and returns the indexes of the rest.
    fn hand_out_stored(
        &self,
        store: &Store,
        requests: &[Request],
        on_done: &(dyn Fn(usize, PathBuf) + Sync),
        tally: &Tally,
    ) -> Result<Vec<usize>> {
        let mut missing = Vec::new();
        for (index, request) in requests.iter().enumerate() {
            let kept = |error| crate::Error {
                name: request.name.clone(),
                failure: Box::new(crate::Failure::Store(error)),
                tried: Vec::new(),
            };
            match store.blob(&request.digest).map_err(kept)? {
                Some(path) => {
                    tally.cached(index, request.size);
                    on_done(index, path);
                }
                None => missing.push(index),
            }
        }
        tally.tell();
        Ok(missing)
    }
}

/// Counts bytes and files of all downloads together.
struct Tally<'a> {
    progress: &'a (dyn Fn(Progress) + Sync),
    counts: Mutex<Counts>,
}

struct Counts {
    each: Vec<u64>,
    all: Progress,
    told: Instant,
}

impl<'a> Tally<'a> {
    fn new(requests: &[Request], progress: &'a (dyn Fn(Progress) + Sync)) -> Self {
        let total = requests.iter().filter_map(|request| request.size).sum();
        let all = Progress { total, of: requests.len() as u64, ..Progress::default() };
        let counts = Counts { each: vec![0; requests.len()], all, told: Instant::now() };
        Self { progress, counts: Mutex::new(counts) }
    }

    fn written(&self, index: usize, bytes: u64) {
        let due = {
            let mut counts = self.counts.lock().expect("no panic while held");
            counts.set(index, bytes);
            let due = counts.told.elapsed() >= BREATH;
            if due {
                counts.told = Instant::now();
            }
            due.then_some(counts.all)
        };
        if let Some(all) = due {
            (self.progress)(all);
        }
    }

    fn done(&self, index: usize, size: Option<u64>) {
        let all = self.finish(index, size, 0);
        (self.progress)(all);
    }

    fn cached(&self, index: usize, size: Option<u64>) {
        self.finish(index, size, 1);
    }

    fn finish(&self, index: usize, size: Option<u64>, cached: u64) -> Progress {
        let mut counts = self.counts.lock().expect("no panic while held");
        if let Some(size) = size {
            counts.set(index, size);
        }
        counts.all.files += 1;
        counts.all.cached += cached;
        counts.all
    }

    fn tell(&self) {
        let all = self.counts.lock().expect("no panic while held").all;
        (self.progress)(all);
    }
}

impl Counts {
    fn set(&mut self, index: usize, bytes: u64) {
        self.all.done = self.all.done - self.each[index] + bytes;
        self.each[index] = bytes;
    }
}
