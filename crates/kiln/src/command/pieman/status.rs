//! The status channel of a build by parameters: whether there shall be one, and that it hears of every end.

use std::env;

use kiln_adapter_pieman::{Server, Settings};
use kiln_engine::Events;
use kiln_model::{EventKind, FaultKind};
use kiln_recipe::pieman::Parameters;

use super::Ending;
use crate::channel::Channel;

/// Where the status codes go; nowhere without ENABLE_BSC_CHANNEL, or once a build tells its own.
pub struct Status(Option<Settings>);

impl Status {
    /// What the environment alone says, for when the parameters cannot be read at all.
    pub fn of_environment() -> Self {
        let text = |name: &str| env::var(name).unwrap_or_default();
        Self::new(&text("ENABLE_BSC_CHANNEL"), &text("PROJECT_NAME"), &text("REDIS_HOST"), &text("REDIS_PORT"))
    }

    pub fn of(parameters: &Parameters) -> Self {
        let text = |name: &str| parameters.text(name);
        Self::new(text("ENABLE_BSC_CHANNEL"), text("PROJECT_NAME"), text("REDIS_HOST"), text("REDIS_PORT"))
    }

    fn new(enabled: &str, project: &str, host: &str, port: &str) -> Self {
        if enabled != "true" || project.is_empty() {
            return Self(None);
        }
        // With a password, TLS or another database; not among Pieman's parameters.
        let url = env::var("KILN_REDIS_URL").ok().filter(|url| !url.is_empty());
        let default = Server::default();
        let plain = Server {
            host: if host.is_empty() { default.host } else { host.to_owned() },
            port: port.parse().unwrap_or(default.port),
            url: None,
        };
        let server = url.and_then(|url| Server::at(&url).ok()).unwrap_or(plain);
        let mut settings = Settings::new(project, server);
        // CusDeb's own builds are called by their image, and its client follows `build-log-IMAGE`.
        settings.image_id = uuid::Uuid::try_parse(project).is_ok().then(|| project.to_owned());
        Self(Some(settings))
    }

    /// Nobody is to hear of this run.
    pub fn forget(&mut self) {
        self.0 = None;
    }

    /// Lets the channel hear a build's events, its end among them.
    pub fn join(&mut self, events: &Events) -> Option<Channel> {
        let channel = Channel::open(&self.0.take()?);
        channel.join(events);
        Some(channel)
    }

    /// Tells of a build that did not come to be.
    pub fn refuse(mut self, ending: &Ending) {
        let events = Events::new(vec![]);
        let Some(channel) = self.join(&events) else { return };
        events.tell(failed(ending));
        drop(events);
        channel.say_goodbye();
    }
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
