//! `kiln submit`.

mod fetch;
mod follow;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use kiln_engine::config::Config;
use kiln_engine::load::{Choices, Promised};
use kiln_engine::{Loaded, bundle};
use kiln_farm_api::task::Failure as Ended;
use kiln_farm_api::{Build, BuildId, BuildState, Client, Error, Given, Name, Order, Submission, Task, TaskState, Work};
use kiln_farm_server::decide::settle::mistake;
use kiln_farm_server::recipes;
use kiln_model::fault::OrFault as _;
use kiln_model::{Digest, Fault, FaultKind};
use tempfile::NamedTempFile;
use tokio::time::sleep;
use url::Url;
use uuid::Uuid;

use crate::command::Outcome;
use crate::command::recipe::{Recipe, read};
use crate::ending::{Failure, answered};
use crate::farm::{self, Login};
use crate::render::Display;
use crate::settings::Flags;
use crate::{out, text};

/// Lets a build service build a recipe.
///
/// The recipe is checked here first; it goes there with all the files it names. Stdout gets the build's address, with `--wait`
/// the paths of the artifacts.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    recipe: Recipe,
    /// Build another recipe first, as the task NAME of the same build; what it makes lies in a folder NAME beside the recipes that name
    /// files of it; for several, say it again. Profiles and settings are for RECIPE alone, all other options hold for each task
    #[arg(long, value_name = "NAME=RECIPE", value_parser = need)]
    needs: Vec<(Name, PathBuf)>,
    /// The project to build it for
    #[arg(long, short, value_name = "PROJECT", default_value = "default")]
    project: Name,
    #[command(flatten)]
    login: Login,
    /// Higher goes first; more than 0 is for owners of the project
    #[arg(long, value_name = "N", default_value_t = 0, allow_hyphen_values = true)]
    priority: i32,
    /// Do not boot the image, whatever the recipe says
    #[arg(long)]
    no_verify: bool,
    /// How long the build may run before it is stopped: `90m`, `6h`; the server has a limit of its own
    #[arg(long, value_name = "TIME", value_parser = text::parse_seconds)]
    timeout: Option<u64>,
    /// Build only where a node has this capability: `kvm`, or what a node was given by `--capability`; for several, say it again
    #[arg(long = "capability", value_name = "WORD")]
    capabilities: Vec<Name>,
    /// How often it may begin where nodes are lost over it or the farm is at fault, before it is given up [default: the server's, 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    attempts: Option<u32>,
    /// Tell the server's Redis of the build under this name: Pieman's codes in `bscd-NAME`, `kiln watch NAME`
    #[arg(long, value_name = "NAME")]
    channel: Option<String>,
    /// Show the build as it goes, then download what it made
    #[arg(long, short)]
    wait: bool,
    /// Folder for the artifacts
    #[arg(long, short, value_name = "DIR", default_value = "out", requires = "wait")]
    out: PathBuf,
    /// Print the build as JSON
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

fn work(mut args: Args) -> Outcome {
    args.display.beside(args.json)?;
    let client = args.login.client()?;
    args.recipe.path = farm::relative(&args.recipe.path)?;
    let parts = parts(&args, &args.flags.config()?).map_err(|failure| args.display.refused(failure))?;
    farm::runtime()?.block_on(submit(&args, &client, &parts))
}

/// A recipe that becomes a task.
struct Part {
    loaded: Loaded,
    /// Its bundle.
    file: NamedTempFile,
    digest: Digest,
    order: Order,
}

/// Reads the recipe and those it needs, and packs them; the recipe itself is the last.
fn parts(args: &Args, config: &Config) -> Result<Vec<Part>, Failure> {
    let (image, promised) = ("image".parse::<Name>().expect("it is a name"), names(args)?);
    let mut parts = vec![];
    for (task, path) in &args.needs {
        let Choices { epoch, within, .. } = args.recipe.said.choices()?;
        let choices = Choices { epoch, within, promised: promised.clone(), ..Choices::default() };
        parts.push(part(args, task.clone(), read(config, &farm::relative(path)?, &choices)?, choices)?);
    }
    let choices = Choices { promised, ..args.recipe.said.choices()? };
    let mut last = part(args, image, read(config, &args.recipe.path, &choices)?, choices)?;
    last.order.channel.clone_from(&args.channel);
    parts.push(last);
    taken(args, &parts)?;
    Ok(parts)
}

