//! The status channel of a build: a relay that tells its events to Redis, whatever becomes of the build.

use std::process::Child;

use kiln_adapter_pieman::{Line, Relay, Server, Settings, Teller};
use kiln_engine::events::{Events, Sink};
use kiln_model::Event;
use kiln_sandbox::Companion;

use crate::ending::Failure;
use crate::out;

/// The hidden command that lives as a relay.
pub const RELAY: &str = "relay";

/// A build's line to Redis. Nothing that is wrong with it is a reason for a build to fail.
pub struct Channel {
    /// The relay, or why there is none.
    relay: Result<(Relay, Child), String>,
    trouble: Option<String>,
}

impl Channel {
    /// Starts the relay and waits, for 4.5 s at most, for its word whether Redis is there.
    ///
    /// Call it after [`settings::enter`](crate::settings::enter) (the relay's input must end with the worker), or where nothing
    /// is entered at all.
    pub fn open(settings: &Settings) -> Self {
        let started = Companion::start("kiln-relay", &[RELAY.to_owned()]);
        let relay = started.map_err(|error| format!("start the relay to Redis: {error}")).map(|companion| {
            let line = Line { to: Box::new(companion.to), from: Box::new(companion.from) };
            (Relay::start(line, settings), companion.process)
        });
        let reached = relay.as_ref().map_err(Clone::clone).and_then(|(relay, _)| {
            relay.reached().map_err(|why| format!("could not connect to Redis at {}: {why}", settings.redis))
        });
        Self { relay, trouble: reached.err() }
    }

    /// Returns why nobody hears the build now; codes go on waiting for Redis.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Lets the channel hear what happens from now on; a warning says so when nobody hears it there.
    pub fn join(&self, events: &Events) {
        self.trouble().into_iter().for_each(|trouble| events.warn(trouble));
        events.add(self.sink());
    }

    /// Closes the channel and tells people what could not be delivered.
    pub fn say_goodbye(self) {
        self.close().iter().for_each(|words| out::talk(&format!("warning: {words}\n")));
    }

    /// Returns a sink for the build's events.
    pub fn sink(&self) -> Box<dyn Sink> {
        Box::new(Telling(self.relay.as_ref().ok().map(|(relay, _)| relay.teller())))
    }

    /// Ends the story (1001, when its end was not told), waits a bounded time for the delivery, and returns what the user
    /// should hear of it; nothing when all went well.
    pub fn close(self) -> Vec<String> {
        let Ok((relay, mut process)) = self.relay else { return vec![] };
        let delivery = relay.close();
        // One that has said its last word ends; another is left to whoever waits for kiln's children.
        let _ = process.try_wait();
        delivery.words()
    }
}

struct Telling(Option<Teller>);

impl Sink for Telling {
    fn event(&mut self, event: &Event) {
        if let Some(teller) = &mut self.0 {
            teller.event(event);
        }
    }
}

/// Where Redis is, on the command line.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Redis")]
#[group(id = "redis-server")]
pub struct Flags {
    /// Host of Redis [default: 127.0.0.1]
    #[arg(long, value_name = "HOST")]
    redis_host: Option<String>,
    /// Port of Redis [default: 6379]
    #[arg(long, value_name = "PORT")]
    redis_port: Option<u16>,
    /// Redis with password, TLS or database: redis[s]://[[USER]:PASSWORD@]HOST[:PORT][/DB] [default: $KILN_REDIS_URL]
    #[arg(long, value_name = "URL", conflicts_with_all = ["redis_host", "redis_port"])]
    redis_url: Option<String>,
}

/// Whether there shall be a channel.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Redis")]
#[group(id = "status-channel")]
pub struct Wanted {
    /// Tell the build to Redis under this name: Pieman's status codes and kiln's events (docs/status-channel.md)
    #[arg(long, value_name = "PROJECT")]
    channel: Option<String>,
    #[command(flatten)]
    redis: Flags,
}

impl Wanted {
    /// Opens the channel, if one is wanted.
    pub fn open(&self) -> Result<Option<Channel>, Failure> {
        let Some(project) = &self.channel else { return Ok(None) };
        Ok(Some(Channel::open(&Settings::new(project, self.redis.server()?))))
    }
}

impl Flags {
    /// Returns the server where flags or the environment name one at all.
    pub fn named(&self) -> Result<Option<Server>, Failure> {
        let variable = std::env::var("KILN_REDIS_URL").is_ok_and(|url| !url.is_empty());
        let flags = self.redis_host.is_some() || self.redis_port.is_some() || self.redis_url.is_some();
        (variable || flags).then(|| self.server()).transpose()
    }

    /// Returns the server that flags, then the environment, ask for.
    pub fn server(&self) -> Result<Server, Failure> {
        let said = self.redis_host.is_some() || self.redis_port.is_some();
        let variable = std::env::var("KILN_REDIS_URL").ok().filter(|url| !url.is_empty() && !said);
        let (url, place) = match &self.redis_url {
            Some(url) => (Some(url.clone()), "`--redis-url`"),
            None => (variable, "environment variable `KILN_REDIS_URL`"),
        };
        if let Some(url) = url {
            return Server::at(&url).map_err(|why| Failure::usage(format!("{place}: {why}")));
        }
        let default = Server::default();
        let host = self.redis_host.clone().unwrap_or(default.host);
        Ok(Server { host, port: self.redis_port.unwrap_or(default.port), url: None })
    }
}
