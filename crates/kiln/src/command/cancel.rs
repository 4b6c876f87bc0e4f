//! `kiln cancel`.

use std::process::ExitCode;

use kiln_farm_api::BuildId;

use crate::command::Outcome;
use crate::farm::{self, Login};
use crate::out;

/// Cancels a build of a build service.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The build: its id or its address
    #[arg(value_name = "BUILD", value_parser = build)]
    build: BuildId,
    #[command(flatten)]
    login: Login,
}

pub fn run(args: Args) -> Outcome {
    let client = args.login.client()?;
    let cancelled = farm::runtime()?.block_on(client.cancel(args.build));
    let build = cancelled.map_err(|error| farm::fault("cancel the build", error))?;
    out::talk(&format!("build {} of `{}` is {}\n", build.id, build.name, build.state.name()));
    Ok(ExitCode::SUCCESS)
}

fn build(text: &str) -> Result<BuildId, String> {
    let id = text.trim_end_matches('/').rsplit('/').next().unwrap_or(text);
    id.parse().map_err(|_| format!("`{text}` is neither a build's id nor its address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_named_by_id_or_address() {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        for text in [id.to_owned(), format!("https://builds.example.org/builds/{id}"), format!("http://x/builds/{id}/")]
        {
            assert_eq!(build(&text).unwrap().to_string(), id);
        }
        assert!(build("https://builds.example.org/builds").is_err());
    }
}
