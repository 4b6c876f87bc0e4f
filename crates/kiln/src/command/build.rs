//! `kiln build`.

use std::io::{self, BufRead};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use kiln_engine::config::Config;
use kiln_engine::events::Events;
use kiln_engine::{BuildOptions, Kiln, Loaded, Secrets};
use kiln_model::fault::OrFault as _;
use kiln_model::{Artifact, EventKind, Fault, Report};
use kiln_sandbox::Sandbox;

use crate::channel::{self, Channel};
use crate::command::Outcome;
use crate::command::recipe::Recipe;
use crate::ending::{Failure, answered};
use crate::render::Display;
use crate::settings::{self, Flags};
use crate::{out, tether, text};

/// Builds a recipe's image.
///
/// Stdout gets the paths of the artifacts when it is no terminal.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    recipe: Recipe,
    /// Folder for the artifacts, the log and the report
    #[arg(long, short, value_name = "DIR", default_value = "out")]
    out: PathBuf,
    /// Keep the tree of a stage that fails, for `kiln shell --failed`
    #[arg(long)]
    keep_failed: bool,
    /// Do not boot the image, whatever the recipe says
    #[arg(long)]
    no_verify: bool,
    /// Make the lock anew first, with the packages of today
    #[arg(long)]
    update: bool,
    /// Run every stage, also those whose result is in the cache
    #[arg(long)]
    force: bool,
    /// Also write NAME.contents.json.zst: every file of the image, which `kiln diff` takes in the image's place
    #[arg(long)]
    contents: bool,
    /// Stop when standard input ends, as if told to by SIGTERM; for whoever starts kiln and may die
    #[arg(long, hide = true)]
    tether: bool,
    /// The values of secrets come first on standard input, a line of JSON; the environment has none then
    #[arg(long, hide = true)]
    secrets: bool,
    /// Socket of a farm's node, which knows stages that other machines made
    #[arg(long, value_name = "SOCKET", hide = true)]
    stages: Option<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    display: Display,
    #[command(flatten)]
    flags: Flags,
    #[command(flatten)]
    channel: channel::Wanted,
}

pub fn run(args: Args) -> Outcome {
    answered(args.json, work(args))
}

fn work(args: Args) -> Outcome {
    args.display.beside(args.json)?;
    let config = Config { stages: args.stages.clone(), ..args.flags.config()? };
    let mut loaded = args.recipe.load(&config).map_err(|failure| refused(&args, failure))?;
    let sandbox = settings::enter().map_err(|fault| refused(&args, fault.into()))?;
    if args.secrets {
        loaded.secrets = secrets(io::stdin().lock()).map_err(|fault| refused(&args, fault.into()))?;
    }
    if args.tether {
        tether::hang();
    }
    let events = args.display.events(Some(&args.out))?;
    let channel = args.channel.open()?;
    channel.iter().for_each(|channel| channel.join(&events));
    let built = build(&args, config, &loaded, sandbox, &events);
    drop(events);
    channel.into_iter().for_each(Channel::say_goodbye);
    let report = built?;
    out::talk(&summary(&report, &args.out));
    if args.json {
        out::json(&report)?;
    } else if !args.display.takes_stdout() && !out::read_by_people() {
        out::data(&report.artifacts.iter().map(|artifact| path(artifact, &args.out) + "\n").collect::<String>())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads the line that whoever started this kiln says first.
fn secrets(mut from: impl BufRead) -> Result<Secrets, Fault> {
    let mut line = String::new();
    from.read_line(&mut line).farm(|| "read secrets from standard input".into())?;
    // What is wrong with it is not said: that would show some of it.
    serde_json::from_str(&line)
        .map(Secrets::known)
        .map_err(|_| Fault::farm("read secrets from standard input: it is no JSON"))
}

fn build(
    args: &Args,
    config: Config,
    loaded: &Loaded,
    sandbox: Arc<dyn Sandbox>,
    events: &Events,
) -> Result<Report, Fault> {
    let kiln = Kiln::open(config).inspect_err(|fault| events.tell(EventKind::failed(None, fault)))?;
    kiln.with_sandbox(Some(sandbox)).build(loaded, &options(args), events)
}

/// Tells programs of a failure before the build began, those that listen to the channel too.
fn refused(args: &Args, failure: Failure) -> Failure {
    if let (Some(event), Ok(Some(channel))) = (failure.event(), args.channel.open()) {
        let events = Events::new(vec![]);
        channel.join(&events);
        events.tell(event);
        channel.say_goodbye();
    }
    args.display.refused(failure)
}

fn options(args: &Args) -> BuildOptions {
    BuildOptions {
        out: args.out.clone(),
        keep_failed: args.keep_failed,
        no_verify: args.no_verify,
        update: args.update,
        force: args.force,
        contents: args.contents,
    }
}

/// Returns what a build ends with: artifacts with size and digest, the time, and how to boot it.
fn summary(report: &Report, out: &Path) -> String {
    let mut text = "\n".to_owned();
    for artifact in &report.artifacts {
        let size = text::bytes(artifact.size);
        text += &format!("{}  {size}\n  sha256 {}\n", path(artifact, out), artifact.sha256);
    }
    let cached = report.stages.iter().filter(|stage| stage.cached).count();
    text += &format!("built in {}, {cached} of {} stages from cache\n", text::time(report.millis), report.stages.len());
    if let Some(disk) = report.artifacts.iter().find(|artifact| starts(artifact)).filter(|_| has_board(report)) {
        text += &format!("boot it: {} boot {}\n", out::program(), path(disk, out));
    }
    text
}

/// Whether an artifact is a disk as QEMU takes it, not packed.
fn starts(artifact: &Artifact) -> bool {
    ["raw", "qcow2"].iter().any(|format| artifact.format == *format && artifact.name.ends_with(&format!(".{format}")))
}

fn has_board(report: &Report) -> bool {
    report.spec["base"]["board"].is_object()
}

fn path(artifact: &Artifact, out: &Path) -> String {
    out.join(&artifact.name).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_come_in_one_line() {
        let mut said = "{\"PSK\":\"a\\nb\"}\nrest".as_bytes();
        assert_eq!(secrets(&mut said).unwrap().get("PSK").unwrap(), "a\nb");
        assert_eq!(said, b"rest");
        let fault = secrets("{\"PSK\":horse}\n".as_bytes()).unwrap_err();
        assert!(!fault.chain().contains("horse"), "{}", fault.chain());
    }
}
