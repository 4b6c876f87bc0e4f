//! The sandbox of namespaces: kiln asks, the janitor clones, the first process inside builds the room and watches.

mod disk;
mod first;
mod foreign;
mod group;
mod payload;
mod points;
mod proc;
mod room;
mod run;
mod start;
mod terminal;
mod watch;

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::registrar::Registrar;
use crate::{Command, Entered, Error, Exit, Result, Sandbox, Stream, sys};

pub(crate) use foreign::{is_before_6_7, is_possible, line};
pub(crate) use group::{Group, is_delegated};
pub(crate) use room::make;
pub(crate) use start::{Started, start};

/// Runs commands in user, mount, pid, ipc, uts, net and cgroup namespaces of their own.
#[derive(Clone, Debug)]
pub struct Namespaces {
    _entered: (),
}

impl Namespaces {
    pub fn new(_entered: &Entered) -> Self {
        Self { _entered: () }
    }
}

/// What this machine runs besides programs of its own architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Whether [`Command::emulators`] have an effect; else what is registered on the host holds.
    pub emulators: bool,
    /// Whether they hold for the whole machine meanwhile, rather than for the sandbox alone.
    pub on_host: bool,
    /// Whether programs of 32 bits run on a machine of 64 (`personality(2)`).
    pub narrow: bool,
}

impl Sandbox for Namespaces {
    fn run(&self, command: &Command, output: &mut dyn FnMut(Stream, &[u8])) -> Result<Exit> {
        run::run(command, output)
    }

    fn foreign(&self) -> Foreign {
        let on_host = Registrar::get().is_some();
        Foreign { emulators: on_host || is_possible(), on_host, narrow: sys::runs_32_bits() }
    }
}

/// What the inside needs to know; handed over in a memory file, so that its length does not matter.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    command: Command,
    /// Whether the program gets a terminal of its own (the caller has one) rather than the streams as they are.
    terminal: bool,
}

/// What a sandbox tells kiln on its line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum News {
    /// From the janitor: it exists; with a descriptor of its first process.
    Born,
    /// From whoever failed before the program ran.
    Failed { what: Failure, doing: String, errno: i32 },
    /// From the first process: the outer side of the program's terminal.
    Terminal,
    /// From the first process: the program has ended and everything else inside is dead.
    Ended { status: i32, cpu: Duration, max_rss: u64, excess: Option<Excess> },
    /// From the janitor: the first process was reaped, nothing is left.
    Gone { status: i32, cpu: Duration, max_rss: u64, excess: Option<Excess> },
}

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Failure {
    Sandbox,
    /// The program could not be executed.
    Program,
}

/// A limit that was exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Excess {
    Memory,
    Processes,
}

/// What kiln tells the first process of a sandbox.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Ask everyone to end, kill after `grace`.
    Stop { grace: Duration },
}

impl News {
    pub(crate) fn failed(error: &Error) -> Self {
        let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
        let errno = source.and_then(io::Error::raw_os_error).unwrap_or(0);
        let what = if matches!(error, Error::Program { .. }) { Failure::Program } else { Failure::Sandbox };
        Self::Failed { what, doing: error.to_string(), errno }
    }
}
