//! What the commands of the farm have in common: here async begins.

use std::future::Future;

use kiln_farm_server::error::Error;
use kiln_model::Fault;
use kiln_model::fault::OrFault as _;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Starts what runs async code.
pub fn runtime() -> Result<Runtime, Fault> {
    Builder::new_multi_thread().enable_all().build().farm(|| "start threads".into())
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
