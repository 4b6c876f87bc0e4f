//! One file per command; here only who is who.

pub mod cache;
pub mod completions;
pub mod reference;

use std::process::ExitCode;

use crate::cli::Command;
use crate::ending::Failure;

/// What a command comes to: its exit code, or why it failed.
pub type Outcome = Result<ExitCode, Failure>;

/// Runs a command.
pub fn run(command: Command) -> Outcome {
    match command {
        Command::Cache(args) => cache::run(args),
        Command::Completions(args) => completions::run(args),
        Command::Reference => reference::run(),
    }
}
