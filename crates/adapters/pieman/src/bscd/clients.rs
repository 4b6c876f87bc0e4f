//! Everybody who is connected, looked at together.

use std::io::{self, Read as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::diary::Diary;

/// A client that has said nothing for so long is let go.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often silent clients and the wish to stop are looked for.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };

/// One receive, at most; Pieman's.
const REQUEST: usize = 4096;

/// So many may be connected; the one that waits longest goes first.
const MANY: usize = 256;

pub struct Clients<'a> {
    listener: &'a UnixListener,
    clients: Vec<Client>,
}

struct Client {
    stream: UnixStream,
    since: Instant,
}

impl<'a> Clients<'a> {
    pub fn new(listener: &'a UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { listener, clients: vec![] })
    }

    /// Waits a moment, and returns what was received, oldest client first.
    pub fn requests(&mut self, diary: &mut Diary) -> io::Result<Vec<Vec<u8>>> {
        let mut watched = vec![PollFd::new(self.listener, PollFlags::IN)];
        watched.extend(self.clients.iter().map(|client| PollFd::new(&client.stream, PollFlags::IN)));
        match poll(&mut watched, Some(&LOOK)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        self.welcome(diary);
        Ok(self.hear(diary))
    }

    fn welcome(&mut self, diary: &mut Diary) {
        while let Ok((stream, _)) = self.listener.accept() {
            if stream.set_nonblocking(true).is_ok() {
                diary.debug("A client connected");
                self.clients.push(Client { stream, since: Instant::now() });
            }
        }
    }

    fn hear(&mut self, diary: &mut Diary) -> Vec<Vec<u8>> {
        let mut requests = vec![];
        let too_many = self.clients.len().saturating_sub(MANY);
        let mut at = 0;
        self.clients.retain_mut(|client| {
            at += 1;
            let stays = client.hear(&mut requests) && at > too_many && client.since.elapsed() < PATIENCE;
            if !stays {
                diary.debug("A client disconnected");
            }
            stays
        });
        requests
    }
}

impl Client {
    /// Takes every receive as a request; false when the client is gone.
    fn hear(&mut self, requests: &mut Vec<Vec<u8>>) -> bool {
        let mut buffer = [0; REQUEST];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return false,
                Ok(count) => {
                    requests.extend(buffer.get(..count).map(<[u8]>::to_vec));
                    self.since = Instant::now();
                }
                Err(error) => return matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
            }
        }
    }
}
