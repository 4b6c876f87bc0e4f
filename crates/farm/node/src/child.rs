//! The kiln that builds: started in a process group of its own, on a tether, and stopped.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use kiln_farm_api::secret::Values;
use rustix::process::{Pid, Signal};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinSet;

/// A process that stops when told, and also when the node is no more: its standard input ends then, and it was started with
/// `--tether`.
#[derive(Debug)]
pub struct Child {
    process: tokio::process::Child,
    id: Option<Pid>,
    /// Its standard input, open as long as this lives; whoever writes to it gives it back here.
    _tether: JoinSet<ChildStdin>,
}

/// Where the child of some work is written down, so that a later node can see it gone.
pub const RECORD: &str = "child";

/// What a child is given of the node's environment: nothing that a recipe should not see.
const KEPT: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "TMPDIR",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "KILN_CACHE_LIMIT",
    "KILN_JOBS",
    "KILN_EMULATORS",
    "KILN_NATIVE_HELPERS",
    "RUST_BACKTRACE",
];
const KEPT_PREFIX: &str = "KILN_MIRROR_";

/// What to start and where.
#[derive(Debug)]
pub struct Order<'a> {
    pub program: &'a Path,
    pub arguments: Vec<OsString>,
    pub folder: &'a Path,
    pub environment: Vec<(&'static str, OsString)>,
    /// What comes first on its standard input, where it was started with `--secrets`.
    pub secrets: Option<&'a Values>,
    /// Where it is written down.
    pub record: PathBuf,
}

impl Child {
    /// Starts it; returns it with what it says.
    pub fn start(order: &Order<'_>) -> io::Result<(Self, ChildStdout, ChildStderr)> {
        let mut command = Command::new(order.program);
        command.args(&order.arguments).current_dir(order.folder).env_clear().envs(kept());
        command.envs(order.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.process_group(0).kill_on_drop(true).spawn()?;
        let id = process.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(id) = id {
            fs::write(&order.record, record(id))?;
        }
        match (process.stdin.take(), process.stdout.take(), process.stderr.take()) {
            (Some(stdin), Some(stdout), Some(stderr)) => {
                Ok((Self { process, id, _tether: tether(stdin, order.secrets)? }, stdout, stderr))
            }
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Returns how it ended, once it has; may be asked again.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.process.wait().await
    }

    /// Asks it to stop: it cleans up and ends by itself.
    pub fn ask(&self) {
        if let (Some(id), Some(_)) = (self.id, self.process.id()) {
            let _ = rustix::process::kill_process(id, Signal::TERM);
        }
    }

    /// Kills it and whatever it has started in its group.
    pub fn kill(&self) {
        if let Some(id) = self.id {
            let _ = rustix::process::kill_process_group(id, Signal::KILL);
        }
    }
}

/// Lets a kiln remove from its cache what nobody uses, until `wanted` bytes are free on its disk; returns what it says of that.
pub async fn collect(program: &Path, cache: &Path, wanted: u64) -> io::Result<String> {
    let mut command = Command::new(program);
    command.args(["cache", "gc", "--keep-free", &wanted.to_string(), "--cache"]).arg(cache).env_clear().envs(kept());
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(said) } else { Err(io::Error::other(said)) }
}

/// Says secrets on a standard input, in one line, and holds it from then on. They are in no argument, no environment and no file, where
/// others could read them.
fn tether(mut stdin: ChildStdin, secrets: Option<&Values>) -> io::Result<JoinSet<ChildStdin>> {
    let line = secrets.map(|secrets| serde_json::to_vec(&secrets.values)).transpose()?;
    let mut holding = JoinSet::new();
    holding.spawn(async move {
        if let Some(mut line) = line {
            line.push(b'\n');
            // A child that has ended already says itself why.
            let _ = stdin.write_all(&line).await;
        }
        stdin
    });
    Ok(holding)
}

fn kept() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| {
        let name = name.to_str().unwrap_or_default();
        KEPT.contains(&name) || name.starts_with(KEPT_PREFIX)
    })
}

/// Returns a process's number and when it began: together nobody else's.
fn record(id: Pid) -> String {
    let id = id.as_raw_nonzero();
    format!("{id} {}", began(id.get()).unwrap_or_default())
}

fn began(id: i32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let rest = stat.rsplit_once(") ")?.1;
    // A zombie has ended, whoever is to bury it.
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    fields.nth(18).filter(|_| state != "Z").map(str::to_owned)
}

/// Waits until the child written down in `record` is gone; one that does not go is killed with its group after `grace`.
pub fn see_off(record: &Path, grace: Duration) {
    let Some((id, since)) = fs::read_to_string(record).ok().as_deref().and_then(read_record) else { return };
    let is_there = || began(id.as_raw_nonzero().get()).as_deref() == Some(since.as_str());
    let until = Instant::now() + grace;
    if is_there() {
        // Its tether has told it already.
        let _ = rustix::process::kill_process(id, Signal::TERM);
    }
    while is_there() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    if is_there() {
        let _ = rustix::process::kill_process_group(id, Signal::KILL);
    }
}

fn read_record(text: &str) -> Option<(Pid, String)> {
    let (id, since) = text.trim().split_once(' ')?;
    Some((Pid::from_raw(id.parse().ok().filter(|id| *id > 1)?)?, since.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_known_by_its_number_and_its_beginning() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(RECORD);
        let mut process = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let id = Pid::from_child(&process);
        fs::write(&path, format!("{} 1", id.as_raw_nonzero())).unwrap();
        see_off(&path, Duration::from_secs(1));
        assert!(process.try_wait().unwrap().is_none(), "another process of the same number is left alone");
        fs::write(&path, record(id)).unwrap();
        see_off(&path, Duration::from_secs(5));
        assert!(process.wait().unwrap().code().is_none());
    }

    #[test]
    fn records_are_read_with_care() {
        assert!(read_record("12 345\n").is_some());
        for text in ["", "12", "x 1", "0 1", "-1 1", "1 1"] {
            assert!(read_record(text).is_none(), "{text}");
        }
    }
}
