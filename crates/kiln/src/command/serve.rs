//! `kiln serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use kiln_farm_server::decide::Terms;
use kiln_farm_server::serve::{Config, Server, Welcome};
use kiln_model::Fault;
use kiln_model::fault::OrFault as _;

use crate::command::Outcome;
use crate::{farm, out, settings, text};

/// Runs a build service: queue, web pages, artifacts.
///
/// Nothing has to be set up: the first start makes a database and an administrator, and prints a link that logs in once.
/// DATABASE_URL names a PostgreSQL to use instead of the built-in SQLite: `postgres://USER:PASSWORD@HOST/DATABASE`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Folder for database and artifacts [default: $KILN_DATA, $XDG_STATE_HOME/kiln, ~/.local/state/kiln]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// What the server is called from outside, for links: `https://builds.example.org` [default: where it listens]
    #[arg(long, value_name = "URL")]
    address: Option<url::Url>,
    /// Space that uploads leave free on the disk
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = text::parse_bytes)]
    keep_free: u64,
    /// Shows `/metrics` to everyone who reaches the server, not only to this machine and to tokens of scope `read`
    #[arg(long)]
    metrics_open: bool,
    /// Lets projects' webhooks lead into the server's own network: loopback, link-local and private addresses
    #[arg(long)]
    webhooks_private: bool,
}

pub fn run(args: Args) -> Outcome {
    let database = settings::database();
    let config = Config {
        listen: args.listen,
        data: args.data.unwrap_or_else(settings::data_folder),
        database,
        address: args.address.map(String::from),
        reserve: args.keep_free,
        terms: Terms::default(),
        metrics_open: args.metrics_open,
        webhooks_private: args.webhooks_private,
    };
    farm::log();
    farm::runtime()?.block_on(serve(config))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(config: Config) -> Result<(), Fault> {
    let shutdown = farm::told_to_end()?;
    let server = Server::open(config).await.farm(|| "start the server".into())?;
    out::talk(&format!("kiln serves {}\n", server.farm.address));
    if let Some(welcome) = &server.welcome {
        out::talk(&greeting(welcome));
    }
    server.run(shutdown).await.farm(|| "serve".into())
}

fn greeting(welcome: &Welcome) -> String {
    let Welcome { link, token } = welcome;
    format!(
        "log in as administrator, once, within a day: {link}\n\
         programs: `kiln submit RECIPE --token-file {}`\n",
        token.display()
    )
}
