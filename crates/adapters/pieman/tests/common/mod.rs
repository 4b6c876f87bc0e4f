//! Subscribers that are not ours, and a build to tell of.
#![allow(dead_code)]

use std::io::{BufRead as _, BufReader, PipeWriter, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use kiln_adapter_pieman::{Line, Relay, Server, Settings, Teller, relay_main};
use kiln_model::{Digest, Event, EventKind, StageId, StageKind};
pub use kiln_testkit::Redis;

/// How this Redis is reached.
pub fn server(redis: &Redis) -> Server {
    Server { port: redis.port, ..Server::default() }
}

pub fn settings(redis: &Redis, project: &str) -> Settings {
    Settings { image_id: Some(format!("{project}-image")), ..Settings::new(project, server(redis)) }
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
    pub fn python(redis: &Redis, channel: &str) -> Self {
        Self::of(Command::new("/usr/bin/python3").args(["-c", PYTHON, &redis.port.to_string(), channel]))
    }

    /// One that listens on after the end.
    pub fn python_for_ever(redis: &Redis, channel: &str) -> Self {
        Self::of(Command::new("/usr/bin/python3").args(["-c", PYTHON, &redis.port.to_string(), channel, "on"]))
    }

    pub fn cli(redis: &Redis, channel: &str) -> Self {
        Self::of(Command::new("redis-cli").args(["--raw", "-p", &redis.port.to_string(), "SUBSCRIBE", channel]))
    }

    pub fn of(command: &mut Command) -> Self {
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let (to, lines) = mpsc::channel();
        let from = BufReader::new(process.stdout.take().unwrap());
        thread::spawn(move || from.lines().map_while(Result::ok).try_for_each(|line| to.send(line)));
        Self { process, lines }
    }

    /// Returns lines until one is `last`.
    pub fn until(&self, last: &str) -> Vec<String> {
        let mut lines = vec![];
        while lines.last().is_none_or(|line| line != last) {
            let line = self.lines.recv_timeout(Duration::from_secs(30));
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

/// A build that tells a relay in a thread of this process.
pub struct Build {
    pub relay: Relay,
    pub teller: Teller,
    seq: u64,
    began: Instant,
}

impl Build {
    pub fn start(settings: &Settings) -> Self {
        let ((hear, say), (read, report)) = (std::io::pipe().unwrap(), std::io::pipe().unwrap());
        thread::spawn(move || relay_main(hear, report));
        Self::on(say, read, settings)
    }

    pub fn on(say: PipeWriter, read: impl Read + Send + 'static, settings: &Settings) -> Self {
        let relay = Relay::start(Line { to: Box::new(say), from: Box::new(read) }, settings);
        Self { teller: relay.teller(), relay, seq: 0, began: Instant::now() }
    }

    pub fn tell(&mut self, kind: EventKind) {
        self.seq += 1;
        let at = self.began.elapsed().as_millis() as u64;
        self.teller.event(&Event { seq: self.seq, at, kind });
    }

    pub fn started(&mut self) {
        let stages = StageKind::ALL.to_vec();
        self.tell(EventKind::Started { name: "edge".into(), stages });
    }

    pub fn finish(&mut self, stage: StageKind) {
        let id = StageId(Digest::of(stage.name()));
        self.tell(EventKind::StageStarted { stage, id });
        self.line(Some(stage), &format!("working on {stage}"));
        self.tell(EventKind::StageFinished { stage, id, millis: 5, code: stage.code() });
    }

    pub fn line(&mut self, stage: Option<StageKind>, line: &str) {
        self.tell(EventKind::Log { stage, source: "dpkg".into(), line: line.into() });
    }

    pub fn end_well(&mut self) {
        self.tell(EventKind::Finished { millis: 1 });
    }

    /// Tells a whole build.
    pub fn whole(&mut self) {
        self.started();
        StageKind::ALL.into_iter().for_each(|stage| self.finish(stage));
        self.end_well();
    }
}

pub const IMAGE: [u16; 15] = [10, 20, 21, 30, 31, 32, 33, 40, 50, 60, 70, 80, 81, 82, 1000];

/// Codes as Python shows payloads.
pub fn python(codes: &[u16]) -> Vec<String> {
    codes.iter().map(|code| format!("b'{code}'")).collect()
}

pub fn wait_for(path: &Path) -> PathBuf {
    kiln_testkit::eventually(&format!("{} appears", path.display()), || path.exists());
    path.to_owned()
}
