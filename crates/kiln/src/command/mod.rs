//! One file per command; here only who is who.

pub mod backup;
pub mod boot;
pub mod bsc;
pub mod bscd;
pub mod build;
pub mod cache;
pub mod cancel;
pub mod check;
pub mod completions;
pub mod diff;
pub mod doctor;
pub mod gc;
pub mod lock;
pub mod log;
pub mod new;
pub mod node;
pub mod pieman;
pub mod plan;
pub mod recipe;
pub mod reference;
pub mod relay;
pub mod restore;
pub mod retry;
pub mod schema;
pub mod secret;
pub mod serve;
pub mod shell;
pub mod submit;
pub mod twice;
pub mod watch;

use std::process::ExitCode;

use crate::cli::Command;
use crate::ending::Failure;

/// What a command comes to: its exit code, or why it failed.
pub type Outcome = Result<ExitCode, Failure>;

/// Runs a command.
pub fn run(command: Command) -> Outcome {
    match command {
        Command::New(args) => new::run(args),
        Command::Check(args) => check::run(args),
        Command::Plan(args) => plan::run(args),
        Command::Lock(args) => lock::run(args),
        Command::Build(args) => build::run(args),
        Command::Boot(args) => boot::run(args),
        Command::Shell(args) => shell::run(args),
        Command::Diff(args) => diff::run(args),
        Command::Twice(args) => twice::run(args),
        Command::Watch(args) => watch::run(args),
        Command::Bscd(args) => bscd::run(args),
        Command::Bsc(args) => bsc::run(args),
        Command::Cache(args) => cache::run(args),
        Command::Pieman(args) => pieman::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Schema(args) => schema::run(args),
        Command::Completions(args) => completions::run(args),
        Command::Serve(args) => serve::run(args),
        Command::Node(args) => node::run(args),
        Command::Submit(args) => submit::run(args),
        Command::Cancel(args) => cancel::run(args),
        Command::Log(args) => log::run(args),
        Command::Retry(args) => retry::run(args),
        Command::Gc(args) => gc::run(args),
        Command::Secret(args) => secret::run(args),
        Command::Backup(args) => backup::run(args),
        Command::Restore(args) => restore::run(args),
        Command::Openapi => reference::openapi(),
        Command::Relay => relay::run(),
        Command::Reference => reference::run(),
    }
}
