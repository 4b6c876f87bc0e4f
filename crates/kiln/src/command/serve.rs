//! `kiln serve`.

mod channels;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Duration;

use kiln_farm_api::Name;
use kiln_farm_node::Wish;
use kiln_farm_server::decide::Terms;
use kiln_farm_server::limits::{self, IpNet, Limits, Rate};
use kiln_farm_server::oidc;
use kiln_farm_server::serve::{Config, Server, Welcome};
use kiln_farm_server::sources::Gather;
use kiln_farm_server::tls::Files;
use kiln_farm_server::vault::Vault;
use kiln_model::Fault;
use kiln_model::fault::OrFault as _;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;
use tokio::sync::watch;
use url::Url;

use crate::command::{Outcome, node};
use crate::ending::Failure;
use crate::{channel, farm, gather, settings, store, text};

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
    /// Speaks HTTPS with the certificate in this file: PEM, the server's own first, then those that lead to what clients trust
    ///
    /// It is read again when it changes and at SIGHUP; connections stay.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Space that uploads leave free on the disk
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = text::parse_bytes)]
    keep_free: u64,
    /// Build nothing here: leave it to nodes on other machines
    #[arg(long)]
    no_node: bool,
    /// Builds at once on this machine
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024))]
    slots: u32,
    /// Memory that a build on this machine is thought to need
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = text::parse_bytes)]
    build_memory: u64,
    /// Space on the disk that a build on this machine is thought to need
    #[arg(long, value_name = "SIZE", default_value = "2G", value_parser = text::parse_bytes)]
    build_disk: u64,
    /// Space on the disk that builds on this machine leave free: what of it a build would need is no room for one
    #[arg(long, value_name = "SIZE", default_value = "5G", value_parser = text::parse_bytes)]
    build_keep_free: u64,
    /// Cache folder of builds on this machine [default: $KILN_CACHE, $XDG_CACHE_HOME/kiln, ~/.cache/kiln]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Prints a link that logs this user in once: for who is locked out
    #[arg(long, value_name = "USER")]
    invite: Option<Name>,
    /// How long a run of a task may take, at most
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = text::parse_seconds)]
    task_timeout: u64,
    /// Output that a build's log takes; what follows is left out
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = text::parse_bytes)]
    log_limit: u64,
    /// Requests in a minute, and at once, by one token or login, and four times as many by one user; 0: as many as they like
    #[arg(long, value_name = "N", default_value_t = Limits::default().token.0)]
    limit_token: u32,
    /// The same by one address of those who are neither logged in nor have a token
    #[arg(long, value_name = "N", default_value_t = Limits::default().address.0)]
    limit_address: u32,
    /// A proxy before the server, whose `X-Forwarded-For` says who asks; may be given several times
    #[arg(long, value_name = "ADDRESS[/LENGTH]", value_parser = limits::proxy)]
    proxy: Vec<IpNet>,
    /// Shows `/metrics` to everyone who reaches the server, not only to this machine and to tokens of scope `read`
    #[arg(long)]
    metrics_open: bool,
    /// Lets projects' webhooks lead into the server's own network: loopback, link-local and private addresses
    #[arg(long)]
    webhooks_private: bool,
    /// Space for stages that one node made and others need not make again; those used longest ago go, and with 0 none are taken
    #[arg(long, value_name = "SIZE", default_value = "20G", value_parser = text::parse_bytes)]
    stages_limit: u64,
    #[command(flatten)]
    redis: channel::Flags,
    /// Lets projects' sources lie in the server's own network, or on its disk: `http://`, `file:///`, private addresses
    #[arg(long)]
    sources_private: bool,
    /// File with the key of projects' secrets, 32 bytes in base64: the same for all servers of one database
    /// [default: $KILN_SECRETS_KEY, else `secrets.key` in the data folder, made at the first start]
    #[arg(long, value_name = "FILE")]
    secrets_key_file: Option<PathBuf>,
    #[command(flatten)]
    oidc: Oidc,
}

