//! Whom to tell of which build.

use std::fmt;
use std::time::Duration;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion, RedisResult};
use serde::{Deserialize, Serialize};

/// What a channel is opened with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// What the channels are named after: Pieman's `PROJECT_NAME`.
    pub project: String,
    pub redis: Server,
    /// With an id the log goes to `build-log-ID` too.
    pub image_id: Option<String>,
    /// How long an ended build waits for what Redis has not taken yet.
    pub flush: Duration,
    /// About how many events the stream keeps.
    pub keep: usize,
    /// How long the stream is kept after the last build told to it.
    pub keep_for: Duration,
}

impl Settings {
    pub fn new(project: impl Into<String>, redis: Server) -> Self {
        Self {
            project: project.into(),
            redis,
            image_id: None,
            flush: Duration::from_secs(5),
            keep: 20_000,
            keep_for: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// Where Redis is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    pub host: String,
    pub port: u16,
    /// Says more than host and port, and is asked instead of them: password, TLS, database, Unix socket.
    pub url: Option<String>,
}

impl Default for Server {
    fn default() -> Self {
        Self { host: "127.0.0.1".into(), port: 6379, url: None }
    }
}

impl Server {
    /// Returns the server of a URL, if it is one: `redis[s]://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]`, `unix:///PATH`.
    pub fn at(url: &str) -> Result<Self, String> {
        let server = Self { url: Some(url.to_owned()), ..Self::default() };
        // Whatever is wrong with it, it may hold a password.
        server.connection().map_err(|_| "not an address such as `redis://HOST:6379/0` or `rediss://…`".to_owned())?;
        Ok(server)
    }

    /// Returns how to connect: no command is sent that was not asked for.
    pub(crate) fn connection(&self) -> RedisResult<ConnectionInfo> {
        let info = match &self.url {
            Some(url) => url.as_str().into_connection_info()?,
            None => (self.host.as_str(), self.port).into_connection_info()?,
        };
        if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
            // Says no when there is one already, which is as good.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        }
        let words = info.redis_settings().clone().set_skip_set_lib_name().set_protocol(ProtocolVersion::RESP2);
        let tcp = info.tcp_settings().clone().set_nodelay(true);
        Ok(info.set_redis_settings(words).set_tcp_settings(tcp))
    }
}

/// The address without user and password.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.connection() {
            Ok(info) => info.addr().fmt(f),
            Err(_) => f.write_str("an address that is none"),
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_no_password() {
        let server = Server::at("rediss://ann:secret@example.org:7000/3").unwrap();
        assert_eq!(format!("{server} {server:?}"), "example.org:7000 Server(example.org:7000)");
        assert_eq!(server.connection().unwrap().redis_settings().db(), 3);
        assert!(!Server::at("http://ann:secret@x").unwrap_err().contains("secret"));
        assert_eq!(Server::default().to_string(), "127.0.0.1:6379");
    }
}
