//! `kiln pieman`.

mod around;
mod status;
mod talk;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use kiln_engine::config::Config;
use kiln_engine::load::{self, Choices, Loaded};
use kiln_engine::{BuildOptions, Kiln};
use kiln_model::fault::OrFault as _;
use kiln_model::{EventKind, Fault};
use kiln_recipe::pieman::{self, Made, Order, Parameters, Place, Refused};

use self::status::Status;
use self::talk::{Level, say};
use crate::channel::Channel;
use crate::command::{Outcome, recipe};
use crate::ending::Failure;
use crate::render::Display;
use crate::settings::{self, Flags};
use crate::{out, text};

/// Builds by Pieman's parameters: those of the environment and of `./.env`.
///
/// Root is not needed. What a parameter becomes, and where kiln differs with a reason, is in docs/pieman.md. Exit codes are
/// Pieman's: 0, or 1 for whatever went wrong.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the recipe that the parameters come to, as kiln.toml, and build nothing
    #[arg(long)]
    print_recipe: bool,
    /// Print the devices and the systems for each as JSON, as Pieman's `get_devices()` gives them to user interfaces
    #[arg(long)]
    list_devices: bool,
    /// Let `secret` be a password where none is set, as Pieman does
    #[arg(long)]
    insecure_defaults: bool,
    /// Keep the package versions of the last build of this PROJECT_NAME
    #[arg(long)]
    locked: bool,
    /// Say what no parameter can, as in `--set network.wifi-country=DE`
    #[arg(long, value_name = "KEY=VALUE", value_parser = recipe::setting)]
    set: Vec<(String, String)>,
    /// Move the image there when it is done, as Pieman's container moves it to `/result`
    #[arg(long, value_name = "DIR")]
    move_to: Option<PathBuf>,
    /// Keep the tree of a stage that fails, for `kiln shell --failed`
    #[arg(long)]
    keep_failed: bool,
    #[command(flatten)]
    display: Display,
    #[command(flatten)]
    flags: Flags,
}

/// What a wish to stop ends with; all else is 1.
const INTERRUPTED: u8 = 130;

/// Why a build by parameters did not come to be.
enum Ending {
    Refused(Box<Refused>),
    Failure(Failure),
}

