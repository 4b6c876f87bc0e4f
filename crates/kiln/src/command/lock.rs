//! `kiln lock`.

use std::path::PathBuf;
use std::process::ExitCode;

use kiln_engine::{Kiln, Update};
use kiln_model::EventKind;

use crate::command::Outcome;
use crate::command::recipe::Recipe;
use crate::ending::answered;
use crate::render::Display;
use crate::settings::Flags;
use crate::{out, text};

/// Pins every package of a recipe by version and digest, in a file beside it.
///
/// A lock that is there already is kept as far as the recipe allows.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    recipe: Recipe,
    /// Take the newest versions: of the named packages, or of all
    #[arg(long, value_name = "PACKAGE", num_args = 0..)]
    update: Option<Vec<String>>,
    /// Download what is pinned, too, and what else a build on this machine takes, as an emulator for another architecture: the image
    /// can then be built with `--offline`
    #[arg(long)]
    fetch: bool,
    /// Print the lock as JSON
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
    let args = untangled(args);
    args.display.beside(args.json)?;
    let config = args.flags.config()?;
    let loaded = args.recipe.load(&config).map_err(|failure| args.display.refused(failure))?;
    let events = args.display.events(None)?;
    let locked = Kiln::open(config).and_then(|kiln| {
        let lock = kiln.lock(&loaded, &update(args.update), &events)?;
        let fetched = args.fetch.then(|| kiln.fetch(&loaded, &lock, &events)).transpose()?;
        Ok((lock, fetched))
    });
    let (lock, fetched) = locked.inspect_err(|fault| events.tell(EventKind::failed(None, fault)))?;
    drop(events);
    let pinned = text::count(lock.packages.len() as u64, "package");
    let here = fetched.map(|bytes| format!("; they and what builds them are in the cache, {}", text::bytes(bytes)));
    out::talk(&format!("{}: {pinned} pinned{}\n", loaded.lock_path.display(), here.unwrap_or_default()));
    if args.json {
        out::json(&lock)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn update(packages: Option<Vec<String>>) -> Update {
    match packages {
        None => Update::Keep,
        Some(packages) if packages.is_empty() => Update::All,
        Some(packages) => Update::Only(packages),
    }
}

/// Understands `kiln lock --update image.toml`, where the recipe looks like a package to the parser.
fn untangled(mut args: Args) -> Args {
    if let Some(packages) = &mut args.update
        && packages.last().is_some_and(|last| last.ends_with(".toml"))
    {
        args.recipe.path = packages.pop().map(PathBuf::from).unwrap_or_default();
    }
    args
}
