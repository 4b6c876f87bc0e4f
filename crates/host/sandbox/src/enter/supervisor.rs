//! The process that stays outside: it passes signals on, stops when the worker stops, and ends as the worker ends.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::sys;

/// What the supervisor takes for itself, from before the worker exists.
pub(super) const WATCHED: [libc::c_int; 9] = [
    libc::SIGCHLD,
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGWINCH,
    libc::SIGCONT,
];

/// A second wish to stop that comes this long after the first is meant: the worker is killed, the janitor cleans up.
const PATIENCE: Duration = Duration::from_millis(500);

/// Accompanies the worker to its end and ends likewise.
pub(super) fn supervise(worker: Pid) -> ! {
    let terminal = tcgetattr(rustix::stdio::stdin()).ok();
    let set = sys::signals(&WATCHED);
    let mut asked: Option<Instant> = None;
    loop {
        match sys::wait_signal(&set) {
            Ok(libc::SIGCHLD) => {
                if let Some(status) = news(worker) {
                    leave(status, terminal);
                }
            }
            Ok(signal) => pass_on(worker, signal, &mut asked),
            Err(_) => {}
        }
    }
}

/// The terminal may have told the worker already, being in the same process group; a wish heard twice is the same wish.
fn pass_on(worker: Pid, signal: libc::c_int, asked: &mut Option<Instant>) {
    let target = worker.as_raw_nonzero().get();
    let _ = sys::kill(target, signal);
    if matches!(signal, libc::SIGINT | libc::SIGTERM | libc::SIGQUIT | libc::SIGHUP) {
        if asked.is_some_and(|first| first.elapsed() > PATIENCE) {
            let _ = sys::kill(target, libc::SIGKILL);
        }
        asked.get_or_insert_with(Instant::now);
    }
}

/// Reaps; returns the worker's wait status when it ended. Stops with a worker that was stopped.
fn news(worker: Pid) -> Option<i32> {
    let mut end = None;
    while let Ok(Some(ended)) = sys::wait4(-1, libc::WNOHANG | libc::WUNTRACED) {
        if ended.pid != worker.as_raw_nonzero().get() {
            continue;
        }
        if libc::WIFSTOPPED(ended.status) {
            stop_too(worker);
        } else {
            end = Some(ended.status);
        }
    }
    end
}

/// Stops as the worker did, unless somebody has already told us to go on.
fn stop_too(worker: Pid) {
    if sys::take_pending(&sys::signals(&[libc::SIGCONT])) {
        let _ = sys::kill(worker.as_raw_nonzero().get(), libc::SIGCONT);
    } else {
        let _ = sys::kill(std::process::id() as i32, libc::SIGSTOP);
    }
}

/// Ends as the worker ended, once the janitor (a child too, the worker being gone) has finished.
fn leave(status: i32, terminal: Option<Termios>) -> ! {
    while sys::wait4(-1, 0).is_ok() {}
    if !libc::WIFSIGNALED(status) {
        sys::exit_now(libc::WEXITSTATUS(status));
    }
    if let Some(terminal) = terminal {
        // A worker that was killed may have left the terminal raw; setting it must not stop us in the background.
        sys::dispose(libc::SIGTTOU, true);
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &terminal);
    }
    let signal = libc::WTERMSIG(status);
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(Resource::Core, none);
    sys::dispose(signal, false);
    sys::unblock_all();
    let _ = sys::kill(std::process::id() as i32, signal);
    sys::exit_now(128 + signal)
}
