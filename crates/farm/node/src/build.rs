//! One build: a kiln is started, its events are read into the spool, and how it ended is told apart.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use kiln_farm_api::Work;
use kiln_farm_api::points::{self, Point};
use kiln_farm_api::secret::Values;
use kiln_farm_api::task::Failure;
use kiln_model::{Event, EventKind, FaultKind};
use tokio::io::AsyncRead;
use tokio::time::{Instant, sleep_until, timeout};

use crate::child::{Child, Order, RECORD};
use crate::config::Config;
use crate::lines::Lines;
use crate::spool::Spool;
use crate::stop::Stop;

/// Lines of stderr that are kept for a child that ends without saying why.
const LAST_WORDS: usize = 40;
/// How long a child's output may stay open after it has ended.
const ECHO: Duration = Duration::from_secs(2);

/// How a build ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    Well,
    Badly(Failure),
    /// It was stopped: there is nothing to tell, and whoever holds the lease next does it anew.
    Stopped,
}

/// Where a task's things lie.
#[derive(Debug)]
pub struct Place<'a> {
    pub work: &'a Path,
    pub bundle: &'a Path,
    pub out: &'a Path,
    /// The socket where stages of other nodes are asked for.
    pub stages: Option<&'a Path>,
    /// What its recipe's secrets are.
    pub secrets: &'a Values,
}

/// Runs a kiln on a bundle until it has ended or was stopped.
pub async fn run(config: &Config, work: &Work, place: &Place<'_>, story: &mut Story, stop: &Stop) -> Ended {
    let (child, stdout, stderr) = match Child::start(&order(config, work, place)) {
        Ok(started) => started,
        Err(error) => return Ended::Badly(farm(format!("start `{}`: {error}", config.kiln.display()))),
    };
    let last_words = tokio::spawn(last_words(stderr));
    let status = attend(child, stdout, story, stop, config.grace).await;
    let last_words = timeout(ECHO, last_words).await.ok().and_then(Result::ok).unwrap_or_default();
    if stop.is_asked() {
        return Ended::Stopped;
    }
    let failed = story.failed.clone();
    if failed.is_none() && !status.as_ref().is_ok_and(ExitStatus::success) {
        last_words.iter().for_each(|line| story.log("kiln", line));
    }
    judge(status, failed)
}

fn order<'a>(config: &'a Config, work: &Work, place: &Place<'a>) -> Order<'a> {
    let Work::Image { recipe, profiles, set, epoch, no_verify, update, .. } = work;
    let mut arguments: Vec<OsString> = vec!["build".into(), "--out".into(), place.out.into()];
    arguments.extend(["--contents", "--events", "json", "--plain", "--tether", "--within"].map(OsString::from));
    arguments.push(place.bundle.into());
    if let Some(socket) = place.stages {
        arguments.extend(["--stages".into(), socket.into()]);
    }
    // One word each, so that none of them passes for a flag.
    arguments.extend(profiles.iter().map(|profile| format!("--profile={profile}").into()));
    arguments.extend(set.iter().map(|(key, value)| format!("--set={key}={value}").into()));
    arguments.extend(no_verify.then(|| "--no-verify".into()));
    arguments.extend(update.then(|| "--update".into()));
    let secrets = Some(place.secrets).filter(|secrets| !secrets.values.is_empty());
    arguments.extend(secrets.map(|_| "--secrets".into()));
    arguments.extend(["--".into(), recipe.into()]);
    let mut environment = vec![("KILN_CACHE", config.cache.clone().into_os_string())];
    environment.extend(epoch.map(|epoch| ("SOURCE_DATE_EPOCH", epoch.to_string().into())));
    let record = place.work.join(RECORD);
    Order { program: &config.kiln, arguments, folder: place.bundle, environment, secrets, record }
}

/// Reads what the child says until it has ended; tells it to stop when that is wished.
async fn attend(
    mut child: Child,
    stdout: impl AsyncRead + Unpin,
    story: &mut Story,
    stop: &Stop,
    grace: Duration,
) -> io::Result<ExitStatus> {
    let mut lines = Lines::new(stdout);
    let (mut ended, mut deadline) = (None, None);
    let (mut open, mut asked, mut killed) = (true, false, false);
    while open || ended.is_none() {
        let late = sleep_until(deadline.unwrap_or_else(Instant::now));
        tokio::select! {
            line = lines.next(), if open => match line {
                Ok(Some(line)) => story.line(&line),
                _ => open = false,
            },
            status = child.ended(), if ended.is_none() => {
                ended = Some(status);
                deadline = Some(Instant::now() + ECHO);
            }
            () = stop.asked(), if !asked => {
                asked = true;
                child.ask();
                deadline = deadline.or_else(|| Some(Instant::now() + grace));
            }
            () = late, if deadline.is_some() => {
                // Whoever still holds its output when it is gone was left behind by it.
                open &= !(killed && ended.is_some());
                killed = true;
                child.kill();
                deadline = Some(Instant::now() + ECHO);
            }
        }
    }
    ended.unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()))
}

