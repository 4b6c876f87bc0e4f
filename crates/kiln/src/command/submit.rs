//! `kiln submit`.

mod fetch;
mod follow;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use kiln_engine::{Loaded, bundle};
use kiln_farm_api::task::Failure as Ended;
use kiln_farm_api::{Build, BuildId, BuildState, Client, Error, Name, Order, Submission, Variable, Work};
use kiln_farm_server::secrets::variables;
use kiln_model::fault::OrFault as _;
use kiln_model::{Digest, Fault, FaultKind};
use tempfile::NamedTempFile;
use tokio::time::sleep;
use url::Url;
use uuid::Uuid;

use crate::command::Outcome;
use crate::command::recipe::Recipe;
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
    let loaded = args.recipe.load(&args.flags.config()?).map_err(|failure| args.display.refused(failure))?;
    let packed = pack(&loaded).map_err(|fault| args.display.refused(fault.into()))?;
    farm::runtime()?.block_on(submit(&args, &client, &loaded, packed))
}

/// A recipe's bundle on disk.
struct Packed {
    file: NamedTempFile,
    digest: Digest,
    /// The recipe's path in it.
    recipe: String,
    /// The secrets of the project that it uses.
    secrets: BTreeSet<Variable>,
}

fn pack(loaded: &Loaded) -> Result<Packed, Fault> {
    let secrets = variables(&loaded.completed.spec).map_err(|error| farm::recipe("submit the recipe", error))?;
    let mut file = NamedTempFile::new().farm(|| "make a file for the bundle".into())?;
    let recipe = bundle::write(loaded, &mut file)?;
    let digest = fetch::digest(file.path()).farm(|| "read the bundle".into())?;
    Ok(Packed { file, digest, recipe, secrets })
}

async fn submit(args: &Args, client: &Client, loaded: &Loaded, packed: Packed) -> Outcome {
    let refused = |error: Error| farm::fault("submit the recipe", error);
    farm::again(|| client.upload(packed.digest, packed.file.path())).await.map_err(refused)?;
    let submission = submission(args, loaded, &packed)?;
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
        outcome = wait(args, client, build.id) => outcome,
        () = told => Ok(left(client.server(), build.id, &address)),
    }
}

fn submission(args: &Args, loaded: &Loaded, packed: &Packed) -> Result<Submission, Failure> {
    let choices = args.recipe.said.choices()?;
    let work = Work::Image {
        bundle: packed.digest,
        recipe: packed.recipe.clone(),
        profiles: choices.profiles,
        set: choices.overrides,
        epoch: choices.epoch,
        no_verify: args.no_verify,
        update: false,
        secrets: packed.secrets.clone(),
    };
    let spec = &loaded.completed.spec;
    let (arch, channel) = (Some(spec.base.architecture), args.channel.clone());
    let capabilities = args.capabilities.iter().map(Name::to_string).collect();
    let Args { timeout, attempts, .. } = *args;
    let image = Order { arch, capabilities, attempts, timeout, channel, ..Order::image(work) };
    let once = Some(Uuid::now_v7().to_string());
    let (project, name) = (args.project.clone(), spec.name.clone());
    Ok(Submission { project, name, priority: args.priority, tasks: vec![image], once })
}

/// Says what becomes of a build that nobody waits for any more.
fn left(server: &Url, id: BuildId, address: &str) -> ExitCode {
    let program = out::program();
    out::talk(&format!("the build goes on: {address}\ncancel it: {program} cancel {id} --server {server}\n"));
    ExitCode::from(FaultKind::Interrupted.exit_code())
}

/// Shows a build to its end and brings home what it made.
async fn wait(args: &Args, client: &Client, id: BuildId) -> Outcome {
    follow::follow(client, id, &args.display).await?;
    let build = ended(client, id).await?;
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

/// Returns why a build failed: as its first failed task says.
fn failure(build: &Build) -> Fault {
    let Some(Ended { fault, message, hint }) = build.tasks.iter().find_map(|task| task.failure.as_ref()) else {
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
