//! The line to the servers: one client, and one thread that moves the bytes of all its connections.
//!
//! The client is asynchronous, whoever asks is not: so that a wait can end when somebody wants all to stop, even
//! while a server says nothing.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::header::HeaderMap;
use reqwest::{Client, ClientBuilder, Response};
use tokio::runtime::{Builder, Runtime};

use crate::names::Names;
use crate::url::shown;
use crate::{Failure, Options};

/// Redirects that are followed.
pub(crate) const REDIRECTS: usize = 8;

/// Time between two looks around while nothing comes.
const LOOK: Duration = Duration::from_millis(50);

pub(crate) struct Line {
    client: Client,
    /// None only while it is dropped.
    runtime: Option<Runtime>,
    options: Options,
    /// Why no certificate is trusted, where the host has none to start from.
    rootless: Option<String>,
}

impl Line {
    /// Makes the client; the environment's proxies are honoured. Without the host's certificates it still speaks to
    /// mirrors over http, whose files are signed.
    pub fn new(options: &Options) -> Result<Self, Failure> {
        let doing = |source| Failure::File { path: "the network".to_owned(), source };
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("fetch").enable_all().build();
        let runtime = runtime.map_err(doing)?;
        let (client, rootless) = match builder(options).build() {
            Ok(client) => (client, None),
            Err(error) => {
                let client = builder(options).tls_certs_only([]).build();
                (client.map_err(|error| doing(std::io::Error::other(error)))?, Some(crate::client::reason(&error)))
            }
        };
        Ok(Self { client, runtime: Some(runtime), options: options.clone(), rootless })
    }

    /// Asks for a URL and waits for the head of the answer.
    pub fn send(&self, url: &str, headers: HeaderMap) -> Result<reqwest::Result<Response>, Failure> {
        self.wait(&shown(url), self.client.get(url).headers(headers).send())
    }

    /// Waits for `work`, as long as silence may last and nobody wants it to stop.
    pub fn wait<T>(&self, url: &str, work: impl Future<Output = T>) -> Result<T, Failure> {
        let (began, stall) = (Instant::now(), self.options.stall);
        self.runtime.as_ref().expect("it is there until it is dropped").block_on(async {
            let mut work = pin!(work);
            loop {
                match tokio::time::timeout(LOOK.min(stall), &mut work).await {
                    Ok(done) => return Ok(done),
                    Err(_) if self.options.cancelled() => return Err(Failure::Cancelled),
                    Err(_) if began.elapsed() >= stall => {
                        return Err(Failure::Stalled { url: url.to_owned(), seconds: stall.as_secs() });
                    }
                    Err(_) => {}
                }
            }
        })
    }

    /// Says why a server is not trusted.
    pub fn untrusted(&self, url: String, reason: String) -> Failure {
        Failure::Tls { url, reason: self.rootless.clone().unwrap_or(reason) }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // A lookup of a name cannot be interrupted, and nobody waits for it any more.
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

fn builder(options: &Options) -> ClientBuilder {
    Client::builder()
        .user_agent(&options.user_agent)
        .connect_timeout(options.connect)
        .pool_max_idle_per_host(options.connections)
        .redirect(reqwest::redirect::Policy::limited(REDIRECTS))
        .tcp_nodelay(true)
        .dns_resolver(Arc::new(Names::default()))
}
