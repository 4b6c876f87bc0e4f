//! Kiln's side of a run: ask for the sandbox, hand its output on, keep the clock, hear how it ended.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, pidfd_send_signal};

use super::disk::Disk;
use super::terminal::Relay;
use super::{Excess, Failure, Job, News, Order};
use crate::error::Doing;
use crate::janitor::Janitor;
use crate::registrar::Registrar;
use crate::{Command, Error, Exit, Result, Status, Stream, container, interrupt, letter};

/// What a program gets between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// The same when kiln itself was told to stop.
const SHORT_GRACE: Duration = Duration::from_millis(500);

pub(super) fn run(command: &Command, output: &mut dyn FnMut(Stream, &[u8])) -> Result<Exit> {
    if interrupt::interrupted() {
        return Err(Error::Interrupted);
    }
    let mut run = Run::start(command)?;
    while run.step(output)? {}
    run.finish(output)
}

/// A run under way.
struct Run<'a> {
    command: &'a Command,
    line: OwnedFd,
    streams: Vec<(Stream, OwnedFd)>,
    relay: Option<Relay>,
    first: Option<OwnedFd>,
    began: Instant,
    disk: Option<Disk>,
    timed_out: bool,
    out_of_disk: bool,
    /// A limit for which the kernel killed.
    excess: Option<Excess>,
    interrupted: bool,
    /// When the first process is killed although it was told to stop.
    kill_at: Option<Instant>,
    failed: Option<Error>,
    end: Option<News>,
    gone: bool,
}

impl<'a> Run<'a> {
    fn start(command: &'a Command) -> Result<Self> {
        let janitor = Janitor::get().ok_or_else(|| Error::NotEntered(command.program().into()))?;
        let began = Instant::now();
        let terminal = command.terminal && io::stdin().is_terminal();
        let (line, theirs) = letter::pair().doing(|| "make a socket pair".into())?;
        let (ours, given) = streams(command)?;
        let disk = Disk::new(command);
        janitor.start(&theirs, &job(command, terminal)?, &given)?;
        Ok(Self {
            command,
            line,
            streams: ours,
            relay: None,
            first: None,
            began,
            disk,
            timed_out: false,
            out_of_disk: false,
            excess: None,
            interrupted: false,
            kill_at: None,
            failed: None,
            end: None,
            gone: false,
        })
    }

    /// Waits for the next thing and deals with it; `false` once the sandbox is gone.
    fn step(&mut self, output: &mut dyn FnMut(Stream, &[u8])) -> Result<bool> {
        let bell = interrupt::bell().filter(|_| !self.interrupted);
        let mut watched = vec![PollFd::new(&self.line, PollFlags::IN)];
        watched.extend(bell.iter().map(|bell| PollFd::new(bell, PollFlags::IN)));
        watched.extend(self.streams.iter().map(|(_, stream)| PollFd::new(stream, PollFlags::IN)));
        let own = watched.len();
        watched.extend(self.relay.iter().flat_map(Relay::watched));
        match poll(&mut watched, self.pause().as_ref()) {
            Err(rustix::io::Errno::INTR) => return Ok(true),
            other => other.doing(|| "wait for the sandbox".into())?,
        };
        let ready: Vec<bool> = watched.iter().map(|one| !one.revents().is_empty()).collect();
        let (ready, relayed) = ready.split_at(own);
        if let Some(relay) = &mut self.relay {
            relay.step(relayed);
        }
        self.pass_on(&ready[1 + usize::from(bell.is_some())..], output);
        if ready[0] {
            self.hear()?;
        }
        if bell.is_some() && ready[1] {
            self.interrupted = true;
            self.stop(SHORT_GRACE);
        }
        self.keep_time();
        self.keep_room();
        Ok(!self.gone)
    }