/// By whom people log in besides.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Logins by OpenID Connect")]
struct Oidc {
    /// The provider's issuer: `https://login.example.org`; it sends people back to ADDRESS/login/oidc/back
    #[arg(long, value_name = "URL", requires = "oidc_client_id")]
    oidc_issuer: Option<Url>,
    /// What the provider calls this service
    #[arg(long, value_name = "ID", requires = "oidc_issuer")]
    oidc_client_id: Option<String>,
    /// File with the secret that the provider knows this service by [default: $KILN_OIDC_CLIENT_SECRET]
    #[arg(long, value_name = "FILE", requires = "oidc_issuer")]
    oidc_client_secret_file: Option<PathBuf>,
    /// Makes an account for whoever logs in there for the first time; else only accounts that were linked are opened
    #[arg(long, requires = "oidc_issuer")]
    oidc_create: bool,
    /// What is asked for
    #[arg(long, value_name = "SCOPES", default_value = "openid profile email")]
    oidc_scopes: String,
    /// The claim that lists groups
    #[arg(long, value_name = "NAME", default_value = "groups")]
    oidc_groups_claim: String,
    /// The group whose members administer; it decides for accounts that were made by such a login
    #[arg(long, value_name = "GROUP", requires = "oidc_issuer")]
    oidc_admin_group: Option<String>,
}

impl Oidc {
    fn settings(self) -> Result<Option<oidc::Settings>, Failure> {
        let (Some(issuer), Some(client_id)) = (self.oidc_issuer, self.oidc_client_id) else { return Ok(None) };
        let secret = farm::secret(self.oidc_client_secret_file.as_deref(), "KILN_OIDC_CLIENT_SECRET")?;
        let needed = || Failure::usage("logins by OpenID Connect need `--oidc-client-secret-file FILE`");
        Ok(Some(oidc::Settings {
            issuer,
            client_id,
            client_secret: secret.ok_or_else(needed)?,
            create: self.oidc_create,
            scopes: self.oidc_scopes,
            groups_claim: self.oidc_groups_claim,
            admin_group: self.oidc_admin_group,
        }))
    }
}

