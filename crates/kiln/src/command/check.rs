//! `kiln check`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use kiln_engine::Kiln;
use kiln_engine::config::Config;
use kiln_engine::events::Events;
use kiln_engine::load::{Choices, draft};
use kiln_recipe::{Diagnostic, Rejected, Severity};

use crate::command::Outcome;
use crate::command::recipe::Said;
use crate::ending::Failure;
use crate::settings::Flags;
use crate::{out, text};

/// Tells everything that is wrong with recipes, without building them.
///
/// Package names are checked against the archive's index, which is fetched when it is not in the cache.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Recipes
    #[arg(value_name = "RECIPE", default_value = "kiln.toml")]
    recipes: Vec<PathBuf>,
    #[command(flatten)]
    said: Said,
    /// Print the diagnostics as a JSON array
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags,
}

pub fn run(args: Args) -> Outcome {
    let config = args.flags.config()?;
    let choices = args.said.choices()?;
    let found = args.recipes.iter().map(|recipe| mistakes(&config, recipe, &choices));
    let found = found.collect::<Result<Vec<_>, Failure>>()?;
    let all: Vec<&Diagnostic> = found.iter().flat_map(|rejected| &rejected.diagnostics).collect();
    let errors = all.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count();
    if args.json {
        out::json(&all)?;
    } else {
        found.iter().for_each(|rejected| out::talk(&rejected.render(out::look())));
        out::talk(&verdict(args.recipes.len(), errors, all.len() - errors));
    }
    Ok(if errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Returns all that can be said against a recipe, its packages' names among it where it is known what there is.
fn mistakes(config: &Config, recipe: &Path, choices: &Choices) -> Result<Rejected, Failure> {
    let draft = draft(config, recipe, choices)?;
    let (sound, mut diagnostics) = (draft.is_sound(), draft.diagnostics);
    if let Some(loaded) = &draft.loaded {
        let check = |kiln: Kiln| kiln.check(loaded, sound, &Events::new(Vec::new()));
        match Kiln::open_as_it_is(config.clone()).and_then(check) {
            Ok(found) => diagnostics.extend(found),
            Err(fault) if sound => return Err(fault.into()),
            // What is known to be wrong is worth telling also where no archive answers.
            Err(fault) => out::talk(&format!("the packages were not looked up: {}\n", fault.chain())),
        }
    }
    kiln_recipe::sort(&mut diagnostics, &draft.files);
    Ok(Rejected { diagnostics, files: draft.files })
}

fn verdict(recipes: usize, errors: usize, warnings: usize) -> String {
    let recipes = text::count(recipes as u64, "recipe");
    match (errors, warnings) {
        (0, 0) => format!("{recipes}: no mistakes\n"),
        (0, _) => format!("{recipes}: {}\n", text::count(warnings as u64, "warning")),
        _ => format!("{recipes}: {}\n", text::count(errors as u64, "mistake")),
    }
}
