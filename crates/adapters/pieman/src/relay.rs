//! The relay: a process of its own that hears a build's events through a pipe and publishes them.
//!
//! A build can be killed before it says how it ended. The relay cannot be killed along with it (it is in a process group of
//! its own), and when its pipe ends without an end of the story, it tells the end itself: 1001, once.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread;
use std::time::Duration;

use kiln_model::{Event, EventKind};
use serde::{Deserialize, Serialize};

use crate::publish::{Addresses, Delivery, Publisher, Stream};
use crate::story::Story;
use crate::{Settings, names};

/// How long the relay takes for its first word, at most: a little more than one try to connect.
const FIRST: Duration = Duration::from_millis(2500);

/// How long an ended build waits until its relay has heard so.
const HEARING: Duration = Duration::from_secs(2);

/// So many events may wait for the pipe; beyond that lines and progress are left out.
const BACKLOG: usize = 50_000;

/// What the relay says: once whether Redis is there, once how it went.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Report {
    Reached(Option<String>),
    Ended(Delivery),
}

/// The relay's standard input and output, seen from the build.
pub struct Line {
    pub to: Box<dyn Write + Send>,
    pub from: Box<dyn Read + Send>,
}

/// A build's hold on its relay.
pub struct Relay {
    teller: Teller,
    reports: Receiver<Report>,
    flush: Duration,
}

/// Tells events to a relay; never waits for it, except for the moment in which the build ends.
#[derive(Clone)]
pub struct Teller {
    frames: Sender<Frame>,
    backlog: Arc<AtomicUsize>,
}

enum Frame {
    Text(String),
    Heard(SyncSender<()>),
    End,
}

impl Relay {
    /// Takes up the line to a process that runs [`relay_main`].
    pub fn start(line: Line, settings: &Settings) -> Self {
        let (frames, queue) = mpsc::channel();
        let (reporter, reports) = mpsc::channel();
        let backlog = Arc::new(AtomicUsize::new(0));
        let (to, from, waiting) = (line.to, line.from, Arc::clone(&backlog));
        thread::spawn(move || write(to, &queue, &waiting));
        thread::spawn(move || {
            BufReader::new(from).lines().map_while(Result::ok).try_for_each(|line| report(&reporter, &line))
        });
        let teller = Teller { frames, backlog };
        teller.say(serde_json::to_string(settings).expect("settings serialise"));
        Self { teller, reports, flush: settings.flush }
    }

    /// Returns a sink for the build's events.
    pub fn teller(&self) -> Teller {
        self.teller.clone()
    }

    /// Waits for the relay's word whether Redis is there; why not, if not. Ask once, before the build.
    pub fn reached(&self) -> Result<(), String> {
        match self.reports.recv_timeout(FIRST + HEARING) {
            Ok(Report::Reached(why)) => why.map_or(Ok(()), Err),
            Ok(Report::Ended(_)) | Err(RecvTimeoutError::Disconnected) => Err("the relay ended".into()),
            Err(RecvTimeoutError::Timeout) => Err("no answer yet".into()),
        }
    }

    /// Ends the story, and waits a bounded time for what came of it.
    pub fn close(self) -> Delivery {
        let _ = self.teller.frames.send(Frame::End);
        loop {
            match self.reports.recv_timeout(self.flush + FIRST + HEARING) {
                Ok(Report::Reached(_)) => {}
                Ok(Report::Ended(delivery)) => return delivery,
                Err(_) => {
                    let note = "the relay to Redis ended before it said what was delivered".to_owned();
                    return Delivery { notes: vec![note], ..Delivery::default() };
                }
            }
        }
    }
}

