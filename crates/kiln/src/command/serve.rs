//! `kiln serve`.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use kiln_farm_node::Wish;
use kiln_farm_server::decide::Terms;
use kiln_farm_server::serve::{Config, Server, Welcome};
use kiln_model::Fault;
use kiln_model::fault::OrFault as _;

use tokio::sync::watch;

use crate::command::{Outcome, node};
use crate::ending::Failure;
use crate::{farm, out, settings, store, text};

/// Runs a build service: queue, web pages, artifacts.
///
/// Nothing has to be set up: the first start makes a database and an administrator, and prints a link that logs in once.
/// DATABASE_URL names a PostgreSQL to use instead of the built-in SQLite: `postgres://USER:PASSWORD@HOST/DATABASE`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Folder for database and, without `--store`, artifacts [default: $KILN_DATA, $XDG_STATE_HOME/kiln, ~/.local/state/kiln]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    store: store::Place,
    /// What the server is called from outside, for links: `https://builds.example.org` [default: where it listens]
    #[arg(long, value_name = "URL")]
    address: Option<url::Url>,
    /// Space that uploads leave free on the disk
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = text::parse_bytes)]
    keep_free: u64,
    /// Build nothing here: leave it to nodes on other machines
    #[arg(long)]
    no_node: bool,
    /// Builds at once on this machine
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024))]
    slots: u32,
    /// Cache folder of builds on this machine [default: $KILN_CACHE, $XDG_CACHE_HOME/kiln, ~/.cache/kiln]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Shows `/metrics` to everyone who reaches the server, not only to this machine and to tokens of scope `read`
    #[arg(long)]
    metrics_open: bool,
    /// Lets projects' webhooks lead into the server's own network: loopback, link-local and private addresses
    #[arg(long)]
    webhooks_private: bool,
    /// Space for stages that one node made and others need not make again; those used longest ago go, and with 0 none are taken
    #[arg(long, value_name = "SIZE", default_value = "20G", value_parser = text::parse_bytes)]
    stages_limit: u64,
}

pub fn run(args: Args) -> Outcome {
    let database = settings::database();
    let config = Config {
        listen: args.listen,
        data: args.data.unwrap_or_else(settings::data_folder),
        database,
        address: args.address.map(String::from),
        reserve: args.keep_free,
        store: args.store.address()?,
        terms: Terms::default(),
        metrics_open: args.metrics_open,
        webhooks_private: args.webhooks_private,
        stages_limit: args.stages_limit,
    };
    let own = if args.no_node { None } else { Some(Own::of(args.slots, args.cache)?) };
    farm::log();
    farm::runtime()?.block_on(serve(config, own))?;
    Ok(ExitCode::SUCCESS)
}

/// The node that lives in this process.
struct Own {
    slots: u32,
    cache: PathBuf,
    kiln: PathBuf,
}

impl Own {
    fn of(slots: u32, cache: Option<PathBuf>) -> Result<Self, Failure> {
        let cache = node::cache(cache)?;
        Ok(Self { slots, cache, kiln: node::this_program()? })
    }

    /// Returns how it works for the server beside it, which it speaks to as any other node does.
    async fn config(self, server: &Server, data: PathBuf) -> Result<kiln_farm_node::Config, Fault> {
        let mut here = server.local_addr().farm(|| "find where the server listens".into())?;
        if here.ip().is_unspecified() {
            here.set_ip(if here.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
        }
        let address = format!("http://{here}").parse().farm(|| "name the server".into())?;
        let name = "built-in".parse().farm(|| "name the node".into())?;
        let credential = server.farm.enrol_own(&name).await.farm(|| "let the node in".into())?;
        let config = kiln_farm_node::Config::new(address, credential, data, self.kiln, self.cache);
        Ok(kiln_farm_node::Config { slots: self.slots, ..config })
    }
}

async fn serve(config: Config, own: Option<Own>) -> Result<(), Fault> {
    let data = config.data.join("node");
    let shutdown = farm::told_to_end()?;
    let server = Server::open(config).await.map_err(|error| farm::not_done("start the server", error))?;
    let (wish, wished) = watch::channel(Wish::Work);
    let node = match own {
        Some(own) => {
            let work = kiln_farm_node::run(own.config(&server, data).await?, wished);
            Some(tokio::spawn(async move {
                if let Err(fault) = work.await {
                    tracing::error!("the built-in node ends, builds wait for others: {}", fault.chain());
                }
            }))
        }
        None => None,
    };
    out::talk(&format!("kiln serves {}\n", server.farm.address));
    if let Some(welcome) = &server.welcome {
        out::talk(&greeting(welcome));
    }
    let ending = async move {
        shutdown.await;
        // Builds that are stopped go on when the server is back; until their node is done with them, it is needed.
        let _ = wish.send(Wish::Stop);
        if let Some(node) = node {
            let _ = node.await;
        }
    };
    server.run(ending).await.farm(|| "serve".into())
}

fn greeting(welcome: &Welcome) -> String {
    let Welcome { link, token } = welcome;
    format!(
        "log in as administrator, once, within a day: {link}\n\
         programs: `kiln submit RECIPE --token-file {}`\n",
        token.display()
    )
}
