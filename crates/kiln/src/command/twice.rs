//! `kiln twice`.

use std::path::PathBuf;
use std::process::ExitCode;

use kiln_engine::{BuildOptions, Kiln, TwiceOutcome};
use kiln_model::EventKind;

use crate::command::Outcome;
use crate::command::recipe::Recipe;
use crate::ending::answered;
use crate::out;
use crate::render::Display;
use crate::settings::{self, Flags};

/// Builds a recipe twice and compares every byte.
///
/// The second build starts from an emptied cache, under another path, umask, time and host name. Where the results
/// differ, the file is named and the exit code is 1.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    recipe: Recipe,
    /// Folder for the artifacts of the first build
    #[arg(long, short, value_name = "DIR", default_value = "out")]
    out: PathBuf,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    display: Display,
    #[command(flatten)]
    flags: Flags,
}

pub fn run(args: Args) -> Outcome {
    answered(args.json, work(args))
}

fn work(args: Args) -> Outcome {
    args.display.beside(args.json)?;
    let config = args.flags.config()?;
    let loaded = args.recipe.load(&config).map_err(|failure| args.display.refused(failure))?;
    let sandbox = settings::enter().map_err(|fault| args.display.refused(fault.into()))?;
    let events = args.display.events(None)?;
    let options = BuildOptions { out: args.out, ..BuildOptions::default() };
    let kiln = Kiln::open(config).inspect_err(|fault| events.tell(EventKind::failed(None, fault)))?;
    let outcome = kiln.with_sandbox(Some(sandbox)).twice(&loaded, &options, &events)?;
    drop(events);
    if args.json {
        out::json(&outcome)?;
    }
    out::talk(&verdict(&outcome));
    Ok(if outcome.same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Returns what was compared, file by file, and what differs first.
fn verdict(outcome: &TwiceOutcome) -> String {
    let mut text = "\n".to_owned();
    for file in &outcome.files {
        let same = file.second == Some(file.first);
        text += &format!("{} {}  sha256 {}\n", if same { "same" } else { "differs" }, file.name, file.first);
    }
    match &outcome.difference {
        Some(difference) => text + &format!("error: the builds differ: {difference}\n"),
        None => text + "both builds have the same bytes\n",
    }
}
