//! Subscribers that are not ours, and a build to tell of.
#![allow(dead_code)]

use std::io::{PipeWriter, Read};
use std::path::{Path, PathBuf};

use std::thread;
use std::time::Instant;

use kiln_adapter_pieman::{Line, Relay, Server, Settings, Teller, relay_main};
use kiln_model::{Digest, Event, EventKind, StageId, StageKind};
pub use kiln_testkit::{Listener, Redis};

/// How this Redis is reached.
pub fn server(redis: &Redis) -> Server {
    Server { port: redis.port, ..Server::default() }
}

pub fn settings(redis: &Redis, project: &str) -> Settings {
    Settings { image_id: Some(format!("{project}-image")), ..Settings::new(project, server(redis)) }
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
