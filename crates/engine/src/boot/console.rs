//! The guest's serial console: kept as a file, told line by line, searched for what is waited for.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use kiln_model::Fault;
use kiln_model::fault::OrFault;

use super::prompt;

/// Both directions of a serial console.
pub struct Console<'a> {
    stream: UnixStream,
    log: File,
    on_line: &'a dyn Fn(&str),
    /// Asked while waiting: a reason to give up.
    alarm: &'a dyn Fn() -> Option<Stop>,
    text: Vec<u8>,
    /// Where the line that is not complete yet begins.
    line: usize,
    /// Where waiting looks from.
    mark: usize,
    tickets: u32,
}

/// Why waiting ended without what was waited for.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    #[error("the time is over")]
    Timeout,
    #[error("the machine has stopped")]
    Closed,
    /// The kernel said so; nothing more will come.
    #[error("the kernel panicked")]
    Panicked,
    #[error("interrupted")]
    Interrupted,
    #[error("{0}")]
    Hypervisor(String),
    #[error("read the console: {0}")]
    Io(#[from] io::Error),
}

/// How long one look at the console lasts before the deadline and the alarm are looked at.
const LOOK: Duration = Duration::from_millis(100);

impl<'a> Console<'a> {
    /// Takes a connected stream; everything that comes is written to `log` and, line by line, told to `on_line`.
    pub fn new(
        stream: UnixStream,
        log: &Path,
        on_line: &'a dyn Fn(&str),
        alarm: &'a dyn Fn() -> Option<Stop>,
    ) -> Result<Self, Fault> {
        let log = File::create(log).farm(|| format!("write `{}`", log.display()))?;
        Self::on(stream, log, on_line, alarm)
    }

    /// As [`new`](Self::new), for a machine that was started before: its console goes on in the same log.
    pub fn further(
        stream: UnixStream,
        log: &Path,
        on_line: &'a dyn Fn(&str),
        alarm: &'a dyn Fn() -> Option<Stop>,
    ) -> Result<Self, Fault> {
        let log = File::options().append(true).open(log).farm(|| format!("write `{}`", log.display()))?;
        Self::on(stream, log, on_line, alarm)
    }

    fn on(
        stream: UnixStream,
        log: File,
        on_line: &'a dyn Fn(&str),
        alarm: &'a dyn Fn() -> Option<Stop>,
    ) -> Result<Self, Fault> {
        stream.set_read_timeout(Some(LOOK)).farm(|| "set up the console".into())?;
        Ok(Self { stream, log, on_line, alarm, text: Vec::new(), line: 0, mark: 0, tickets: 0 })
    }

    /// Returns all that came so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.text).into_owned()
    }

    /// Returns a number that was not returned before.
    pub fn ticket(&mut self) -> u32 {
        self.tickets += 1;
        self.tickets
    }

    /// Types `text` and looks from here on.
    pub fn send(&mut self, text: &str) -> Result<(), Stop> {
        self.mark = self.text.len();
        match self.stream.write_all(text.as_bytes()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Stop::Closed),
            done => Ok(done?),
        }
    }

    /// Waits until `find` finds something in what came since the last [`send`](Self::send).
    pub fn wait<T>(&mut self, deadline: Instant, mut find: impl FnMut(&str) -> Option<T>) -> Result<T, Stop> {
        loop {
            let text = String::from_utf8_lossy(&self.text[self.mark..]).into_owned();
            if let Some(found) = find(&text) {
                return Ok(found);
            }
            if text.contains(prompt::PANIC) {
                return Err(Stop::Panicked);
            }
            if let Some(stop) = (self.alarm)() {
                return Err(stop);
            }
            if Instant::now() >= deadline {
                return Err(Stop::Timeout);
            }
            self.read()?;
        }
    }

    /// Waits as [`wait`](Self::wait) does, but no longer than the console is silent for `silence`.
    pub fn wait_while_it_talks<T>(
        &mut self,
        silence: Duration,
        deadline: Instant,
        mut find: impl FnMut(&str) -> Option<T>,
    ) -> Result<T, Stop> {
        loop {
            let before = self.text.len();
            match self.wait(deadline.min(Instant::now() + silence), &mut find) {
                Err(Stop::Timeout) if Instant::now() < deadline && self.text.len() > before => {}
                done => return done,
            }
        }
    }

    /// Reads for one look at most, longer only while something comes.
    fn read(&mut self) -> Result<(), Stop> {
        let mut space = [0; 16 * 1024];
        match self.stream.read(&mut space) {
            Ok(0) => Err(Stop::Closed),
            Ok(length) => self.take(&space[..length]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(Stop::Closed),
            Err(error) => Err(error.into()),
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.log.write_all(bytes)?;
        self.text.extend_from_slice(bytes);
        while let Some(length) = self.text[self.line..].iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(&self.text[self.line..self.line + length]);
            (self.on_line)(&prompt::plain(&line));
            self.line += length + 1;
        }
        Ok(())
    }
}
