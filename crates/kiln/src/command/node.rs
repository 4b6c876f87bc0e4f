//! `kiln node`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use kiln_farm_api::Name;
use kiln_farm_node::{Config, Wish};
use kiln_model::Fault;
use kiln_model::fault::OrFault as _;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use url::Url;

use crate::command::Outcome;
use crate::ending::Failure;
use crate::{farm, settings, text};

/// Builds what a build service has to build.
///
/// SIGTERM lets it end what it has and take nothing more; a second one stops its builds, which go to other nodes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The build service: `https://builds.example.org` [default: $KILN_SERVER]
    #[arg(long, value_name = "URL")]
    server: Option<Url>,
    /// File with the credential that the service gave when the node was enrolled [default: $KILN_NODE_CREDENTIAL]
    #[arg(long, value_name = "FILE")]
    credential_file: Option<PathBuf>,
    #[command(flatten)]
    authority: farm::Authority,
    /// Folder for work and for results on their way [default: node in the data folder]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Cache folder of its builds [default: $KILN_CACHE, $XDG_CACHE_HOME/kiln, ~/.cache/kiln]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Builds at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024))]
    slots: u32,
    /// Something it can do that `kiln submit --capability` may ask for, beside `kvm`, which it finds out itself
    #[arg(long = "capability", value_name = "WORD")]
    capabilities: Vec<Name>,
    /// Memory that a build is thought to need
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = text::parse_bytes)]
    build_memory: u64,
    /// Space on the disk that a build is thought to need
    #[arg(long, value_name = "SIZE", default_value = "2G", value_parser = text::parse_bytes)]
    build_disk: u64,
    /// Space on the disk that stays free: what of it a build would need is no room for one
    #[arg(long, value_name = "SIZE", default_value = "5G", value_parser = text::parse_bytes)]
    keep_free: u64,
}

pub fn run(args: Args) -> Outcome {
    let config = config(args)?;
    farm::log();
    farm::runtime()?.block_on(work(config))?;
    Ok(ExitCode::SUCCESS)
}

fn config(args: Args) -> Result<Config, Failure> {
    let server = farm::server(args.server)?;
    let credential = farm::secret(args.credential_file.as_deref(), "KILN_NODE_CREDENTIAL")?;
    let credential = credential.ok_or_else(|| {
        Failure::usage("a node needs the credential it was given: `--credential-file FILE` or KILN_NODE_CREDENTIAL")
    })?;
    let cache = cache(args.cache)?;
    let data = args.data.unwrap_or_else(|| settings::data_folder().join("node"));
    let config = Config::new(server, credential, data, this_program()?, cache);
    let trust = args.authority.trust()?;
    let Args { slots, build_memory, build_disk, keep_free: min_disk, .. } = args;
    let capabilities = args.capabilities.iter().map(Name::to_string).collect();
    Ok(Config { slots, capabilities, trust, build_memory, build_disk, min_disk, ..config })
}

/// Returns the cache folder of a node's builds.
pub fn cache(flag: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let flags = settings::Flags { cache: flag, ..settings::Flags::default() };
    let cache = flags.config()?.cache;
    std::fs::create_dir_all(&cache).farm(|| format!("make the cache `{}`", cache.display()))?;
    Ok(cache)
}

/// Returns this program, also when its file is replaced by a newer one while it runs.
pub fn this_program() -> Result<PathBuf, Fault> {
    let path = std::env::current_exe().farm(|| "find this program".into())?;
    Ok(if path.exists() { path } else { Path::new("/proc/self/exe").into() })
}

async fn work(config: Config) -> Result<(), Fault> {
    let (wish, wished) = watch::channel(Wish::Work);
    let mut terminate = signal(SignalKind::terminate()).farm(|| "listen to SIGTERM".into())?;
    let mut interrupt = signal(SignalKind::interrupt()).farm(|| "listen to SIGINT".into())?;
    tokio::spawn(async move {
        for next in [Wish::Drain, Wish::Stop] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            farm::notify(NotifyState::Stopping);
            let _ = wish.send(next);
        }
        // Nobody wishes any more, and nobody is to think so.
        std::future::pending::<()>().await;
    });
    farm::notify(NotifyState::Ready);
    tracing::info!("work for {}, {} builds at once", config.server, config.slots);
    kiln_farm_node::run(config, wished).await
}
