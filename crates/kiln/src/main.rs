//! The one binary: reads the command line, asks the engine, shows what happens, ends with the right exit code.

#![forbid(unsafe_code)]

mod ask;
mod channel;
mod cli;
mod command;
mod doctor;
mod ending;
mod farm;
mod gather;
mod out;
mod render;
mod settings;
mod store;
mod tether;
mod text;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    kiln_sandbox::give_back();
    let cli = cli::Cli::parse();
    match command::run(cli.command) {
        Ok(code) => code,
        Err(failure) => failure.show(),
    }
}
