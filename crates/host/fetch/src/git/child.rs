//! The `git` command, kept short.

use std::fs;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use kiln_model::Fault;
use kiln_model::fault::OrFault as _;
use rustix::process::{Pid, Signal, kill_process_group};

use super::Bounds;

/// How often there is a look at it.
const TICK: Duration = Duration::from_millis(20);
/// Every so many looks its folder is measured.
const MEASURE: u32 = 25;
/// How much it may say, bytes.
const SAID: u64 = 64 << 20;
/// How much of its complaints is kept, bytes.
const COMPLAINTS: usize = 2000;

/// Git, in a folder of its own, until its time is over.
pub struct Git {
    folder: PathBuf,
    settings: Vec<(String, String)>,
    protocols: &'static str,
    bytes: u64,
    deadline: Instant,
}

impl Git {
    pub fn new(
        folder: &Path,
        settings: Vec<(String, String)>,
        protocols: &'static str,
        bounds: Bounds,
    ) -> Result<Self, Fault> {
        let deadline = Instant::now() + bounds.time;
        let this = Self { folder: folder.to_owned(), settings, protocols, bytes: bounds.bytes, deadline };
        fs::create_dir(this.tree()).farm(|| format!("make a folder in `{}`", folder.display()))?;
        Ok(this)
    }

    /// Returns where the files go.
    pub fn tree(&self) -> PathBuf {
        self.folder.join("tree")
    }

    /// Runs it, and returns what it says.
    pub fn run(&self, words: &[&str]) -> Result<String, Fault> {
        let doing = || format!("git {}", words.first().unwrap_or(&""));
        let mut child = self.command(words).spawn().map_err(|error| {
            let fault = Fault::farm("run `git`");
            let missing = error.kind() == std::io::ErrorKind::NotFound;
            let fault = fault.because(error);
            if missing { fault.hint("install git on this machine: apt-get install git") } else { fault }
        })?;
        let said = listen(child.stdout.take(), SAID);
        let complaints = listen(child.stderr.take(), 1 << 20);
        let status = self.watch(&mut child);
        if status.is_err() {
            let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
            let _ = child.wait();
        }
        let [said, complaints] = [said, complaints].map(|one| one.join().unwrap_or_default());
        if status?.success() {
            return String::from_utf8(said)
                .map_err(|_| Fault::recipe(format!("{}: a name in it is no UTF-8", doing())));
        }
        let complaints = String::from_utf8_lossy(&complaints);
        let last = &complaints[complaints.ceil_char_boundary(complaints.len().saturating_sub(COMPLAINTS))..];
        let first = last.lines().find_map(|line| line.strip_prefix("fatal: ")).unwrap_or("it failed");
        Err(Fault::upstream(format!("{}: {first}", doing())).detail(last))
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.args(words).current_dir(self.tree()).env_clear();
        for name in ["PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"] {
            std::env::var_os(name).map(|value| command.env(name, value));
        }
        std::env::var_os("SSL_CERT_FILE").map(|file| command.env("GIT_SSL_CAINFO", file));
        command
            .env("HOME", &self.folder)
            .env("LC_ALL", "C")
            .env("GIT_DIR", self.folder.join("git"))
            .env("GIT_WORK_TREE", self.tree())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "/bin/false")
            .env("GIT_LFS_SKIP_SMUDGE", "1")
            .env("GIT_ALLOW_PROTOCOL", self.protocols)
            .env("GIT_CONFIG_COUNT", self.settings.len().to_string());
        for (at, (key, value)) in self.settings.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{at}"), key).env(format!("GIT_CONFIG_VALUE_{at}"), value);
        }
        // A group of its own: what speaks to the server is a child of git's.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        command
    }

    /// Waits for its end, or for the end of what it may take.
    fn watch(&self, child: &mut Child) -> Result<ExitStatus, Fault> {
        for look in 1_u32.. {
            if let Some(status) = child.try_wait().farm(|| "wait for `git`".into())? {
                self.small_enough()?;
                return Ok(status);
            }
            if Instant::now() > self.deadline {
                return Err(Fault::upstream("git took too long").hint("a repository with less in it takes less"));
            }
            if look.is_multiple_of(MEASURE) {
                self.small_enough()?;
            }
            thread::sleep(TICK);
        }
        unreachable!("it looks for ever")
    }
}

impl Git {
    fn small_enough(&self) -> Result<(), Fault> {
        if size(&self.folder) <= self.bytes {
            return Ok(());
        }
        Err(Fault::recipe(format!("the repository has more than {} MiB in one commit", self.bytes >> 20)))
    }
}

fn listen(pipe: Option<impl std::io::Read + Send + 'static>, most: u64) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut said = vec![];
        if let Some(mut pipe) = pipe {
            let _ = (&mut pipe).take(most).read_to_end(&mut said);
            // Whoever is not listened to any more does not end.
            let _ = std::io::copy(&mut pipe, &mut std::io::sink());
        }
        said
    })
}

/// Returns the bytes of all files under a folder, as far as they can be seen while others write there.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let one = |entry: fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => size(&entry.path()),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    };
    entries.map(one).sum()
}