pub fn run(args: Args) -> Outcome {
    if args.list_devices {
        out::json(&pieman::devices())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut status = if args.print_recipe { Status::nobody() } else { Status::of_environment() };
    let ending = match work(&args, &mut status) {
        Ok(()) => return Ok(ExitCode::SUCCESS),
        Err(ending) => ending,
    };
    status.refuse(&ending);
    let (before, message) = match ending {
        // Pieman knows no exit code for misuse of its command.
        Ending::Failure(Failure::Usage(message)) => (String::new(), message),
        Ending::Refused(refused) => (refused.render(out::look()), refused.fatal),
        Ending::Failure(Failure::Rejected(rejected)) => {
            (rejected.render(out::look()), format!("cannot build: {rejected}"))
        }
        Ending::Failure(failure) => {
            let _ = failure.show();
            let code = failure.exit_code();
            return Ok(if code == INTERRUPTED { ExitCode::from(code) } else { ExitCode::FAILURE });
        }
    };
    say(Level::Fatal, &message);
    out::talk(&before);
    Ok(ExitCode::FAILURE)
}

/// Everything in Pieman's order; the first thing that is wrong ends it.
fn work(args: &Args, status: &mut Status) -> Result<(), Ending> {
    // From here on somebody may be told of it.
    kiln_sandbox::listen();
    let environment = around::environment()?;
    let dotenv = around::dotenv()?;
    let given = around::given(&environment, dotenv.as_deref())?;
    if !args.print_recipe {
        *status = Status::of_given(&given);
    }
    let interrupted = || status.take().refuse(&Ending::Failure(Fault::interrupted().into()));
    let declared = pieman::declare(&given, &mut talk::Person { interrupted: Some(Box::new(interrupted)) });
    let mut parameters = declared?;
    if !args.print_recipe {
        *status = Status::of(&parameters);
    }
    pieman::check(&parameters)?;
    let owner = around::owner(&parameters)?;
    let surroundings = around::surroundings(&parameters, environment, args.insecure_defaults)?;
    let order = pieman::order(&mut parameters, &surroundings)?;
    out::talk(&order.warnings.render(out::look()));
    if args.print_recipe {
        return Ok(out::data(&order.recipe.toml())?);
    }
    if parameters.is_on("PREPARE_ONLY_TOOLSET") {
        return toolset(args, order);
    }
    build(args, &parameters, order, owner, status)
}

/// Fills the cache with the tools that a build would take.
fn toolset(args: &Args, order: Order) -> Result<(), Ending> {
    let config = args.flags.config()?;
    let folder = tempfile::tempdir().farm(|| "make a temporary folder".into())?;
    let loaded = complete(args, &config, order, &folder.path().join("toolset"))?;
    let sandbox = settings::enter()?;
    let events = args.display.events(None)?;
    Kiln::open(config)?.with_sandbox(Some(sandbox)).tools(&loaded, &events)?;
    say(Level::Success, "exiting since PREPARE_ONLY_TOOLSET is set to true");
    Ok(())
}

fn build(
    args: &Args,
    parameters: &Parameters,
    order: Order,
    owner: Option<(u32, u32)>,
    status: &mut Status,
) -> Result<(), Ending> {
    let config = args.flags.config()?;
    let mut place = order.place.clone();
    let loaded = complete(args, &config, order, &lock_beside(parameters))?;
    prepare(args, parameters, &place, &loaded)?;
    let options = options(args, &place);
    if kiln_sandbox::interrupted() {
        return Err(Fault::interrupted().into());
    }
    let sandbox = settings::enter().map_err(|fault| args.display.refused(fault.into()))?;
    let events = args.display.events(Some(Path::new(&place.folder)))?;
    let channel = status.join(&events);
    let mut last = || {
        around::give(parameters, &place, owner)?;
        args.move_to.as_ref().map_or(Ok(()), |folder| around::deliver(&mut place, folder))
    };
    let kiln = Kiln::open(config).inspect_err(|fault| events.tell(EventKind::failed(None, fault)));
    // Pieman takes the newest packages, every time.
    let before = if args.locked { None } else { set_aside(&loaded.lock_path) };
    let built = kiln.and_then(|kiln| kiln.with_sandbox(Some(sandbox)).build_and(&loaded, &options, &events, &mut last));
    before.iter().for_each(|before| put_back(before, &loaded.lock_path));
    drop(events);
    channel.into_iter().for_each(Channel::say_goodbye);
    let report = built?;
    let cached = report.stages.iter().filter(|stage| stage.cached).count();
    let stages = report.stages.len();
    say(Level::Info, &format!("built in {}, {cached} of {stages} stages from cache", text::time(report.millis)));
    say(Level::Success, &success(&place));
    Ok(())
}

/// Completes the recipe as if it lay at `path`; its lock lies beside that.
fn complete(args: &Args, config: &Config, order: Order, path: &Path) -> Result<Loaded, Ending> {
    let epoch = settings::source_date_epoch()?;
    let choices = Choices { overrides: args.set.clone(), epoch, ..Choices::default() };
    let loaded = load::written(config, &order.recipe, order.secrets, &choices, path).map_err(Failure::from)?;
    out::talk(&kiln_recipe::render(&loaded.completed.warnings, &loaded.completed.files, out::look()));
    Ok(loaded)
}

/// Where the recipe would lie; a name may hold dots, and so gets an ending that the lock's takes the place of.
fn lock_beside(parameters: &Parameters) -> PathBuf {
    Path::new(parameters.text("BUILD_DIR")).join(format!("{}.toml", parameters.text("PROJECT_NAME")))
}

/// Makes room for the result, and takes nothing away that somebody may want to keep.
fn prepare(args: &Args, parameters: &Parameters, place: &Place, loaded: &Loaded) -> Result<(), Ending> {
    if place.made == Made::Chroot && Path::new(&place.result).exists() {
        let fault = Fault::recipe(format!("{} already exists", place.result));
        return Err(fault.hint("take another `PROJECT_NAME`, or remove that folder yourself").into());
    }
    if let Some(folder) = &args.move_to {
        let shown = folder.display();
        if place.made == Made::Chroot {
            let fault = Fault::recipe(format!("there will be no image to move to `{shown}`"));
            return Err(fault.hint("leave out `CREATE_ONLY_CHROOT`, or `--move-to`").into());
        }
        // The build would be in vain.
        let looked = fs::read_dir(folder).farm(|| format!("look into `{shown}`, where the image shall go"));
        looked.map_err(|fault| {
            fault.hint(format!("make it; in a container mount a folder there: `--volume \"$PWD\":{shown}`"))
        })?;
    }
    let folder = parameters.text("BUILD_DIR");
    fs::create_dir_all(folder).farm(|| format!("make `{folder}`"))?;
    if args.locked && !loaded.lock_path.exists() {
        let fault = Fault::recipe(format!("there is no `{}` to keep to", loaded.lock_path.display()));
        return Err(fault.hint("leave `--locked` out for the first build of a `PROJECT_NAME`").into());
    }
    Ok(())
}

/// Moves the last lock away for the time of a build, and returns where it is.
fn set_aside(lock: &Path) -> Option<PathBuf> {
    let before = lock.with_extension("lock.before");
    fs::rename(lock, &before).is_ok().then_some(before)
}

/// A build that came to no lock of its own leaves the last one.
fn put_back(before: &Path, lock: &Path) {
    let _ = if lock.exists() { fs::remove_file(before) } else { fs::rename(before, lock) };
}

fn options(args: &Args, place: &Place) -> BuildOptions {
    BuildOptions {
        out: PathBuf::from(&place.folder),
        keep_failed: args.keep_failed,
        no_verify: true,
        ..BuildOptions::default()
    }
}

fn success(place: &Place) -> String {
    if place.made == Made::Chroot {
        let how = "Now you can speed up next builds by passing it to Pieman via the BASE_DIR parameter.";
        return format!("Chroot environment {} is done. {how}", place.result);
    }
    let name = Path::new(&place.result).file_name().unwrap_or_default().to_string_lossy().into_owned();
    // Where it lies in a container says nothing outside; Pieman knew Docker's.
    let contained = ["/.dockerenv", "/run/.containerenv"].iter().any(|mark| Path::new(mark).exists());
    let shown = if contained { &name } else { &place.result };
    let next = match place.made {
        Made::Artifact => "Upload it to hosted.mender.io to provide for OTA updates.",
        Made::Image | Made::Chroot => "Use balenaEtcher (https://balena.io/etcher/) to burn it to your SD card.",
    };
    format!("{shown} was built. {next}")
}

impl From<Refused> for Ending {
    fn from(refused: Refused) -> Self {
        Self::Refused(Box::new(refused))
    }
}

impl From<Failure> for Ending {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<Fault> for Ending {
    fn from(fault: Fault) -> Self {
        Self::Failure(fault.into())
    }
}

type Environment = BTreeMap<String, String>;
