//! What the commands of the farm have in common: here async begins.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt as _;
use kiln_farm_api::{Build, BuildId, Client, Entry, Error, Trust};
use kiln_model::fault::OrFault as _;
use kiln_model::{Fault, FaultKind};
use sd_notify::NotifyState;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use url::Url;

use crate::ending::Failure;
use crate::out;

/// Starts what runs async code.
pub fn runtime() -> Result<Runtime, Fault> {
    Builder::new_multi_thread().enable_all().build().farm(|| "start threads".into())
}

/// Returns why something of the server's own was not done.
pub fn not_done(doing: &str, error: kiln_farm_server::error::Error) -> Fault {
    match error {
        kiln_farm_server::error::Error::Refused(problem) | kiln_farm_server::error::Error::Busy { problem, .. } => {
            problem.hint.into_iter().fold(Fault::farm(problem.title), Fault::hint)
        }
        failed => Fault::farm(doing).because(failed),
    }
}

/// Returns why a recipe cannot be built by a farm.
pub fn recipe(doing: &str, error: kiln_farm_server::error::Error) -> Fault {
    match error {
        kiln_farm_server::error::Error::Refused(problem) => {
            problem.hint.into_iter().fold(Fault::recipe(problem.title), Fault::hint)
        }
        other => not_done(doing, other),
    }
}

/// Says what has become of a build that somebody did something about.
pub fn say_state(build: &Build) {
    out::talk(&format!("build {} of `{}` is {}\n", build.id, build.name, build.state.name()));
}

/// Tells the service manager that waits for it (`NOTIFY_SOCKET`, sd_notify(3)) how far this process is; nobody else.
pub fn notify(state: NotifyState) {
    let _ = sd_notify::notify(&[state]);
}

fn is_json() -> bool {
    std::env::var("KILN_LOG_FORMAT").is_ok_and(|format| format == "json")
}

/// Says lines that whoever began a service waits for, whatever is logged; where the log is JSON they are of its kind.
pub fn announce(lines: &str) {
    if !is_json() {
        out::talk(lines);
        return;
    }
    for line in lines.lines() {
        let timestamp = jiff::Timestamp::now().to_string();
        let said = serde_json::json!({ "timestamp": timestamp, "level": "INFO", "fields": { "message": line } });
        out::talk(&format!("{said}\n"));
    }
}

/// Sends log lines to stderr: what KILN_LOG asks for, `info` where it does not say; as JSON with KILN_LOG_FORMAT=json.
pub fn log() {
    let wanted = EnvFilter::builder().with_default_directive(tracing::Level::INFO.into()).with_env_var("KILN_LOG");
    let lines = tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false);
    let lines = lines.with_env_filter(wanted.from_env_lossy());
    // A process has one log; whoever began it first keeps it.
    let _ = match is_json() {
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

/// Returns the server that a flag, then KILN_SERVER, names.
pub fn server(flag: Option<Url>) -> Result<Url, Failure> {
    let variable = std::env::var("KILN_SERVER").ok().filter(|text| !text.is_empty());
    let (url, place) = match (flag, variable) {
        (Some(url), _) => (url, "`--server`"),
        (None, Some(text)) => {
            let url =
                text.parse().map_err(|why| Failure::usage(format!("environment variable `KILN_SERVER`: {why}")))?;
            (url, "environment variable `KILN_SERVER`")
        }
        (None, None) => return Err(Failure::usage("which server? `--server URL` or KILN_SERVER")),
    };
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        _ => Err(Failure::usage(format!(
            "{place}: `{url}` is no address of a server, as in `https://builds.example.org`"
        ))),
    }
}

/// Returns a secret from a file, else from an environment variable; never from the command line, which everybody can read.
pub fn secret(file: Option<&Path>, variable: &str) -> Result<Option<String>, Fault> {
    let value = match file {
        Some(path) => {
            let text = std::fs::read_to_string(path).farm(|| format!("read `{}`", path.display()))?;
            let text = text.trim().to_owned();
            if text.is_empty() {
                return Err(Fault::farm(format!("read `{}`: it is empty", path.display())));
            }
            Some(text)
        }
        None => std::env::var(variable).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()),
    };
    Ok(value)
}

/// Which build service, and what opens its door.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Build service")]
pub struct Login {
    /// The build service: `https://builds.example.org` [default: $KILN_SERVER]
    #[arg(long, value_name = "URL")]
    server: Option<Url>,
    /// File with a token of the build service [default: $KILN_TOKEN]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    authority: Authority,
}

/// Whose certificates are taken.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Authority {
    /// Certificates to trust beside the system's, as PEM: those of a build service with an authority of its own [default: $KILN_CA]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl Authority {
    pub fn trust(&self) -> Result<Trust, Fault> {
        let variable = || std::env::var_os("KILN_CA").filter(|path| !path.is_empty()).map(PathBuf::from);
        let Some(path) = self.ca.clone().or_else(variable) else { return Ok(Trust::default()) };
        let doing = || format!("read the certificates in `{}`", path.display());
        let text = std::fs::read(&path).farm(doing)?;
        Trust::from_pem(&text).map_err(|why| Fault::farm(format!("{}: {why}", doing())))
    }
}

