//! The line to the servers: a client for each kind, and one thread that moves the bytes of all connections.
//!
//! The clients are asynchronous, whoever asks is not: so that a wait can end when somebody wants all to stop, even
//! while a server says nothing.

use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::{HeaderMap, LOCATION};
use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::{Client, ClientBuilder, Response};
use tokio::runtime::{Builder, Runtime};

use crate::names::Names;
use crate::url::shown;
use crate::{Failure, Options};

/// Redirects that are followed.
pub(crate) const REDIRECTS: usize = 8;

/// Environment variables that send http through a proxy.
const PROXIES: [&str; 4] = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];

/// Time between two looks around while nothing comes.
const LOOK: Duration = Duration::from_millis(50);

pub(crate) struct Line {
    /// For mirrors over http, whose files are signed; it trusts no certificate.
    plain: Client,
    /// Made when a server is asked over TLS: it reads all certificates of the host, and many runs need none.
    sealed: Mutex<Option<Sealed>>,
    /// Whether even http goes through TLS, to a proxy.
    tls_proxy: bool,
    /// None only while it is dropped.
    runtime: Option<Runtime>,
    options: Options,
}

/// A client that trusts the host's certificates.
#[derive(Clone)]
struct Sealed {
    client: Client,
    /// Why no certificate is trusted, where the host has none to start from.
    rootless: Option<String>,
}

impl Line {
    /// Makes the line; the environment's proxies are honoured. Without the host's certificates it still speaks to
    /// mirrors over http.
    pub fn new(options: &Options) -> Result<Self, Failure> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("fetch").enable_all().build();
        let runtime = Some(runtime.map_err(unusable)?);
        let plain = builder(options).redirect(Policy::custom(stay_plain)).tls_certs_only([]).build();
        let plain = plain.map_err(|error| unusable(io::Error::other(error)))?;
        let tls_proxy = PROXIES.iter().any(|name| std::env::var(name).is_ok_and(|url| url.starts_with("https:")));
        Ok(Self { plain, sealed: Mutex::default(), tls_proxy, runtime, options: options.clone() })
    }

    /// Asks for a URL and waits for the head of the answer.
    pub fn send(&self, url: &str, headers: HeaderMap) -> Result<reqwest::Result<Response>, Failure> {
        if url.starts_with("http:") && !self.tls_proxy {
            let answer = self.wait(&shown(url), self.plain.get(url).headers(headers.clone()).send())?;
            if !answer.as_ref().is_ok_and(leads_on) {
                return Ok(answer);
            }
        }
        self.wait(&shown(url), self.sealed()?.client.get(url).headers(headers).send())
    }

    fn sealed(&self) -> Result<Sealed, Failure> {
        let mut made = self.sealed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sealed) = made.as_ref() {
            return Ok(sealed.clone());
        }
        let builder = || builder(&self.options).redirect(Policy::limited(REDIRECTS));
        let sealed = match builder().build() {
            Ok(client) => Sealed { client, rootless: None },
            Err(error) => {
                let client = builder().tls_certs_only([]).build().map_err(|error| unusable(io::Error::other(error)))?;
                Sealed { client, rootless: Some(crate::client::reason(&error)) }
            }
        };
        Ok(made.insert(sealed).clone())
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
        let rootless = self.sealed().ok().and_then(|sealed| sealed.rootless);
        Failure::Tls { url, reason: rootless.unwrap_or(reason) }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // A lookup of a name cannot be interrupted, and nobody waits for it any more.
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

fn unusable(source: io::Error) -> Failure {
    Failure::File { path: "the network".to_owned(), source }
}

/// Follows redirects as long as they need no certificates.
fn stay_plain(attempt: Attempt<'_>) -> Action {
    match attempt.url().scheme() {
        "http" => Policy::limited(REDIRECTS).redirect(attempt),
        _ => attempt.stop(),
    }
}

/// Whether an answer is a redirect that was not followed.
fn leads_on(answer: &Response) -> bool {
    matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) && answer.headers().contains_key(LOCATION)
}

fn builder(options: &Options) -> ClientBuilder {
    Client::builder()
        .user_agent(&options.user_agent)
        .connect_timeout(options.connect)
        .pool_max_idle_per_host(options.connections)
        .tcp_nodelay(true)
        .dns_resolver(Arc::new(Names::default()))
}
