//! The way in: a user namespace in which kiln is root, and a thin supervisor outside of it.

use crate::{Error, Result};

/// How to enter.
#[derive(Clone, Debug, Default)]
pub struct Enter {}

/// Ids that exist inside: `count` ids from `inside` on are `outside` and on for the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    pub inside: u32,
    pub outside: u32,
    pub count: u32,
}

/// Proof that this process is root of its own user namespace, with a mount namespace of its own.
#[derive(Clone, Debug)]
pub struct Entered {
    pub uids: Vec<IdRange>,
    pub gids: Vec<IdRange>,
}

/// Enters the sandbox world; must be the first thing `main` does, while the process has one thread.
///
/// Returns in a child process that is root of a new user namespace and has a private mount namespace. The calling
/// process stays outside as a supervisor: it passes signals on and ends as the child ends, and never returns from here.
pub fn enter(_options: &Enter) -> Result<Entered> {
    Err(Error::Refused { what: "enter the sandbox: not there yet".into(), mend: None, source: None })
}
