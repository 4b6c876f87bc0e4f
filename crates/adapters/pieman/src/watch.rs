//! Follows a build from afar: its whole story from the stream and then as it goes on, or the plain codes where there is no
//! stream.

use std::thread;
use std::time::{Duration, Instant};

use kiln_model::{Digest, Event, EventKind, FaultKind, StageId, StageKind};
use redis::{FromRedisValue as _, PubSub, Value, cmd};

use crate::publish::{Link, Stream};
use crate::{Server, codes, names};

/// How long one look at the stream waits for news.
const LOOK: Duration = Duration::from_millis(1000);

/// How often a stream is looked for that is not there yet.
const GLANCE: Duration = Duration::from_millis(500);

/// What to follow.
#[derive(Clone, Debug)]
pub struct Watch {
    pub project: String,
    pub redis: Server,
    /// Whether a build that is over is passed by, to wait for the next.
    pub next: bool,
}

/// How what was followed ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Well,
    Failed,
}

/// Where in the stream we are: the build, and its last event that was told.
type Place = (u64, u64);

impl Watch {
    /// Tells every event of a build until its last; an error when Redis is not there at the start.
    pub fn follow(&self, tell: &mut dyn FnMut(&Event)) -> Result<Ending, String> {
        let mut link = Link::open(&self.redis)?;
        let place = match self.begin(&mut link)? {
            Some(place) => place,
            None => match self.expect(&mut link, tell)? {
                Begun::Stream(place) => place,
                Begun::Over(ending) => return Ok(ending),
            },
        };
        self.stream(link, place, tell)
    }

    /// Returns the place before the newest build's first event.
    fn begin(&self, link: &mut Link) -> Result<Option<Place>, String> {
        let newest = entries(link.ask(&Stream::top(&names::stream(&self.project)))?).pop();
        let newest = newest.filter(|entry| !(self.next && entry.event().is_some_and(|event| ending(&event).is_some())));
        Ok(newest.map(|entry| (entry.id.0, 0)))
    }

    /// Follows the stream through every loss of Redis.
    fn stream(&self, mut link: Link, mut place: Place, tell: &mut dyn FnMut(&Event)) -> Result<Ending, String> {
        loop {
            match self.look(&mut link, place) {
                Ok(news) => {
                    for entry in news {
                        if entry.id.0 != place.0 {
                            return Err(format!("another build of `{}` began", self.project));
                        }
                        place = entry.id;
                        let Some(event) = entry.event() else { continue };
                        tell(&event);
                        if let Some(ending) = ending(&event) {
                            return Ok(ending);
                        }
                    }
                }
                Err(_) => link = self.again(),
            }
        }
    }

    fn look(&self, link: &mut Link, (build, seq): Place) -> Result<Vec<Entry>, String> {
        let mut read = cmd("XREAD");
        read.arg("COUNT").arg(500).arg("BLOCK").arg(LOOK.as_millis() as u64);
        read.arg("STREAMS").arg(names::stream(&self.project)).arg(format!("{build}-{seq}"));
        match link.ask(&read)? {
            Value::ServerError(error) => Err(crate::publish::words(&error)),
            Value::Array(streams) => Ok(streams.into_iter().next().map(of_stream).unwrap_or_default()),
            _ => Ok(vec![]),
        }
    }

    fn again(&self) -> Link {
        loop {
            thread::sleep(GLANCE);
            if let Ok(link) = Link::open(&self.redis) {
                return link;
            }
        }
    }

    /// Waits for a build to begin; one that speaks codes only is followed to its end.
    fn expect(&self, link: &mut Link, tell: &mut dyn FnMut(&Event)) -> Result<Begun, String> {
        let mut connection = Link::open(&self.redis)?.into_inner();
        let mut channel = connection.as_pubsub();
        channel.subscribe(names::codes(&self.project)).map_err(|error| error.to_string())?;
        loop {
            let code = hear(&mut channel, GLANCE)?;
            if code.is_some() {
                // The entry in the stream follows the code.
                thread::sleep(GLANCE / 2);
            }
            if let Some(place) = self.begin(link)? {
                return Ok(Begun::Stream(place));
            }
            if let Some(code) = code {
                return plain(&self.project, code, &mut channel, tell).map(Begun::Over);
            }
        }
    }
}

enum Begun {
    Stream(Place),
    Over(Ending),
}

