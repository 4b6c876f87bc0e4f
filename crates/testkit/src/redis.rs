//! A real Redis on a port of its own, and what Redis's own client says of it.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
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

/// A Redis server that keeps nothing, in a folder of its own; it ends with this value.
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

    /// Kills it; it forgets everything.
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
