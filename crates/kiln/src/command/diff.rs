//! `kiln diff`.

use std::path::PathBuf;
use std::process::ExitCode;

use kiln_engine::diff::open;
use kiln_model::diff;

use crate::command::Outcome;
use crate::out;

/// Tells what differs between two artifacts: packages, files, sizes, modes, units, partitions.
///
/// The exit code is 1 when they differ.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// An image, an archive, a folder, a report.json or a contents.json
    #[arg(value_name = "A")]
    old: PathBuf,
    /// Another one
    #[arg(value_name = "B")]
    new: PathBuf,
    /// Show whole lists, and files that differ in nothing but their time
    #[arg(long)]
    all: bool,
    /// Print the differences as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Outcome {
    let found = diff::diff(&open(&args.old)?, &open(&args.new)?);
    if args.json {
        out::json(&found)?;
    } else {
        out::data(&diff::text::render(&found, args.all))?;
    }
    Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