    fn pause(&self) -> Option<Timespec> {
        let limit = self.command.limits.time.filter(|_| !self.timed_out).map(|time| self.began + time);
        let relay = self.relay.as_ref().map(|_| Instant::now() + Relay::PAUSE);
        let disk = self.disk.as_ref().filter(|_| !self.out_of_disk).map(Disk::next);
        let until = [limit, self.kill_at, relay, disk].into_iter().flatten().min()?;
        let pause = until.saturating_duration_since(Instant::now());
        Some(Timespec { tv_sec: pause.as_secs() as i64, tv_nsec: i64::from(pause.subsec_nanos()) })
    }

    fn pass_on(&mut self, ready: &[bool], output: &mut dyn FnMut(Stream, &[u8])) {
        let mut ready = ready.iter();
        let mut space = [0; 64 * 1024];
        self.streams.retain(|(which, stream)| {
            if !ready.next().copied().unwrap_or(false) {
                return true;
            }
            match rustix::io::retry_on_intr(|| rustix::io::read(stream, &mut space)) {
                Ok(0) | Err(_) => false,
                Ok(length) => {
                    output(*which, &space[..length]);
                    true
                }
            }
        });
    }

    fn hear(&mut self) -> Result<()> {
        match letter::receive::<News>(&self.line).doing(|| "hear from the sandbox".into())? {
            Some((News::Born, descriptors)) => self.first = descriptors.into_iter().next(),
            Some((News::Terminal, descriptors)) => {
                self.relay = descriptors.into_iter().next().and_then(|outer| Relay::new(outer).ok());
            }
            Some((News::Failed { what, doing, errno }, _)) => self.failed = Some(self.failure(what, doing, errno)),
            Some((end @ News::Ended { .. }, _)) => self.end = Some(end),
            Some((gone @ News::Gone { .. }, _)) => {
                if let News::Gone { excess, .. } = &gone {
                    self.excess = *excess;
                }
                self.end.get_or_insert(gone);
                self.gone = true;
            }
            // Whoever could report is gone: it never started, or the janitor died and took the sandbox along.
            None => self.gone = true,
        }
        Ok(())
    }

    fn failure(&self, what: Failure, doing: String, errno: i32) -> Error {
        let source = io::Error::from_raw_os_error(errno);
        match what {
            Failure::Sandbox => {
                let what = format!("run `{}`: {doing}", self.command.program());
                match container::mend(&source) {
                    mend @ Some(_) => Error::Refused { what, mend, source: Some(source) },
                    None => Error::System { doing: what, source },
                }
            }
            Failure::Program => Error::Program {
                program: self.command.program().into(),
                root: self.command.root.display().to_string(),
                source,
            },
        }
    }

    fn keep_time(&mut self) {
        let over = self.command.limits.time.is_some_and(|time| self.began.elapsed() >= time);
        if over && !self.timed_out && !self.gone {
            self.timed_out = true;
            self.stop(GRACE);
        }
        if self.kill_at.is_some_and(|at| Instant::now() >= at) {
            self.kill_at = None;
            if let Some(first) = &self.first {
                let _ = pidfd_send_signal(first, Signal::KILL);
            }
        }
    }

    fn keep_room(&mut self) {
        if !self.out_of_disk && !self.gone && self.disk.as_mut().is_some_and(Disk::is_exceeded) {
            self.out_of_disk = true;
            self.stop(Duration::ZERO);
        }
    }

    /// Asks the first process to end everything; kills it, and with it all others, when it does not.
    fn stop(&mut self, grace: Duration) {
        let _ = letter::send(&self.line, &Order::Stop { grace }, &[]);
        self.kill_at = Some(Instant::now() + grace + SHORT_GRACE);
    }

    /// Reads what is left in the pipes, whose writers are all dead, and tells how it ended.
    fn finish(mut self, output: &mut dyn FnMut(Stream, &[u8])) -> Result<Exit> {
        while !self.streams.is_empty() {
            let mut watched: Vec<_> =
                self.streams.iter().map(|(_, stream)| PollFd::new(stream, PollFlags::IN)).collect();
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            if poll(&mut watched, Some(&now)) == Ok(0) {
                break;
            }
            let ready: Vec<bool> = watched.iter().map(|one| !one.revents().is_empty()).collect();
            self.pass_on(&ready, output);
        }
        if let Some(relay) = &mut self.relay {
            relay.drain();
        }
        if self.interrupted {
            return Err(Error::Interrupted);
        }
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.exit()
    }