/// Waits a while for a code; payloads that are none are passed over.
fn hear(channel: &mut PubSub<'_>, patience: Duration) -> Result<Option<u16>, String> {
    channel.set_read_timeout(Some(patience)).map_err(|error| error.to_string())?;
    match channel.get_message() {
        Ok(message) => {
            let payload = std::str::from_utf8(message.get_payload_bytes()).unwrap_or_default();
            Ok(payload.parse().ok().filter(|code| codes::is_code(*code)))
        }
        Err(error) if error.is_timeout() => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// Follows codes alone; those before the first one we heard are taken as spoken.
fn plain(project: &str, first: u16, channel: &mut PubSub<'_>, tell: &mut dyn FnMut(&Event)) -> Result<Ending, String> {
    let mut guess = Guess::new(project);
    let mut heard = Some(first);
    loop {
        for event in heard.map(|code| guess.code(code)).unwrap_or_default() {
            tell(&event);
            if let Some(ending) = ending(&event) {
                return Ok(ending);
            }
        }
        heard = hear(channel, LOOK)?;
    }
}

/// Makes events of codes.
struct Guess {
    project: String,
    began: Instant,
    seq: u64,
    /// How many steps are told, and when the last was.
    steps: usize,
    last: u64,
}

impl Guess {
    fn new(project: &str) -> Self {
        Self { project: project.to_owned(), began: Instant::now(), seq: 0, steps: 0, last: 0 }
    }

    fn code(&mut self, code: u16) -> Vec<Event> {
        let mut kinds = vec![];
        if self.seq == 0 {
            let stages = codes::STEPS.iter().filter_map(|code| codes::stage(*code)).collect();
            kinds.push(EventKind::Started { name: self.project.clone(), stages });
        }
        let at = self.began.elapsed().as_millis() as u64;
        match code {
            codes::SUCCESSFUL => kinds.push(EventKind::Finished { millis: at }),
            codes::FAILED => kinds.push(failed()),
            code => kinds.extend(self.steps(code, at)),
        }
        kinds.into_iter().map(|kind| self.event(at, kind)).collect()
    }

    fn steps(&mut self, code: u16, at: u64) -> Vec<EventKind> {
        let up_to = codes::STEPS.iter().position(|step| *step == code).map_or(self.steps, |step| step + 1);
        let new = codes::STEPS.get(self.steps..up_to).unwrap_or_default();
        self.steps = self.steps.max(up_to);
        let mut millis = at - self.last;
        self.last = at;
        let stages: Vec<StageKind> = new.iter().filter_map(|code| codes::stage(*code)).collect();
        stages.into_iter().map(|stage| finished(stage, std::mem::take(&mut millis))).collect()
    }

    fn event(&mut self, at: u64, kind: EventKind) -> Event {
        self.seq += 1;
        Event { seq: self.seq, at, kind }
    }
}

fn finished(stage: StageKind, millis: u64) -> EventKind {
    EventKind::StageFinished { stage, id: StageId(Digest::of("")), millis, code: stage.code() }
}

fn failed() -> EventKind {
    EventKind::Failed {
        stage: None,
        fault: FaultKind::Farm,
        message: "the build failed".into(),
        hint: None,
        detail: None,
        diagnostics: vec![],
    }
}

fn ending(event: &Event) -> Option<Ending> {
    match event.kind {
        EventKind::Finished { .. } => Some(Ending::Well),
        EventKind::Failed { .. } => Some(Ending::Failed),
        _ => None,
    }
}

/// An entry of a stream.
pub(crate) struct Entry {
    pub id: Place,
    json: String,
}

impl Entry {
    fn event(&self) -> Option<Event> {
        serde_json::from_str(&self.json).ok()
    }
}

/// Reads what XRANGE answers; what is no entry of ours is passed over.
pub(crate) fn entries(answer: Value) -> Vec<Entry> {
    let Value::Array(entries) = answer else { return vec![] };
    entries.into_iter().filter_map(entry).collect()
}

/// Reads one stream of what XREAD answers: its key, its entries.
fn of_stream(answer: Value) -> Vec<Entry> {
    match answer {
        Value::Array(pair) => pair.into_iter().nth(1).map(entries).unwrap_or_default(),
        _ => vec![],
    }
}

fn entry(value: Value) -> Option<Entry> {
    let (id, fields) = <(String, Vec<String>)>::from_redis_value(value).ok()?;
    let (millis, seq) = id.split_once('-')?;
    let at = fields.iter().step_by(2).position(|name| name == "event")?;
    Some(Entry { id: (millis.parse().ok()?, seq.parse().ok()?), json: fields.get(2 * at + 1)?.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_alone_make_a_story() {
        let mut guess = Guess::new("p");
        let kinds: Vec<EventKind> =
            [21, 20, 30, 1001].into_iter().flat_map(|code| guess.code(code)).map(|event| event.kind).collect();
        let stages: Vec<&str> = kinds
            .iter()
            .filter_map(|kind| match kind {
                EventKind::StageFinished { stage, .. } => Some(stage.name()),
                _ => None,
            })
            .collect();
        assert_eq!(stages, ["bootstrap", "locale", "timezone", "indexes"]);
        assert!(matches!(&kinds[0], EventKind::Started { stages, .. } if stages.len() == 14));
        assert!(matches!(kinds.last(), Some(EventKind::Failed { .. })));
    }
}
