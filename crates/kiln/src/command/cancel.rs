//! `kiln cancel`.

use std::process::ExitCode;

use kiln_farm_api::BuildId;

use crate::command::Outcome;
use crate::farm::{self, Login};

/// Cancels a build of a build service.
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
    let cancelled = farm::runtime()?.block_on(client.cancel(args.build));
    let build = cancelled.map_err(|error| farm::fault("cancel the build", error))?;
    farm::say_state(&build);
    Ok(ExitCode::SUCCESS)
}
