//! `kiln bsc`.

use std::process::ExitCode;

use kiln_adapter_pieman::bsc;

use crate::command::Outcome;
use crate::command::bscd::Place;
use crate::out;

/// Sends a build status code to `kiln bscd`, as Pieman's bsc.py does.
///
/// Ends with 1 when nobody listens, with 0 otherwise, whatever the request says.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    /// Accepted, and of no effect
    #[arg(long, short = 'H', value_name = "HOST")]
    redis_host: Option<String>,
    /// Accepted, and of no effect
    #[arg(long, short = 'P', value_name = "PORT")]
    redis_port: Option<u16>,
    /// A code (10 … 82, 1000, 1001), or EXIT
    request: String,
}

pub fn run(args: Args) -> Outcome {
    match bsc::send(&args.place.socket, &args.request) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            out::talk(&format!("{error}\n"));
            Ok(ExitCode::FAILURE)
        }
    }
}