/// Reads stderr to its end and returns the last lines of it.
async fn last_words(stderr: impl AsyncRead + Unpin) -> VecDeque<String> {
    let (mut lines, mut last) = (Lines::new(stderr), VecDeque::new());
    while let Ok(Some(line)) = lines.next().await {
        if last.len() == LAST_WORDS {
            last.pop_front();
        }
        last.push_back(String::from_utf8_lossy(&line).into_owned());
    }
    last
}

/// Decides how a build ended: by what it said of itself, else by how its process did.
fn judge(status: io::Result<ExitStatus>, failed: Option<Failure>) -> Ended {
    let status = match status {
        Err(error) => return Ended::Badly(farm(format!("wait for kiln: {error}"))),
        Ok(status) => status,
    };
    match (failed, status.code()) {
        // Nobody here stopped it: this machine goes down, or somebody on it had his reasons. The task is not to blame.
        (Some(Failure { fault: FaultKind::Interrupted, .. }), _) | (None, Some(130)) => Ended::Stopped,
        (Some(failure), _) => Ended::Badly(failure),
        (None, Some(0)) => Ended::Well,
        (None, Some(code)) => {
            let message = format!("kiln ended with exit code {code} and did not say why");
            Ended::Badly(Failure { fault: fault_of(code), message, hint: None })
        }
        (None, None) => {
            let signal = status.signal().unwrap_or_default();
            Ended::Badly(farm(format!("kiln was ended by signal {signal}")))
        }
    }
}

/// Returns whose fault an exit code means.
fn fault_of(code: i32) -> FaultKind {
    use FaultKind::{Again, Farm, Recipe, Upstream};
    let all = [Recipe, Upstream, Again];
    all.into_iter().find(|kind| i32::from(kind.exit_code()) == code).unwrap_or(Farm)
}

pub fn farm(message: String) -> Failure {
    Failure { fault: FaultKind::Farm, message, hint: None }
}

/// A task's events on their way to the spool, told by one clock.
#[derive(Debug)]
pub struct Story {
    spool: Spool,
    began: Instant,
    /// How much later the child's stream began than this one.
    offset: Option<u64>,
    /// The last failure the child told.
    failed: Option<Failure>,
    /// When the last event was: time does not run back, whoever tells it.
    last: u64,
}

impl Story {
    pub fn begin(spool: Spool) -> Self {
        Self { spool, began: Instant::now(), offset: None, failed: None, last: 0 }
    }

    pub fn tell(&mut self, kind: EventKind) {
        self.push(self.now(), kind);
    }

    pub fn log(&mut self, source: &str, line: &str) {
        self.tell(EventKind::Log { stage: None, source: source.to_owned(), line: line.to_owned() });
    }

    /// Ends it: with the failure, unless the child has told one.
    pub fn end(mut self, failure: Option<&Failure>) -> io::Result<()> {
        if let Some(Failure { fault, message, hint }) = failure.filter(|_| self.failed.is_none()) {
            let (message, hint) = (message.clone(), hint.clone());
            let diagnostics = Vec::new();
            self.tell(EventKind::Failed { stage: None, fault: *fault, message, hint, detail: None, diagnostics });
        }
        self.spool.close()
    }

    /// Takes in a line of the child's stdout; one that is no event is told as it is.
    fn line(&mut self, line: &[u8]) {
        let Ok(event) = serde_json::from_slice::<Event>(line) else {
            return self.log("kiln", &String::from_utf8_lossy(line));
        };
        if let EventKind::Failed { fault, message, hint, .. } = &event.kind {
            self.failed = Some(Failure { fault: *fault, message: message.clone(), hint: hint.clone() });
        }
        if matches!(event.kind, EventKind::StageStarted { .. }) {
            points::pass(Point::Building);
        }
        let now = self.now();
        let offset = *self.offset.get_or_insert(now.saturating_sub(event.at));
        self.push(event.at.saturating_add(offset), event.kind);
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// A disk that takes no more events will not take the image either, and the kiln says so.
    fn push(&mut self, at: u64, kind: EventKind) {
        self.last = self.last.max(at);
        if let Err(error) = self.spool.push(self.last, kind) {
            tracing::error!("keep an event: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(fault: FaultKind) -> Failure {
        Failure { fault, message: "x".into(), hint: None }
    }

    #[test]
    fn what_it_says_counts_for_more_than_its_exit_code() {
        let exited = |code: i32| Ok(ExitStatus::from_raw(code << 8));
        let fault = |ended| match ended {
            Ended::Badly(failure) => failure.fault,
            other => panic!("{other:?}"),
        };
        assert_eq!(judge(exited(0), None), Ended::Well);
        assert_eq!(judge(exited(1), Some(failure(FaultKind::Package))), Ended::Badly(failure(FaultKind::Package)));
        assert_eq!(judge(exited(130), None), Ended::Stopped);
        assert_eq!(judge(exited(130), Some(failure(FaultKind::Interrupted))), Ended::Stopped);
        let by_code = [1, 2, 3, 4, 75, 101].map(|code| fault(judge(exited(code), None)));
        use FaultKind::{Again, Farm, Recipe, Upstream};
        assert_eq!(by_code, [Recipe, Farm, Upstream, Farm, Again, Farm]);
        let killed = judge(Ok(ExitStatus::from_raw(9)), None);
        assert_eq!(killed, Ended::Badly(farm("kiln was ended by signal 9".into())));
    }
}
