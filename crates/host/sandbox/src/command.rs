//! What runs in a sandbox, under which limits, and how it ended.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use kiln_model::GuestPath;
use serde::{Deserialize, Serialize};

use crate::{Foreign, Result};

/// A place where commands run.
pub trait Sandbox: Send + Sync {
    /// Runs `command` to its end, hands on what it writes as it comes, and leaves nothing of it behind.
    ///
    /// A command that fails, is killed or exceeds a limit is an [`Exit`]; an error means that the sandbox itself failed
    /// or that kiln was told to stop ([`Error::Interrupted`](crate::Error::Interrupted)).
    fn run(&self, command: &Command, output: &mut dyn FnMut(Stream, &[u8])) -> Result<Exit>;

    /// Returns what it runs of other architectures.
    fn foreign(&self) -> Foreign;
}

/// A program, its root, and everything it gets to see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Directory that becomes `/`; `/proc`, `/sys`, `/dev`, `/run` and `/tmp` are made in it when missing.
    #[serde(with = "os")]
    pub root: PathBuf,
    /// Folder where what is written to the root ends up, when that is not `root` itself: the upper layer of an overlay.
    #[serde(skip)]
    pub written: Option<PathBuf>,
    /// The program, an absolute guest path or a name looked up in `PATH` of [`Command::env`], and its arguments.
    pub argv: Vec<String>,
    /// The whole environment; nothing is inherited.
    pub env: BTreeMap<String, String>,
    /// Working directory, `/` by default.
    pub cwd: GuestPath,
    /// What the program reads from its standard input; empty means `/dev/null`. Not used with [`Command::terminal`].
    #[serde(skip)]
    pub stdin: Vec<u8>,
    pub binds: Vec<Bind>,
    /// What runs programs that this machine cannot, where the kernel lets a sandbox register it (Linux 6.7 and newer).
    pub emulators: Vec<Emulator>,
    pub limits: Limits,
    pub hostname: String,
    /// Device nodes of the host to lend, under the same path, as in `/dev/kvm`.
    pub devices: Vec<PathBuf>,
    pub network: Network,
    /// Attaches the caller's terminal in place of captured output: for `kiln shell` and the console of a guest.
    pub terminal: bool,
    /// The tree need not survive a power cut: fsync and its sisters answer at once without doing anything.
    pub throwaway: bool,
    /// Nothing in `root` can be changed; `/run`, `/tmp` and writable binds still can.
    pub read_only_root: bool,
}

impl Command {
    /// Returns a command with `argv` in `root`, the usual `PATH`, no limits, no network, and a throw-away tree.
    pub fn new<S: Into<String>>(root: impl Into<PathBuf>, argv: impl IntoIterator<Item = S>) -> Self {
        let env = [
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            ("HOME", "/root"),
            ("LC_ALL", "C.UTF-8"),
        ];
        Self {
            root: root.into(),
            written: None,
            argv: argv.into_iter().map(Into::into).collect(),
            env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            cwd: GuestPath::root(),
            stdin: Vec::new(),
            binds: Vec::new(),
            emulators: Vec::new(),
            limits: Limits::default(),
            hostname: "localhost".into(),
            devices: Vec::new(),
            network: Network::None,
            terminal: false,
            throwaway: true,
            read_only_root: false,
        }
    }

    /// Adds a file or directory of the host.
    #[must_use]
    pub fn bind(mut self, host: impl Into<PathBuf>, guest: GuestPath, read_only: bool) -> Self {
        self.binds.push(Bind { host: host.into(), guest, read_only });
        self
    }

    /// Sets one variable of the environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Returns the program's name for messages.
    pub fn program(&self) -> &str {
        self.argv.first().map_or("", String::as_str)
    }
}

/// A file or directory of the host that the command sees at `guest`; the mount point is made, and removed afterwards,
/// when the tree has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    #[serde(with = "os")]
    pub host: PathBuf,
    pub guest: GuestPath,
    pub read_only: bool,
}

/// A program of the host that runs those of another architecture, told by their first bytes (`binfmt_misc`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Emulator {
    /// Unique among a command's emulators, without `/`.
    pub name: String,
    /// What a program begins with, at most 256 bytes.
    pub magic: Vec<u8>,
    /// The bits of `magic` that count, as many bytes; empty: all.
    pub mask: Vec<u8>,
    /// Statically linked: the tree has no libraries for it.
    #[serde(with = "os")]
    pub program: PathBuf,
}

/// What a command may use; `None` is without limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory of all its processes together, files in `/run`, `/tmp` and `/dev/shm` included.
    pub memory: Option<u64>,
    /// Processes and threads at the same time.
    pub processes: Option<u32>,
    /// Bytes on disk that it adds to its tree and to what is bound to it writable; also the length of any one file.
    pub disk: Option<u64>,
    /// From start to end.
    pub time: Option<Duration>,
}

/// Which network a command sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// A loopback device and nothing else.
    #[default]
    None,
    /// The host's.
    Host,
}

/// Which of its outputs a command wrote to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    Stdout,
    Stderr,
}

/// How a command ended and what it used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    pub status: Status,
    /// Ended because of [`Limits::time`].
    pub timed_out: bool,
    /// Ended because of [`Limits::memory`].
    pub out_of_memory: bool,
    /// Ended because of [`Limits::processes`].
    pub too_many_processes: bool,
    /// Ended because of [`Limits::disk`].
    pub out_of_disk: bool,
    /// User and system time of all its processes.
    pub cpu: Duration,
    /// Largest resident size of any one process, in bytes.
    pub max_rss: u64,
    /// Time from start to end.
    pub wall: Duration,
}

impl Exit {
    /// Returns whether the program ended by itself with status 0.
    pub fn success(&self) -> bool {
        self.status == Status::Code(0) && !self.limited()
    }

    /// Returns whether a limit ended it.
    pub fn limited(&self) -> bool {
        self.timed_out || self.out_of_memory || self.too_many_processes || self.out_of_disk
    }

    /// Returns an exit with `code` and nothing used: what a recording answers.
    pub fn code(code: i32) -> Self {
        Self {
            status: Status::Code(code),
            timed_out: false,
            out_of_memory: false,
            too_many_processes: false,
            out_of_disk: false,
            cpu: Duration::ZERO,
            max_rss: 0,
            wall: Duration::ZERO,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.timed_out {
            write!(f, "stopped after {:.1} s by its time limit", self.wall.as_secs_f64())
        } else if self.out_of_memory {
            f.write_str("killed by its memory limit")
        } else if self.too_many_processes {
            f.write_str("killed by its limit of processes")
        } else if self.out_of_disk {
            f.write_str("killed by its disk limit")
        } else {
            self.status.fmt(f)
        }
    }
}

/// A code, or the signal that killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Code(i32),
    Signal(i32),
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit status {code}"),
            Self::Signal(signal) => write!(f, "killed by signal {signal}"),
        }
    }
}

/// Paths as their bytes, so that those that are not UTF-8 travel too.
mod os {
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        path.as_os_str().as_bytes().serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        Ok(OsString::from_vec(Vec::deserialize(deserializer)?).into())
    }
}
