//! A task's events on disk, numbered as they come, until the server has them.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Seek as _, Write as _};
use std::path::Path;

use kiln_model::{Event, EventKind};
use tokio::sync::watch;

/// How far a spool has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The number of the last event.
    pub last: u64,
    /// Whether nothing will come after it.
    pub closed: bool,
}

/// Takes a task's events.
#[derive(Debug)]
pub struct Spool {
    file: File,
    progress: watch::Sender<Progress>,
}

/// A batch holds no more events than this, and not many more bytes than that.
const BATCH: usize = 1000;
const BATCH_BYTES: usize = 1 << 19;

impl Spool {
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create_new(true).open(path)?;
        Ok(Self { file, progress: watch::Sender::new(Progress::default()) })
    }

    /// Appends an event that happened `at` milliseconds after the beginning.
    pub fn push(&mut self, at: u64, kind: EventKind) -> io::Result<()> {
        let event = Event { seq: self.progress.borrow().last + 1, at, kind };
        let mut line = serde_json::to_vec(&event)?;
        line.push(b'\n');
        // A torn line would be followed by a whole one of the same number, which readers take instead.
        self.file.write_all(&line)?;
        self.progress.send_modify(|progress| progress.last = event.seq);
        Ok(())
    }

    /// Says that nothing will follow, and makes what there is outlast a power cut.
    pub fn close(self) -> io::Result<()> {
        let synced = self.file.sync_data();
        self.progress.send_modify(|progress| progress.closed = true);
        synced
    }

    pub fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }
}

/// Reads a spool's events; the file may be renamed meanwhile.
#[derive(Debug)]
pub struct Reader {
    file: BufReader<File>,
    /// The number of the event that was read last.
    read: u64,
}

impl Reader {
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: BufReader::new(File::open(path)?), read: 0 })
    }

    /// Returns events that come after number `after`, up to `last`: as many as make a good batch.
    pub fn batch(&mut self, after: u64, last: u64) -> io::Result<Vec<Event>> {
        if after < self.read {
            self.file.rewind()?;
            self.read = 0;
        }
        let (mut batch, mut bytes) = (vec![], 0);
        while self.read < last && batch.len() < BATCH && bytes < BATCH_BYTES {
            let Some((event, size)) = self.next()? else { break };
            if event.seq > after {
                bytes += size;
                batch.push(event);
            }
        }
        Ok(batch)
    }

    /// Returns how far a spool has come that nobody writes any more.
    pub fn rest(&mut self) -> io::Result<Progress> {
        while self.next()?.is_some() {}
        Ok(Progress { last: self.read, closed: true })
    }

    /// Returns the next event and its length; what is torn is passed over.
    fn next(&mut self) -> io::Result<Option<(Event, usize)>> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let size = self.file.read_until(b'\n', &mut line)?;
            if size == 0 {
                return Ok(None);
            }
            match serde_json::from_slice::<Event>(&line) {
                Ok(event) if event.seq == self.read + 1 => {
                    self.read = event.seq;
                    return Ok(Some((event, size)));
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(line: &str) -> EventKind {
        EventKind::Log { stage: None, source: "x".into(), line: line.into() }
    }

    fn numbers(batch: &[Event]) -> Vec<u64> {
        batch.iter().map(|event| event.seq).collect()
    }

    #[test]
    fn events_are_read_after_any_number() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("spool");
        let mut spool = Spool::create(&path).unwrap();
        let mut reader = Reader::open(&path).unwrap();
        (0..5).for_each(|at| spool.push(at, log("hello")).unwrap());
        assert_eq!(numbers(&reader.batch(0, 2).unwrap()), [1, 2]);
        assert_eq!(numbers(&reader.batch(2, 5).unwrap()), [3, 4, 5]);
        assert_eq!(numbers(&reader.batch(1, 5).unwrap()), [2, 3, 4, 5]);
        spool.push(9, log("more")).unwrap();
        assert_eq!(numbers(&reader.batch(5, 6).unwrap()), [6]);
        spool.close().unwrap();
        assert_eq!(reader.rest().unwrap(), Progress { last: 6, closed: true });
    }

    #[test]
    fn a_torn_end_is_passed_over() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("spool");
        let mut spool = Spool::create(&path).unwrap();
        (0..3).for_each(|at| spool.push(at, log("hello")).unwrap());
        drop(spool);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 4]).unwrap();
        let mut reader = Reader::open(&path).unwrap();
        let progress = reader.rest().unwrap();
        assert_eq!(progress.last, 2);
        assert_eq!(numbers(&reader.batch(0, progress.last).unwrap()), [1, 2]);
    }

    #[test]
    fn batches_are_bounded() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("spool");
        let mut spool = Spool::create(&path).unwrap();
        (0..2500).for_each(|at| spool.push(at, log("hello")).unwrap());
        let (mut reader, mut after, mut sizes) = (Reader::open(&path).unwrap(), 0, vec![]);
        while after < 2500 {
            let batch = reader.batch(after, 2500).unwrap();
            after = batch.last().unwrap().seq;
            sizes.push(batch.len());
        }
        assert_eq!(sizes, [1000, 1000, 500]);
    }
}
