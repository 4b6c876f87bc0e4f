//! The status channel of a build by parameters: whether there shall be one, and that it hears of every end.

use std::env;

use kiln_adapter_pieman::{Server, Settings, names};
use kiln_engine::Events;
use kiln_model::{EventKind, FaultKind};
use kiln_recipe::pieman::{Given, Parameters};

use super::Ending;
use super::talk::{Level, say};
use crate::channel::Channel;

/// Where the status codes go; nowhere without ENABLE_BSC_CHANNEL, or once a build tells its own.
pub struct Status {
    settings: Option<Settings>,
    /// What of the address is no address.
    trouble: Option<String>,
}

impl Status {
    /// Nobody is to hear of this run: it builds nothing.
    pub fn nobody() -> Self {
        Self { settings: None, trouble: None }
    }

    /// Takes what is to be told, and leaves nothing.
    pub fn take(&mut self) -> Self {
        std::mem::replace(self, Self::nobody())
    }

    /// What the environment alone says, for when `.env` cannot be read at all.
    pub fn of_environment() -> Self {
        Self::by(|name| env::var(name).unwrap_or_default())
    }

    /// What is said, for when a parameter turns out to be wrong.
    pub fn of_given(given: &Given<'_>) -> Self {
        Self::by(|name| given.said(name).unwrap_or_default())
    }

    pub fn of(parameters: &Parameters) -> Self {
        Self::by(|name| parameters.text(name).to_owned())
    }

    fn by(text: impl Fn(&str) -> String) -> Self {
        let (project, host, port) = (&text("PROJECT_NAME"), &text("REDIS_HOST"), &text("REDIS_PORT"));
        // Filling the tools tree is no build, with Pieman neither.
        if text("ENABLE_BSC_CHANNEL") != "true" || text("PREPARE_ONLY_TOOLSET") == "true" || project.is_empty() {
            return Self::nobody();
        }
        // With a password, TLS or another database; not among Pieman's parameters.
        let url = env::var("KILN_REDIS_URL").ok().filter(|url| !url.is_empty());
        let server = match url {
            Some(url) => Server::at(&url).map_err(|why| format!("`KILN_REDIS_URL`: {why}")),
            None => plain(host, port),
        };
        let server = match server {
            Ok(server) => server,
            Err(trouble) => return Self { settings: None, trouble: Some(trouble) },
        };
        let mut settings = Settings::new(project.as_str(), server);
        // CusDeb's own builds are called by their image, and its client follows `build-log-IMAGE`.
        settings.image_id = uuid::Uuid::try_parse(project).is_ok().then(|| project.clone());
        Self { settings: Some(settings), trouble: None }
    }

    /// Lets the channel hear a build's events, its end among them. What people hear of it is in Pieman's words.
    pub fn join(&mut self, events: &Events) -> Option<Channel> {
        if let Some(trouble) = self.trouble.take() {
            events.warn(format!("nobody hears this build's status codes: {trouble}"));
        }
        let settings = self.settings.take()?;
        let server = &settings.redis;
        say(Level::Info, &format!("checking if it is possible to connect to the Redis server {server}"));
        let channel = Channel::open(&settings);
        match channel.trouble() {
            None => {
                say(Level::Info, "Redis is available");
                say(Level::Info, &format!("bscd -- channel name is {}", names::codes(&settings.project)));
            }
            Some(_) => say(Level::Fatal, "could not connect to Redis"),
        }
        channel.join(events);
        Some(channel)
    }

    /// Tells of a build that did not come to be.
    pub fn refuse(mut self, ending: &Ending) {
        let Some(settings) = self.settings.take() else { return };
        let (events, channel) = (Events::new(vec![]), Channel::open(&settings));
        channel.join(&events);
        events.tell(failed(ending));
        drop(events);
        channel.say_goodbye();
    }
}

/// Returns the server that Pieman's parameters name.
fn plain(host: &str, port: &str) -> Result<Server, String> {
    let default = Server::default();
    let number = || port.parse().map_err(|_| format!("`{port}` is no port: REDIS_PORT is 1 to 65535"));
    Ok(Server {
        host: if host.is_empty() { default.host } else { host.to_owned() },
        port: if port.is_empty() { default.port } else { number()? },
        url: None,
    })
}

fn failed(ending: &Ending) -> EventKind {
    let told = match ending {
        Ending::Failure(failure) => failure.event(),
        Ending::Refused(_) => None,
    };
    told.unwrap_or_else(|| EventKind::Failed {
        stage: None,
        fault: FaultKind::Recipe,
        message: match ending {
            Ending::Refused(refused) => refused.fatal.clone(),
            Ending::Failure(_) => "the build could not begin".into(),
        },
        hint: None,
        detail: None,
        diagnostics: vec![],
    })
}