    fn exit(self) -> Result<Exit> {
        let (status, cpu, max_rss, excess) = match self.end {
            Some(News::Ended { status, cpu, max_rss, excess }) => (status, cpu, max_rss, excess),
            Some(News::Gone { status, cpu, max_rss, .. }) => (status, cpu, max_rss, None),
            _ => {
                let what = format!("run `{}`: the janitor is gone", self.command.program());
                return Err(Error::Refused { what, mend: None, source: None });
            }
        };
        let excess = excess.or(self.excess);
        Ok(Exit {
            status: read_status(status),
            timed_out: self.timed_out,
            out_of_memory: excess == Some(Excess::Memory),
            too_many_processes: excess == Some(Excess::Processes),
            out_of_disk: self.out_of_disk,
            cpu,
            max_rss,
            wall: self.began.elapsed(),
        })
    }
}

fn read_status(status: i32) -> Status {
    if libc::WIFSIGNALED(status) {
        Status::Signal(libc::WTERMSIG(status))
    } else {
        Status::Code(libc::WEXITSTATUS(status))
    }
}

/// Writes the job to a memory file; paths become absolute, as the janitor lives elsewhere.
fn job(command: &Command, terminal: bool) -> Result<OwnedFd> {
    let mut command = command.clone();
    let absolute = |path: &mut std::path::PathBuf| {
        *path = path.canonicalize().doing(|| format!("find `{}`", path.display()))?;
        Ok(())
    };
    absolute(&mut command.root)?;
    if let (Some(registrar), false) = (Registrar::get(), command.emulators.is_empty()) {
        command.emulators.iter_mut().try_for_each(|emulator| absolute(&mut emulator.program))?;
        registrar.register(&std::mem::take(&mut command.emulators))?;
    }
    command.emulators.iter_mut().try_for_each(|emulator| absolute(&mut emulator.program))?;
    command.binds.iter_mut().try_for_each(|bind| absolute(&mut bind.host))?;
    let text = serde_json::to_vec(&Job { command, terminal }).doing(|| "write the job".into())?;
    memory_file(&text)
}

fn memory_file(content: &[u8]) -> Result<OwnedFd> {
    let doing = || "make a memory file".to_owned();
    let file = memfd_create("kiln", MemfdFlags::CLOEXEC).doing(doing)?;
    let mut at = 0;
    while at < content.len() {
        at += rustix::io::pwrite(&file, &content[at..], at as u64).doing(doing)?;
    }
    Ok(file)
}

type Ours = Vec<(Stream, OwnedFd)>;

/// Returns our ends of the output pipes, and what the program gets.
fn streams(command: &Command) -> Result<(Ours, [OwnedFd; 3])> {
    let doing = || "make the standard streams".to_owned();
    if command.terminal {
        let stdin = io::stdin().as_fd().try_clone_to_owned().doing(doing)?;
        let stdout = io::stdout().as_fd().try_clone_to_owned().doing(doing)?;
        let stderr = io::stderr().as_fd().try_clone_to_owned().doing(doing)?;
        return Ok((Vec::new(), [stdin, stdout, stderr]));
    }
    let stdin = match command.stdin.as_slice() {
        [] => std::fs::File::open("/dev/null").doing(doing)?.into(),
        content => memory_file(content)?,
    };
    let (stdout, out) = pipe_with(PipeFlags::CLOEXEC).doing(doing)?;
    let (stderr, err) = pipe_with(PipeFlags::CLOEXEC).doing(doing)?;
    Ok((vec![(Stream::Stdout, stdout), (Stream::Stderr, stderr)], [stdin, out, err]))
}
