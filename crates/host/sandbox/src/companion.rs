//! A second process of this program that is not hit by what hits the build, and outlives it by as long as it needs.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::sys;

/// A process that runs this very program, in a process group of its own. Its standard input ends with whoever holds `to`,
/// however that ends; after [`enter`](crate::enter) the supervisor waits for it.
///
/// Started before `enter`, the supervisor would hold `to` as well, and its input would not end.
#[derive(Debug)]
pub struct Companion {
    pub to: ChildStdin,
    pub from: ChildStdout,
    pub process: Child,
}

impl Companion {
    /// Starts this program again under a name for `ps`; stderr stays the same.
    pub fn start(name: &str, arguments: &[String]) -> io::Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        command.arg0(name).args(arguments).process_group(0);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (to, from) = (process.stdin.take(), process.stdout.take());
        match (to, from) {
            (Some(to), Some(from)) => Ok(Self { to, from, process }),
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

/// Makes this process, a companion, deaf to wishes to stop: it ends when its work does.
pub fn stay() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
        sys::dispose(signal, true);
    }
}
