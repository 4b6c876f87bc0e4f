//! Windows through threads: loaded side by side, handed on in order, with a bounded number of them in memory.
//!
//! A worker takes a buffer before it takes a window. So whoever holds the earliest window that is not done also holds
//! a buffer, and cannot wait for those behind it: the line always moves.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::load::Files;
use super::window::Window;

/// Buffers that wait for their turn, besides one for each worker.
const WAITING: usize = 3;

/// Runs `work` on every window that is not all zeros, then `each` on every window in order, on this thread.
pub(super) fn in_order<T: Send>(
    windows: &[Window],
    work: impl Fn(&Window, &mut Vec<u8>, &mut Files) -> io::Result<T> + Sync,
    mut each: impl FnMut(&Window, Option<(&[u8], T)>) -> io::Result<()>,
) -> io::Result<()> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(8);
    let full: Vec<usize> = (0..windows.len()).filter(|at| !windows[*at].is_zero()).collect();
    let line = Line { windows, full: &full, next: AtomicUsize::new(0) };
    std::thread::scope(|scope| {
        let (free, buffers) = bounded(threads + WAITING);
        let (done, results) = unbounded();
        for _ in 0..threads.min(full.len()) {
            let (buffers, done, line, work) = (buffers.clone(), done.clone(), &line, &work);
            scope.spawn(move || line.work(&buffers, &done, work));
        }
        drop(done);
        (0..threads + WAITING).for_each(|_| drop(free.send(Vec::new())));
        let mut early = BTreeMap::new();
        for (at, window) in windows.iter().enumerate() {
            if window.is_zero() {
                each(window, None)?;
                continue;
            }
            let (buffer, result): (Vec<u8>, T) = wait(at, &results, &mut early)?;
            each(window, Some((&buffer, result)))?;
            drop(free.send(buffer));
        }
        Ok(())
    })
}

type Done<T> = (usize, io::Result<(Vec<u8>, T)>);

struct Line<'l> {
    windows: &'l [Window],
    full: &'l [usize],
    next: AtomicUsize,
}

impl Line<'_> {
    /// Works until there is nothing left, or nobody waits any more.
    fn work<T>(
        &self,
        buffers: &Receiver<Vec<u8>>,
        done: &Sender<Done<T>>,
        work: &impl Fn(&Window, &mut Vec<u8>, &mut Files) -> io::Result<T>,
    ) {
        let mut files = Files::default();
        while let Ok(mut buffer) = buffers.recv() {
            let Some(at) = self.full.get(self.next.fetch_add(1, Ordering::Relaxed)) else { return };
            let result = work(&self.windows[*at], &mut buffer, &mut files);
            if done.send((*at, result.map(|result| (buffer, result)))).is_err() {
                return;
            }
        }
    }
}

fn wait<T>(
    at: usize,
    results: &Receiver<Done<T>>,
    early: &mut BTreeMap<usize, (Vec<u8>, T)>,
) -> io::Result<(Vec<u8>, T)> {
    loop {
        if let Some(result) = early.remove(&at) {
            return Ok(result);
        }
        let (done, result) =
            results.recv().map_err(|_| io::Error::other("a thread that writes the image ended early"))?;
        early.insert(done, result?);
    }
}
