//! Blocks of fixed length through threads, each made into bytes of its own, written in order.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

/// Makes one block into what stands for it.
pub(super) type Encode = fn(&[u8], u32) -> io::Result<Vec<u8>>;

/// A writer that cuts what it gets into blocks.
pub(super) struct Pool<W: Write> {
    inner: W,
    block: Vec<u8>,
    len: usize,
    jobs: Option<Sender<(usize, Vec<u8>)>>,
    results: Receiver<(usize, io::Result<Vec<u8>>)>,
    early: BTreeMap<usize, Vec<u8>>,
    sent: usize,
    written: usize,
    most: usize,
    threads: Vec<JoinHandle<()>>,
}

impl<W: Write> Pool<W> {
    pub fn new(inner: W, len: usize, threads: usize, level: u32, encode: Encode) -> Self {
        let threads = threads.max(1);
        let (jobs, waiting) = bounded::<(usize, Vec<u8>)>(threads);
        let (done, results) = unbounded();
        let work = |_| {
            let (waiting, done) = (waiting.clone(), done.clone());
            std::thread::spawn(move || {
                for (at, block) in waiting {
                    if done.send((at, encode(&block, level))).is_err() {
                        return;
                    }
                }
            })
        };
        let handles = (0..threads).map(work).collect();
        let (early, block) = (BTreeMap::new(), Vec::with_capacity(len));
        let most = 2 * threads;
        Self { inner, block, len, jobs: Some(jobs), results, early, sent: 0, written: 0, most, threads: handles }
    }

    /// Writes what is left; nothing at all still makes one block, so that the output is a valid file.
    pub fn finish(mut self) -> io::Result<W> {
        if !self.block.is_empty() || self.sent == 0 {
            self.send()?;
        }
        self.jobs = None;
        while self.written < self.sent {
            self.receive()?;
        }
        self.threads.into_iter().for_each(|thread| drop(thread.join()));
        Ok(self.inner)
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.len - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        if self.block.len() == self.len {
            self.send()?;
        }
        Ok(taken)
    }

    fn send(&mut self) -> io::Result<()> {
        while self.sent - self.written >= self.most {
            self.receive()?;
        }
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(self.len));
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send((self.sent, block)).map_err(|_| gone())?;
        self.sent += 1;
        Ok(())
    }

    fn receive(&mut self) -> io::Result<()> {
        let (at, bytes) = self.results.recv().map_err(|_| gone())?;
        self.early.insert(at, bytes?);
        while let Some(bytes) = self.early.remove(&self.written) {
            self.inner.write_all(&bytes)?;
            self.written += 1;
        }
        Ok(())
    }
}

fn gone() -> io::Error {
    io::Error::other("a thread that compresses ended early")
}
