//! The first process of a sandbox: builds the room, starts the program, reaps, watches, and ends everything.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{DumpableBehavior, Pid, PidfdFlags, Signal, pidfd_open};
use rustix::thread::{Gid, Uid};

use super::start::Streams;
use super::watch::Watch;
use super::{Excess, Job, News, Order, payload, room};
use crate::error::Doing;
use crate::{Result, letter, sys};

/// How long an orphan may stay unreaped when nothing else happens.
const IDLE: Duration = Duration::from_millis(250);

/// Lives from the clone to the end of the sandbox; the kernel kills all others when it is gone.
pub(super) fn live(job: &Job, line: &OwnedFd, streams: Streams, word: UnixStream) -> ! {
    if let Err(error) = act(job, line, streams, word) {
        let _ = letter::send(line, &News::failed(&error), &[]);
    }
    sys::exit_now(0)
}

fn act(job: &Job, line: &OwnedFd, streams: Streams, word: UnixStream) -> Result<()> {
    settle(word)?;
    let room = room::build(&job.command)?;
    let program = payload::start(job, line, streams)?;
    let end = attend(job, line, program);
    room.points.remove();
    let _ = letter::send(line, &end, &[]);
    Ok(())
}

/// Becomes root of the new user namespace, tied to the janitor's life and opaque to the program.
fn settle(mut word: UnixStream) -> Result<()> {
    sys::retitle(c"kiln-sandbox");
    word.read_exact(&mut [0]).doing(|| "wait for the id maps".into())?;
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).doing(|| "become group 0".into())?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).doing(|| "become user 0".into())?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).doing(|| "follow the janitor".into())?;
    // A host that runs out of memory shall take a sandbox rather than what its user works with.
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).doing(|| "become opaque".into())
}

/// Stays until the program has ended, then kills what it left behind.
fn attend(job: &Job, line: &OwnedFd, program: Pid) -> News {
    let mut watch = Watch::new(&job.command.limits);
    let mut kill_at = None;
    let handle = pidfd_open(program, PidfdFlags::empty());
    let mut excess = None;
    let status = loop {
        let pause = watch.as_ref().map_or(IDLE, Watch::pause);
        listen(line, handle.as_ref().ok(), pause, &mut kill_at);
        if let Some(status) = reap(program) {
            break status;
        }
        excess = excess.or_else(|| watch.as_mut().and_then(Watch::look));
        if excess.is_some() || kill_at.is_some_and(|at| Instant::now() >= at) {
            let _ = sys::kill(-1, libc::SIGKILL);
        }
    };
    end(status, excess)
}

/// Waits for the program's end, an order, or `pause`.
fn listen(line: &OwnedFd, program: Option<&OwnedFd>, pause: Duration, kill_at: &mut Option<Instant>) {
    let mut watched = vec![PollFd::new(line, PollFlags::IN)];
    watched.extend(program.map(|program| PollFd::new(program, PollFlags::IN)));
    let pause = Timespec { tv_sec: pause.as_secs() as i64, tv_nsec: i64::from(pause.subsec_nanos()) };
    if poll(&mut watched, Some(&pause)).is_err() || watched[0].revents().is_empty() {
        return;
    }
    let grace = match letter::receive::<Order>(line) {
        Ok(Some((Order::Stop { grace }, _))) => grace,
        // Nobody is left to hear about the end.
        _ => Duration::ZERO,
    };
    let _ = sys::kill(-1, libc::SIGTERM);
    let _ = sys::kill(-1, libc::SIGCONT);
    *kill_at = Some(Instant::now() + grace);
}

/// Reaps whoever has ended; returns the program's status when it was among them.
fn reap(program: Pid) -> Option<i32> {
    let mut status = None;
    while let Ok(Some(ended)) = sys::wait4(-1, libc::WNOHANG) {
        if ended.pid == program.as_raw_nonzero().get() {
            status = Some(ended.status);
        }
    }
    status
}

fn end(status: i32, excess: Option<Excess>) -> News {
    let _ = sys::kill(-1, libc::SIGKILL);
    while sys::wait4(-1, 0).is_ok() {}
    let (cpu, max_rss) = sys::used_by_children();
    News::Ended { status, cpu, max_rss, excess }
}

/// Opens a terminal of the room and sends its outer side to kiln; returns the program's side.
pub(super) fn terminal(line: &OwnedFd) -> Result<OwnedFd> {
    use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
    let doing = || "open a terminal in the sandbox".to_owned();
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
    let outer = rustix::fs::open("/dev/pts/ptmx", flags, rustix::fs::Mode::empty()).doing(doing)?;
    unlockpt(&outer).doing(doing)?;
    let inner = ioctl_tiocgptpeer(&outer, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC);
    let inner = inner.doing(doing)?;
    letter::send(line, &News::Terminal, &[outer.as_fd()]).doing(doing)?;
    Ok(inner)
}
