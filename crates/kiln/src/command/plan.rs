//! `kiln plan`.

use std::process::ExitCode;

use kiln_engine::Kiln;
use kiln_model::Plan;

use crate::command::Outcome;
use crate::command::recipe::Recipe;
use crate::ending::{Failure, answered};
use crate::out;
use crate::render::Display;
use crate::settings::Flags;

/// Prints every stage, action, digest and input of a build, without building. Without a lock it plans with the one that a build
/// would make, and writes none.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    recipe: Recipe,
    /// Print the plan as JSON
    #[arg(long)]
    json: bool,
    /// Print only the stages of this name
    #[arg(long, value_name = "NAME")]
    stage: Option<String>,
    #[command(flatten)]
    flags: Flags,
}

pub fn run(args: Args) -> Outcome {
    answered(args.json, work(args))
}

fn work(args: Args) -> Outcome {
    let config = args.flags.config()?;
    let loaded = args.recipe.load(&config)?;
    let kiln = Kiln::open_as_it_is(config)?;
    let lock = kiln.would_lock(&loaded, &Display::default().events(None)?)?;
    let plan = kiln.plan(&loaded, &lock)?;
    // A store that is only for this command goes now: a reader who goes away ends kiln at once.
    drop(kiln);
    let plan = match &args.stage {
        Some(stage) => only(plan, stage)?,
        None => plan,
    };
    if args.json {
        out::json(&plan)?
    } else {
        out::data(&kiln_plan::print::text(&plan))?
    }
    Ok(ExitCode::SUCCESS)
}

/// Leaves the stages called `name`.
fn only(mut plan: Plan, name: &str) -> Result<Plan, Failure> {
    let known: Vec<&str> = plan.pipelines.iter().flat_map(|line| &line.stages).map(|stage| stage.kind.name()).collect();
    if !known.contains(&name) {
        return Err(Failure::usage(format!("the plan has no stage `{name}`; it has {}", known.join(", "))));
    }
    plan.pipelines.iter_mut().for_each(|pipeline| pipeline.stages.retain(|stage| stage.kind.name() == name));
    plan.pipelines.retain(|pipeline| !pipeline.stages.is_empty());
    Ok(plan)
}
