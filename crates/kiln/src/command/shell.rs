//! `kiln shell`.

use std::ffi::OsString;
use std::process::ExitCode;

use kiln_engine::{Kiln, ShellTarget};

use crate::command::Outcome;
use crate::command::recipe::Recipe;
use crate::render::Display;
use crate::settings::{self, Flags};

/// Opens a shell in a recipe's finished tree, or in the tree that a failed build kept.
///
/// What changes in a recipe's tree is thrown away afterwards; a failed tree stays as it is left. Layers in the cache never change.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    recipe: Recipe,
    /// The tree as `kiln build --keep-failed` left it
    #[arg(long)]
    failed: bool,
    /// Command to run in place of a shell
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    #[command(flatten)]
    flags: Flags,
}

pub fn run(args: Args) -> Outcome {
    let config = args.flags.config()?;
    let loaded = if args.failed { None } else { Some(args.recipe.load(&config)?) };
    let sandbox = settings::enter()?;
    let kiln = Kiln::open(config)?.with_sandbox(Some(sandbox));
    let target = loaded.as_ref().map_or(ShellTarget::Failed, ShellTarget::Recipe);
    let code = kiln.shell(target, &args.command, &Display::default().events(None)?)?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}