impl Login {
    pub fn client(&self) -> Result<Client, Failure> {
        let server = server(self.server.clone())?;
        let token = secret(self.token_file.as_deref(), "KILN_TOKEN")?;
        let token = token.ok_or_else(|| Failure::usage("a token is needed: `--token-file FILE` or KILN_TOKEN"))?;
        Ok(Client::trusting(server, token, self.authority.trust()?))
    }
}

/// Between two tries of a call, at first.
pub const PAUSE: Duration = Duration::from_millis(300);
/// How often a call is tried.
const TRIES: usize = 6;

/// Calls until it goes well, is refused, or was tried often enough.
pub async fn again<T, F: Future<Output = Result<T, Error>>>(call: impl Fn() -> F) -> Result<T, Error> {
    let mut pause = PAUSE;
    for _ in 1..TRIES {
        match call().await {
            Err(error) if error.is_passing() => tokio::time::sleep(pause).await,
            done => return done,
        }
        pause *= 2;
    }
    call().await
}

/// Tells the entries of a build's log that come after number `after` until it has ended, whatever becomes of the line meanwhile;
/// `sought` are the fields of an address that choose some of them.
pub async fn follow(
    client: &Client,
    id: BuildId,
    mut after: u64,
    sought: &[(&str, String)],
    tell: &mut impl FnMut(Entry) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut pause = PAUSE;
    loop {
        match some(client, id, &mut after, sought, tell).await {
            Ok(Ok(true)) => return Ok(()),
            Ok(Ok(false)) => pause = PAUSE,
            Ok(Err(fault)) => return Err(fault),
            Err(Error::Unreachable { .. }) => pause = (pause * 2).min(Duration::from_secs(10)),
            Err(error) if error.is_passing() => pause = (pause * 2).min(Duration::from_secs(10)),
            Err(error) => return Err(fault("follow the build", error)),
        }
        tokio::time::sleep(pause).await;
    }
}

/// Tells what comes until the line breaks; true when the build has ended.
async fn some(
    client: &Client,
    id: BuildId,
    after: &mut u64,
    sought: &[(&str, String)],
    tell: &mut impl FnMut(Entry) -> Result<(), Fault>,
) -> Result<Result<bool, Fault>, Error> {
    let entries = client.follow(id, *after, sought).await?;
    let mut entries = std::pin::pin!(entries);
    let mut came = false;
    while let Some(entry) = entries.next().await {
        let entry = entry?;
        (*after, came) = (entry.seq, true);
        if let Err(fault) = tell(entry) {
            return Ok(Err(fault));
        }
    }
    // That the build ended is no end where it was told to run again. A stream that ends by itself ends with the build, unless a proxy was tired of it; then more comes when it is asked again.
    let ended = client.build(id).await.is_ok_and(|build| build.state.is_final() && (build.events <= *after || !came));
    Ok(Ok(ended))
}

/// Reads which build is meant: its id or its address.
pub fn build_id(text: &str) -> Result<BuildId, String> {
    let id = text.trim_end_matches('/').rsplit('/').next().unwrap_or(text);
    id.parse().map_err(|_| format!("`{text}` is neither a build's id nor its address"))
}

/// Returns why a call to the server came to nothing.
pub fn fault(doing: &str, error: Error) -> Fault {
    match error {
        Error::Refused(problem) => {
            let kind = if matches!(problem.status, 408 | 429 | 503) { FaultKind::Again } else { FaultKind::Farm };
            let fault = Fault::new(kind, format!("{doing}: {}", problem.title));
            let unknown =
                matches!(problem.status, 401).then(|| "the token is not, or no longer, worth anything there".into());
            problem.hint.or(unknown).into_iter().fold(fault, |fault, hint: String| fault.hint(hint))
        }
        error => Fault::farm(doing.to_owned()).because(error),
    }
}

/// Returns the page of a build.
pub fn address(server: &Url, id: BuildId) -> String {
    format!("{}/builds/{id}", server.as_str().trim_end_matches('/'))
}

/// Returns a path as seen from the working folder, where it tells absolute paths in a recipe from others.
pub fn relative(path: &Path) -> Result<PathBuf, Fault> {
    if path.is_relative() {
        return Ok(path.to_owned());
    }
    let here = std::env::current_dir().farm(|| "find the working folder".into())?;
    let shared = here.components().zip(path.components()).take_while(|(one, other)| one == other).count();
    let up = here.components().skip(shared).map(|_| std::path::Component::ParentDir);
    Ok(up.chain(path.components().skip(shared)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_named_by_id_or_address() {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        for text in [id.to_owned(), format!("https://builds.example.org/builds/{id}"), format!("http://x/builds/{id}/")]
        {
            assert_eq!(build_id(&text).unwrap().to_string(), id);
        }
        assert!(build_id("https://builds.example.org/builds").is_err());
    }
}
