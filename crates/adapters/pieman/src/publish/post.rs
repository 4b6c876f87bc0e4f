//! What is published of one event, and where to.

use std::time::Duration;

use redis::{Cmd, cmd};

/// What is published of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// The event's number.
    pub seq: u64,
    pub codes: Vec<u16>,
    /// JSON for the channel of events and the stream.
    pub event: Option<String>,
    pub log: Option<String>,
    /// Whether it stays when there is no room.
    pub must: bool,
}

impl Post {
    /// Returns the post of one code alone.
    pub fn code(code: u16) -> Self {
        Self { seq: 0, codes: vec![code], event: None, log: None, must: true }
    }

    /// Returns about how much memory it takes.
    pub fn size(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        128 + text(&self.event) + text(&self.log)
    }

    pub fn commands(&self, to: &Addresses, base: u64) -> Vec<Ask> {
        let publish = |channel: &str, payload: &str| cmd("PUBLISH").arg(channel).arg(payload).to_owned();
        let mut asks: Vec<Ask> =
            self.codes.iter().map(|code| Ask::Code(publish(&to.codes, &code.to_string()))).collect();
        if let (Some(channel), Some(event)) = (&to.events, &self.event) {
            asks.push(Ask::Other(publish(channel, event)));
        }
        if let (Some(channel), Some(log)) = (&to.log, &self.log) {
            asks.push(Ask::Other(publish(channel, log)));
        }
        // Last, so that an entry that is there tells that the rest was published.
        if let (Some(stream), Some(event)) = (&to.stream, &self.event) {
            asks.push(Ask::Entry(stream.add(base, self.seq, event)));
            asks.extend(self.must.then(|| Ask::Other(stream.expire())));
        }
        asks
    }
}

/// One command of a post.
pub enum Ask {
    Code(Cmd),
    Entry(Cmd),
    Other(Cmd),
}

impl Ask {
    pub fn command(&self) -> &Cmd {
        match self {
            Self::Code(cmd) | Self::Entry(cmd) | Self::Other(cmd) => cmd,
        }
    }
}

/// Where posts go.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    pub codes: String,
    pub events: Option<String>,
    pub log: Option<String>,
    pub stream: Option<Stream>,
}

/// A stream that keeps so many entries for so long.
#[derive(Clone, Debug)]
pub struct Stream {
    pub key: String,
    pub keep: usize,
    pub keep_for: Duration,
    /// What tells this build's entries from those of others where somebody else may have begun to tell it; none: chosen when Redis is
    /// first reached.
    pub base: Option<u64>,
}

impl Stream {
    /// Entry `BASE-SEQ`: `base` tells the build, `seq` is the event's number.
    pub fn add(&self, base: u64, seq: u64, event: &str) -> Cmd {
        let mut add = cmd("XADD");
        add.arg(&self.key).arg("MAXLEN").arg("~").arg(self.keep).arg(format!("{base}-{seq}")).arg("event").arg(event);
        add
    }

    fn expire(&self) -> Cmd {
        cmd("EXPIRE").arg(&self.key).arg(self.keep_for.as_secs()).to_owned()
    }

    /// Asks for the newest entry.
    pub fn top(key: &str) -> Cmd {
        cmd("XREVRANGE").arg(key).arg("+").arg("-").arg("COUNT").arg(1).to_owned()
    }
}
