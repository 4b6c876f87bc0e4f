//! `kiln completions`.

use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::command::Outcome;
use crate::out;

/// Prints a completion script for a shell.
///
/// For bash: kiln completions bash > ~/.local/share/bash-completion/completions/kiln
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    #[arg(value_parser = clap::value_parser!(Shell))]
    shell: Shell,
}

pub fn run(args: Args) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "kiln", &mut script);
    out::data(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