impl Teller {
    /// Tells an event. After the last one, what comes now can be killed: the relay knows.
    pub fn event(&mut self, event: &Event) {
        let may = matches!(event.kind, EventKind::Progress { .. } | EventKind::Log { .. });
        if may && self.backlog.load(Ordering::Relaxed) > BACKLOG {
            return;
        }
        self.say(serde_json::to_string(event).expect("events serialise"));
        if matches!(event.kind, EventKind::Finished { .. } | EventKind::Failed { .. }) {
            let (heard, hear) = mpsc::sync_channel(1);
            let _ = self.frames.send(Frame::Heard(heard));
            let _ = hear.recv_timeout(HEARING);
        }
    }

    fn say(&self, text: String) {
        self.backlog.fetch_add(1, Ordering::Relaxed);
        let _ = self.frames.send(Frame::Text(text));
    }
}

/// Writes frames, one a line, until the end or until nobody reads them.
fn write(mut to: Box<dyn Write + Send>, queue: &Receiver<Frame>, backlog: &AtomicUsize) {
    for frame in queue {
        match frame {
            Frame::Text(text) => {
                backlog.fetch_sub(1, Ordering::Relaxed);
                if to.write_all((text + "\n").as_bytes()).is_err() {
                    return;
                }
            }
            Frame::Heard(heard) => drop(heard.try_send(())),
            Frame::End => return,
        }
    }
}

fn report(reporter: &Sender<Report>, line: &str) -> Option<()> {
    serde_json::from_str(line).map_or(Some(()), |report| reporter.send(report).ok())
}

/// Lives as a relay: reads settings and then events, one a line, and publishes them until the story or the input ends.
pub fn relay_main(input: impl Read, output: impl Write + Send) -> ExitCode {
    let mut lines = BufReader::new(input).lines().map_while(Result::ok);
    let Some(settings) = lines.next().and_then(|line| serde_json::from_str::<Settings>(&line).ok()) else {
        return ExitCode::from(2);
    };
    let publisher = Publisher::start(settings.redis.clone(), addresses(&settings));
    let output = Mutex::new(output);
    thread::scope(|scope| {
        scope.spawn(|| say(&output, &Report::Reached(publisher.reached(FIRST).err())));
        retell(lines, &publisher);
    });
    say(&output, &Report::Ended(publisher.finish(settings.flush)));
    ExitCode::SUCCESS
}

/// Publishes the story, and its end in any case.
fn retell(lines: impl Iterator<Item = String>, publisher: &Publisher) {
    let mut story = Story::default();
    for event in lines.filter_map(|line| serde_json::from_str::<Event>(&line).ok()) {
        story.tell(&event).into_iter().for_each(|post| publisher.post(post));
        if story.is_over() {
            return;
        }
    }
    story.cut_off().into_iter().for_each(|post| publisher.post(post));
}

pub(crate) fn addresses(settings: &Settings) -> Addresses {
    let Settings { project, image_id, keep, keep_for, .. } = settings;
    let stream = Stream { key: names::stream(project), keep: *keep, keep_for: *keep_for, base: None };
    Addresses {
        codes: names::codes(project),
        events: Some(names::events(project)),
        log: image_id.as_deref().map(names::log),
        stream: Some(stream),
    }
}

/// A build that is gone reads no reports.
fn say(output: &Mutex<impl Write>, report: &Report) {
    let line = serde_json::to_string(report).expect("reports serialise") + "\n";
    let _ =
        output.lock().map(|mut output| output.write_all(line.as_bytes()).and_then(|()| io::Write::flush(&mut *output)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_redis_a_relay_still_ends() {
        let server = crate::Server { port: 1, ..crate::Server::default() };
        let settings = Settings { flush: Duration::from_millis(200), ..Settings::new("x", server) };
        let input = serde_json::to_string(&settings).unwrap()
            + "\n{\"seq\":1,\"at\":0,\"event\":\"warning\",\"message\":\"m\"}\n";
        let mut output = vec![];
        relay_main(input.as_bytes(), &mut output);
        let text = String::from_utf8(output).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].contains("onnection refused"), "{text}");
        assert_eq!(lines[1], r#"{"ended":{"undelivered":[1001],"others":2,"outages":0,"notes":[]}}"#);
    }
}
