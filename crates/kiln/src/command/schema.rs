//! `kiln schema`.

use std::process::ExitCode;

use crate::command::Outcome;
use crate::out;

/// Prints the JSON Schema of recipes, for editors.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn run(_: Args) -> Outcome {
    out::json(&kiln_recipe::schema())?;
    Ok(ExitCode::SUCCESS)
}