/// Returns the names of the tasks that come first.
fn names(args: &Args) -> Result<Vec<String>, Failure> {
    let names: Vec<String> = args.needs.iter().map(|(name, _)| name.to_string()).collect();
    let twice = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name) || *name == "image");
    match twice {
        Some((_, name)) if name == "image" => {
            Err(Failure::usage("`--needs`: `image` is what the task of the recipe itself is called"))
        }
        Some((_, name)) => Err(Failure::usage(format!("`--needs` says `{name}` twice"))),
        None => Ok(names),
    }
}

fn part(args: &Args, task: Name, loaded: Loaded, choices: Choices) -> Result<Part, Failure> {
    let spec = &loaded.completed.spec;
    let secrets = recipes::fit(spec).map_err(|error| farm::recipe("submit the recipe", error))?;
    let mut file = NamedTempFile::new().farm(|| "make a file for the bundle".into())?;
    let recipe = bundle::write(&loaded, &mut file)?;
    let bundle = fetch::digest(file.path()).farm(|| "read the bundle".into())?;
    let folder = Path::new(&recipe).parent().unwrap_or(Path::new(""));
    let given: Vec<Given> = loaded.promised.iter().map(|file| given(file, folder)).collect::<Result<_, _>>()?;
    let needs: BTreeSet<Name> = given.iter().map(|given| given.task.clone()).collect();
    let Choices { profiles, overrides: set, epoch, .. } = choices;
    let no_verify = args.no_verify;
    let work = Work::Image { bundle, recipe, profiles, set, epoch, no_verify, update: false, secrets, given };
    let capabilities = args.capabilities.iter().map(Name::to_string).collect();
    let (arch, &Args { timeout, attempts, .. }) = (Some(spec.base.architecture), args);
    let needs = needs.into_iter().collect();
    let order = Order { arch, capabilities, attempts, timeout, needs, ..Order::new(task, work) };
    Ok(Part { loaded, file, digest: bundle, order })
}

/// Returns how a file is asked for that another task makes.
fn given(Promised { folder: task, file }: &Promised, beside: &Path) -> Result<Given, Fault> {
    let path = beside.join(task).join(file).display().to_string();
    let task = task.parse().farm(|| format!("ask for `{path}`"))?;
    Ok(Given { task, artifact: file.display().to_string(), path })
}

/// Refuses what nobody takes, what nobody makes, and recipes that wait for each other.
fn taken(args: &Args, parts: &[Part]) -> Result<(), Fault> {
    let given = || parts.iter().flat_map(|part| part.order.work.given());
    for (name, path) in &args.needs {
        if !given().any(|given| given.task == *name) {
            let fault = Fault::recipe(format!("nothing is taken of `{name}`, which `{}` makes", path.display()));
            return Err(fault.hint(format!("let the recipe name a file of it, as in files = [\"{name}/agent.deb\"]")));
        }
    }
    for Given { task, artifact, path } in given() {
        let outputs =
            parts.iter().filter(|part| part.order.name == *task).flat_map(|part| &part.loaded.completed.spec.outputs);
        let names: Vec<&str> = outputs.map(|output| output.file.as_str()).collect();
        if !names.contains(&artifact.as_str()) {
            let fault = Fault::recipe(format!("`{path}` is named, and `{task}` makes no file `{artifact}`"));
            let made = if names.is_empty() { "it makes none".into() } else { format!("it makes {}", names.join(", ")) };
            return Err(fault.hint(made));
        }
    }
    let tasks: Vec<_> = parts.iter().map(|part| (part.order.name.clone(), part.order.needs.clone())).collect();
    mistake(&tasks).map_or(Ok(()), |mistake| Err(Fault::recipe(mistake)))
}

