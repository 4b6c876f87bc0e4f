//! The caller's terminal, relayed to a terminal inside the sandbox.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::stdio::{stdin, stdout};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

/// Both ways between the caller's terminal, raw meanwhile, and the outer side of the program's.
pub(super) struct Relay {
    outer: OwnedFd,
    before: Termios,
    /// Typed but not yet taken.
    typed: VecDeque<u8>,
    /// The program's side has ended.
    closed: bool,
    /// The caller's terminal is gone; a SIGHUP says so too.
    hung_up: bool,
}

impl Relay {
    /// How often the size of the window is compared.
    pub(super) const PAUSE: Duration = Duration::from_millis(200);

    pub(super) fn new(outer: OwnedFd) -> io::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        fcntl_setfl(&outer, fcntl_getfl(&outer)? | OFlags::NONBLOCK)?;
        tcsetattr(stdin(), OptionalActions::Drain, &raw)?;
        let relay = Self { outer, before, typed: VecDeque::new(), closed: false, hung_up: false };
        relay.fit();
        Ok(relay)
    }

    /// Returns what to wait for: the program's side, and the keyboard while there is room.
    pub(super) fn watched(&self) -> Vec<PollFd<'_>> {
        if self.closed {
            return Vec::new();
        }
        let mut program = PollFlags::IN;
        program.set(PollFlags::OUT, !self.typed.is_empty());
        let mut all = vec![PollFd::new(&self.outer, program)];
        if self.typed.is_empty() && !self.hung_up {
            all.push(PollFd::from_borrowed_fd(stdin(), PollFlags::IN));
        }
        all
    }

    pub(super) fn step(&mut self, ready: &[bool]) {
        self.fit();
        if ready.get(1).copied().unwrap_or(false) {
            let mut space = [0; 4096];
            let length = rustix::io::read(stdin(), &mut space).unwrap_or(0);
            self.typed.extend(&space[..length]);
            self.hung_up = length == 0;
        }
        self.type_in();
        if ready.first().copied().unwrap_or(false) {
            self.show();
        }
    }

    /// Shows what the program wrote last.
    pub(super) fn drain(&mut self) {
        while self.show() {}
    }

    fn type_in(&mut self) {
        while !self.typed.is_empty() {
            let Ok(length @ 1..) = rustix::io::write(&self.outer, self.typed.make_contiguous()) else { return };
            self.typed.drain(..length);
        }
    }

    fn show(&mut self) -> bool {
        let mut space = [0; 16 * 1024];
        match rustix::io::read(&self.outer, &mut space) {
            Ok(length @ 1..) => write_all(&space[..length]),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => false,
            // The last program has closed its side.
            Ok(_) | Err(_) => {
                self.closed = true;
                false
            }
        }
    }

    /// Gives the program's terminal the caller's size; the kernel tells the program when it changed.
    fn fit(&self) {
        if let (Ok(ours), Ok(theirs)) = (tcgetwinsize(stdin()), tcgetwinsize(&self.outer))
            && (ours.ws_row, ours.ws_col) != (theirs.ws_row, theirs.ws_col)
        {
            let _ = tcsetwinsize(&self.outer, ours);
        }
    }
}

fn write_all(mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match rustix::io::retry_on_intr(|| rustix::io::write(stdout(), bytes)) {
            Ok(length @ 1..) => bytes = &bytes[length..],
            _ => return false,
        }
    }
    true
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = tcsetattr(stdin(), OptionalActions::Drain, &self.before);
    }
}
