//! A real Redis on a port of its own, and what Redis's own client says of it.

use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// Ports that the kernel gives nobody who asks for any.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Returns a port of 127.0.0.1 that nobody listens on, and that no other test is given meanwhile.
pub fn free_port() -> u16 {
    static ASKED: AtomicU16 = AtomicU16::new(0);
    let many = u32::from(PORTS.end - PORTS.start);
    loop {
        // Tests that run at once are processes with numbers of their own: seven ports for each.
        let number = std::process::id() * 7 + u32::from(ASKED.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + (number % many) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Waits until something holds, for a minute at most.
#[track_caller]
pub fn eventually(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A Redis server in a folder of its own, which keeps nothing unless it is told to; it ends with this value.
#[derive(Debug)]
pub struct Redis {
    pub port: u16,
    pub folder: tempfile::TempDir,
    words: Vec<String>,
    process: Option<Child>,
}

impl Redis {
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts it with these further words on its command line; with a certificate among them it speaks TLS alone.
    pub fn with(words: &[&str]) -> Self {
        let mut redis = Self::absent();
        redis.words = words.iter().map(|word| (*word).to_owned()).collect();
        redis.up();
        redis
    }

    /// Starts one that has on its disk what it has answered, and finds it there again.
    pub fn keeping() -> Self {
        Self::with(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// One that does not run yet.
    pub fn absent() -> Self {
        let folder = tempfile::tempdir().expect("a folder for Redis");
        Self { port: free_port(), folder, words: vec![], process: None }
    }

    pub fn up(&mut self) {
        let mut command = Command::new("redis-server");
        let port = self.port.to_string();
        let secured = self.words.iter().any(|word| word == "--tls-cert-file");
        command.args(if secured { ["--port", "0", "--tls-port"].as_slice() } else { &["--port"] }).arg(port);
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]).args(&self.words);
        command.current_dir(self.folder.path()).stdout(Stdio::null());
        self.process = Some(command.spawn().expect("redis-server is there: scripts/setup --tests"));
        eventually("redis-server starts", || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }

    /// Kills it; it forgets everything, unless it keeps it.
    pub fn down(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("Redis can be killed");
            process.wait().expect("Redis can be waited for");
        }
    }

    /// Returns what redis-cli prints.
    pub fn cli(&self, words: &[&str]) -> String {
        let port = self.port.to_string();
        let out =
            Command::new("timeout").args(["20", "redis-cli", "-h", "localhost", "-p", &port]).args(words).output();
        String::from_utf8(out.expect("redis-cli is there: scripts/setup --tests").stdout).expect("it prints text")
    }

    /// Waits until a channel has so many listeners.
    #[track_caller]
    pub fn heard_by(&self, channel: &str, count: usize) {
        let count = format!("\n{count}\n");
        eventually("the channel is heard", || self.cli(&["PUBSUB", "NUMSUB", channel]).ends_with(&count));
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.down();
    }
}

/// A listener in a process of its own, and the lines it prints.
pub struct Listener {
    process: Child,
    lines: Receiver<String>,
}

/// Prints payloads as Python shows bytes; subscribes again when Redis was away; ends with the build.
const PYTHON: &str = "
import redis, sys, time
while True:
    try:
        listener = redis.Redis(port=int(sys.argv[1])).pubsub()
        listener.subscribe(sys.argv[2])
        for message in listener.listen():
            if message['type'] == 'message':
                print(repr(message['data']), flush=True)
                if message['data'] in (b'1000', b'1001') and len(sys.argv) < 4:
                    sys.exit()
    except redis.exceptions.ConnectionError:
        time.sleep(0.05)
";

impl Listener {
    /// One that ends with the build.
    pub fn python(redis: &Redis, channel: &str) -> Self {
        Self::of(Command::new("/usr/bin/python3").args(["-c", PYTHON, &redis.port.to_string(), channel]))
    }

    /// One that listens on after the end.
    pub fn python_for_ever(redis: &Redis, channel: &str) -> Self {
        Self::of(Command::new("/usr/bin/python3").args(["-c", PYTHON, &redis.port.to_string(), channel, "on"]))
    }

    /// What `redis-cli` prints: three lines for each message, the payload last. It ends when Redis does.
    pub fn cli(redis: &Redis, channel: &str) -> Self {
        Self::of(Command::new("redis-cli").args(["--raw", "-p", &redis.port.to_string(), "SUBSCRIBE", channel]))
    }

    /// A program whose lines are read.
    pub fn of(command: &mut Command) -> Self {
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let (to, lines) = mpsc::channel();
        let from = BufReader::new(process.stdout.take().unwrap());
        thread::spawn(move || from.lines().map_while(Result::ok).try_for_each(|line| to.send(line)));
        Self { process, lines }
    }

    /// Returns lines until one is `last`; real builds may be silent for minutes.
    #[track_caller]
    pub fn until(&self, last: &str) -> Vec<String> {
        let mut lines = vec![];
        while lines.last().is_none_or(|line| line != last) {
            let line = self.lines.recv_timeout(Duration::from_secs(300));
            lines.push(line.unwrap_or_else(|_| panic!("{last} comes; so far: {lines:?}")));
        }
        lines
    }

    /// Returns what else comes in a while.
    pub fn more(&self, patience: Duration) -> Vec<String> {
        std::iter::from_fn(|| self.lines.recv_timeout(patience).ok()).collect()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