pub fn run(args: Args) -> Outcome {
    let database = settings::database();
    let output = i64::try_from(args.log_limit).unwrap_or(i64::MAX);
    let terms = Terms { timeout: args.task_timeout.min(1 << 40) as i64 * 1000, output, ..Terms::default() };
    let redis = args.redis.named()?;
    let tls = args.tls_cert.zip(args.tls_key).map(|(certificates, key)| Files { certificates, key });
    let flags = settings::Flags { cache: args.cache.clone(), ..settings::Flags::default() };
    let engine = flags.config()?;
    let data = args.data.unwrap_or_else(settings::data_folder);
    // Made when it is first needed, in a folder that the server has made for itself alone.
    let place = OnceLock::new();
    let repositories = data.clone();
    let gather = move |wish: &_| {
        let place = match place.get() {
            Some(place) => place,
            None => {
                let opened = gather::Place::open(&repositories)?;
                place.get_or_init(|| opened)
            }
        };
        gather::gather(&engine, place, wish)
    };
    let config = Config {
        database,
        address: args.address.map(String::from),
        tls,
        reserve: args.keep_free,
        store: args.store.address()?,
        limits: Limits { token: Rate(args.limit_token), address: Rate(args.limit_address), proxies: args.proxy },
        terms,
        channels: redis.is_some(),
        metrics_open: args.metrics_open,
        webhooks_private: args.webhooks_private,
        gather: Some(Gather::new(gather)),
        sources_private: args.sources_private,
        oidc: args.oidc.settings()?,
        stages_limit: args.stages_limit,
        vault: vault(args.secrets_key_file.as_deref())?,
        ..Config::new(args.listen, data)
    };
    let own = || {
        let (cache, kiln) = (node::cache(args.cache)?, node::this_program()?);
        let (build_memory, build_disk, min_disk) = (args.build_memory, args.build_disk, args.build_keep_free);
        Ok::<_, Failure>(Own { slots: args.slots, build_memory, build_disk, min_disk, cache, kiln })
    };
    let own = if args.no_node { None } else { Some(own()?) };
    farm::log();
    open_many();
    farm::runtime()?.block_on(serve(config, own, args.invite, redis))?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the key that somebody chose for secrets.
fn vault(file: Option<&Path>) -> Result<Option<Vault>, Failure> {
    let text = farm::secret(file, "KILN_SECRETS_KEY").map_err(|fault| {
        fault.hint("copy `secrets.key` from the data folder of the first server, or make one: `head -c 32 /dev/urandom | base64`")
    })?;
    text.map(|text| Vault::read(&text)).transpose().map_err(Failure::usage)
}

/// The node that lives in this process.
struct Own {
    slots: u32,
    build_memory: u64,
    build_disk: u64,
    min_disk: u64,
    cache: PathBuf,
    kiln: PathBuf,
}

impl Own {
    /// Returns how it works for the server beside it, which it speaks to as any other node does. Where several servers may share a
    /// database, and perhaps a folder, each has a node of another name.
    async fn config(self, server: &Server, data: &Path, shared: bool) -> Result<kiln_farm_node::Config, Fault> {
        let mut here = server.inside();
        if here.ip().is_unspecified() {
            here.set_ip(if here.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
        }
        let address = format!("http://{here}").parse().farm(|| "name the server".into())?;
        let (name, data) = match shared {
            true => {
                // The port people see: that of the way in for this machine may be another one each time.
                let port = server.address().port();
                let name = own_name(rustix::system::uname().nodename().to_str().unwrap_or_default(), port);
                (name.clone(), data.join(format!("node-{name}")))
            }
            false => ("built-in".to_owned(), data.join("node")),
        };
        let name = name.parse().farm(|| "name the node".into())?;
        let credential = server.farm.enrol_own(&name).await.farm(|| "let the node in".into())?;
        let config = kiln_farm_node::Config::new(address, credential, data, self.kiln, self.cache);
        let Self { slots, build_memory, build_disk, min_disk, .. } = self;
        Ok(kiln_farm_node::Config { slots, build_memory, build_disk, min_disk, ..config })
    }
}

/// Lets what a busy hour took not stay with an idle server.
async fn slim() {
    loop {
        tokio::time::sleep(Duration::from_secs(60)).await;
        let _ = tokio::task::spawn_blocking(kiln_sandbox::give_back_now).await;
    }
}

/// As many files as the system allows: each who watches is one.
fn open_many() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

async fn serve(
    config: Config,
    own: Option<Own>,
    invite: Option<Name>,
    redis: Option<kiln_adapter_pieman::Server>,
) -> Result<(), Fault> {
    let data = config.data.clone();
    let shared = config.database.is_some();
    let shutdown = farm::told_to_end()?;
    let server = Server::open(config).await.map_err(|error| farm::not_done("start the server", error))?;
    tokio::spawn(slim());
    let (wish, wished) = watch::channel(Wish::Work);
    let node = match own {
        Some(own) => {
            let work = kiln_farm_node::run(own.config(&server, &data, shared).await?, wished);
            Some(tokio::spawn(async move {
                if let Err(fault) = work.await {
                    tracing::error!("the built-in node ends, builds wait for others: {}", fault.chain());
                }
            }))
        }
        None => None,
    };
    farm::announce(&format!("kiln serves {}\n", server.farm.address));
    if let Some(welcome) = &server.welcome {
        farm::announce(&greeting(welcome));
    }
    if let Some(name) = invite {
        let invitation = server.farm.invite(&name, "kiln serve --invite", None).await;
        let link = invitation.map_err(|error| farm::not_done("invite a user", error))?.link;
        farm::announce(&format!("log in as {name}, once, within a day: {link}\n"));
    }
    let telling = redis.map(|redis| tokio::spawn(channels::run(server.farm.clone(), redis)));
    farm::notify(NotifyState::Ready);
    let ending = async move {
        shutdown.await;
        farm::notify(NotifyState::Stopping);
        // Builds that are stopped go on when the server is back; until their node is done with them, it is needed.
        let _ = wish.send(Wish::Stop);
        if let Some(node) = node {
            let _ = node.await;
        }
    };
    server.run(ending).await;
    telling.into_iter().for_each(|telling| telling.abort());
    Ok(())
}

/// Returns what a server's own node is called: by the machine's name, as far as that is a node's, and the server's port.
fn own_name(host: &str, port: u16) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c.to_ascii_lowercase() } else { '-' };
    let host: String = host.split('.').next().unwrap_or_default().chars().take(40).map(plain).collect();
    format!("built-in-{host}-{port}")
}

fn greeting(welcome: &Welcome) -> String {
    let Welcome { link, token } = welcome;
    format!(
        "log in as administrator, once, within a day: {link}\n\
         programs: `kiln submit RECIPE --token-file {}`\n",
        token.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_names_its_node() {
        for (host, wanted) in [("vm7.example.org", "built-in-vm7-80"), ("Ünsere_Büchse", "built-in--nsere-b-chse-80")]
        {
            assert_eq!(own_name(host, 80), wanted);
            assert!(wanted.parse::<Name>().is_ok());
        }
    }
}