fn need(text: &str) -> Result<(Name, PathBuf), String> {
    let (name, recipe) = text.split_once('=').ok_or_else(|| format!("`{text}` is not NAME=RECIPE"))?;
    Ok((name.parse::<Name>().map_err(|error| error.to_string())?, recipe.into()))
}

async fn submit(args: &Args, client: &Client, parts: &[Part]) -> Outcome {
    let refused = |error: Error| farm::fault("submit the recipe", error);
    for part in parts {
        farm::again(|| client.upload(part.digest, part.file.path())).await.map_err(refused)?;
    }
    let submission = submission(args, parts);
    let build = farm::again(|| client.submit(&submission)).await.map_err(refused)?;
    let address = farm::address(client.server(), build.id);
    if !args.wait {
        if args.json {
            out::json(&build)?;
        } else {
            out::data(&format!("{address}\n"))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    out::talk(&format!("{address}\n"));
    let told = farm::told_to_end()?;
    tokio::select! {
        outcome = wait(args, client, &build) => outcome,
        () = told => Ok(left(client.server(), build.id, &address)),
    }
}

fn submission(args: &Args, parts: &[Part]) -> Submission {
    let name = parts.last().map(|part| part.loaded.completed.spec.name.clone()).unwrap_or_default();
    let tasks = parts.iter().map(|part| part.order.clone()).collect();
    let once = Some(Uuid::now_v7().to_string());
    Submission { project: args.project.clone(), name, priority: args.priority, tasks, once }
}

/// Says what becomes of a build that nobody waits for any more.
fn left(server: &Url, id: BuildId, address: &str) -> ExitCode {
    let program = out::program();
    out::talk(&format!("the build goes on: {address}\ncancel it: {program} cancel {id} --server {server}\n"));
    ExitCode::from(FaultKind::Interrupted.exit_code())
}

/// Shows a build to its end and brings home what it made.
async fn wait(args: &Args, client: &Client, build: &Build) -> Outcome {
    follow::follow(client, build, &args.display).await?;
    let build = ended(client, build.id).await?;
    let paths = fetch::all(client, &build, &args.out).await?;
    match build.state {
        BuildState::Done => {}
        BuildState::Cancelled => return Err(Fault::new(FaultKind::Interrupted, "the build was cancelled").into()),
        BuildState::Queued | BuildState::Running | BuildState::Failed => return Err(failure(&build).into()),
    }
    out::talk(&summary(&build, &args.out));
    if args.json {
        out::json(&build)?;
    } else if !args.display.takes_stdout() && !out::read_by_people() {
        out::data(&paths.iter().map(|path| format!("{}\n", path.display())).collect::<String>())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns a build once it has ended; its log may have, a moment earlier.
async fn ended(client: &Client, id: BuildId) -> Result<Build, Fault> {
    loop {
        let build = farm::again(|| client.build(id)).await.map_err(|error| farm::fault("look at the build", error))?;
        if build.state.is_final() {
            return Ok(build);
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// Returns why a build failed: as its first failed task says. One that was skipped only says which other one failed.
fn failure(build: &Build) -> Fault {
    let mut tasks: Vec<&Task> = build.tasks.iter().collect();
    tasks.sort_by_key(|task| task.state == TaskState::Skipped);
    let Some(Ended { fault, message, hint }) = tasks.into_iter().find_map(|task| task.failure.as_ref()) else {
        return Fault::farm("the build failed, and nobody says why");
    };
    let found = Fault::new(*fault, message);
    hint.iter().fold(found, |fault, hint| fault.hint(hint))
}

fn summary(build: &Build, out: &Path) -> String {
    let mut text = "\n".to_owned();
    for artifact in &build.artifacts {
        let path = fetch::folder(build, artifact, out).join(&artifact.name);
        text += &format!("{}  {}\n  sha256 {}\n", path.display(), text::bytes(artifact.size), artifact.sha256);
    }
    text
}
