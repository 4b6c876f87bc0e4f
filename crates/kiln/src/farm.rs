//! What the commands of the farm have in common: here async begins.

use std::future::Future;
use std::path::PathBuf;

use kiln_farm_api::{Client, Problem};
use kiln_farm_server::error::Error;
use kiln_model::Fault;
use kiln_model::fault::OrFault as _;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use url::Url;

use crate::ending::Failure;

/// Starts what runs async code.
pub fn runtime() -> Result<Runtime, Fault> {
    Builder::new_multi_thread().enable_all().build().farm(|| "start threads".into())
}

/// Which server a client speaks to.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Server")]
pub struct Flags {
    /// The build service's address [default: $KILN_SERVER]
    #[arg(long, value_name = "URL")]
    server: Option<Url>,
    /// File with the token; its text is in $KILN_TOKEN where there is no file
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl Flags {
    /// Makes a client; nothing is asked yet.
    pub fn client(&self) -> Result<Client, Failure> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let server = match (&self.server, set("KILN_SERVER")) {
            (Some(server), _) => server.clone(),
            (None, Some(text)) => {
                let wrong = |error| Failure::usage(format!("environment variable `KILN_SERVER`: {error}"));
                text.parse().map_err(wrong)?
            }
            (None, None) => return Err(Failure::usage("no server is named: `--server URL`, or KILN_SERVER")),
        };
        let token = match &self.token_file {
            Some(file) => std::fs::read_to_string(file).farm(|| format!("read `{}`", file.display()))?,
            None => set("KILN_TOKEN")
                .ok_or_else(|| Failure::usage("no token is given: `--token-file FILE`, or KILN_TOKEN"))?,
        };
        Ok(Client::new(server, token.trim()))
    }
}

/// Returns why a server did not do what it was asked.
pub fn refused(error: kiln_farm_api::Error) -> Fault {
    match error {
        kiln_farm_api::Error::Refused(Problem { title, hint: Some(hint), .. }) => Fault::farm(title).hint(hint),
        kiln_farm_api::Error::Refused(problem) => Fault::farm(problem.title),
        other => Fault::farm("ask the build service").because(other),
    }
}

/// Returns why something of the farm was not done.
pub fn fault(doing: &str, error: Error) -> Fault {
    match error {
        Error::Refused(problem) => match problem.hint {
            Some(hint) => Fault::farm(problem.title).hint(hint),
            None => Fault::farm(problem.title),
        },
        failed @ Error::Failed { .. } => Fault::farm(doing).because(failed),
    }
}

/// Sends log lines to stderr: what KILN_LOG asks for, `info` where it does not say; as JSON with KILN_LOG_FORMAT=json.
pub fn log() {
    let wanted = EnvFilter::builder().with_default_directive(tracing::Level::INFO.into()).with_env_var("KILN_LOG");
    let lines = tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false);
    let lines = lines.with_env_filter(wanted.from_env_lossy());
    // A process has one log; whoever began it first keeps it.
    let _ = match std::env::var("KILN_LOG_FORMAT").is_ok_and(|format| format == "json") {
        true => lines.json().try_init(),
        false => lines.with_ansi(crate::out::coloured()).try_init(),
    };
}

/// Returns what comes when this process is told to end: SIGTERM, SIGINT.
pub fn told_to_end() -> Result<impl Future<Output = ()> + Send + 'static, Fault> {
    let mut terminate = signal(SignalKind::terminate()).farm(|| "listen to SIGTERM".into())?;
    let mut interrupt = signal(SignalKind::interrupt()).farm(|| "listen to SIGINT".into())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
