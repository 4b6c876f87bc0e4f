//! `kiln retry`.

use std::process::ExitCode;

use kiln_farm_api::BuildId;

use crate::command::Outcome;
use crate::farm::{self, Login};

/// Lets what did not end well of a build run again: what failed, was parked, cancelled or skipped.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The build: its id or its address
    #[arg(value_name = "BUILD", value_parser = farm::build_id)]
    build: BuildId,
    #[command(flatten)]
    login: Login,
}

pub fn run(args: Args) -> Outcome {
    let client = args.login.client()?;
    let again = farm::runtime()?.block_on(client.retry(args.build));
    let build = again.map_err(|error| farm::fault("run the build again", error))?;
    farm::say_state(&build);
    Ok(ExitCode::SUCCESS)
}
