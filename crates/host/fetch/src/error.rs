//! What can go wrong with a download, one variant per fault.

use kiln_model::{Digest, Fault, FaultKind};

/// A download that did not come to be: the failure that tells most, and what else was tried.
#[derive(Debug, thiserror::Error)]
#[error("fetch `{name}`{}", earlier(.failure, .tried))]
pub struct Error {
    /// What was to be fetched, for people.
    pub name: String,
    #[source]
    pub failure: Box<Failure>,
    /// One line for each attempt that failed otherwise, or the same way, before or after.
    pub tried: Vec<String>,
}

/// How many other failures a message tells.
const TOLD: usize = 3;

fn earlier(failure: &Failure, tried: &[String]) -> String {
    let mut others: Vec<&str> = tried.iter().map(String::as_str).filter(|text| *text != failure.to_string()).collect();
    others.dedup();
    let told = others[others.len().saturating_sub(TOLD)..].join("; ");
    match (tried.len(), told.as_str()) {
        (0, _) => String::new(),
        (count, "") => format!(" ({} attempts)", count + 1),
        (count, told) => format!(" ({} attempts, also: {told})", count + 1),
    }
}

/// Why one attempt failed. URLs are without credentials.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("`{url}` is not there (status {status})")]
    NotFound { url: String, status: u16 },
    #[error("`{url}` is not for us (status {status})")]
    Forbidden { url: String, status: u16 },
    #[error("the server cannot give `{url}` now (status {status})")]
    ServerError { url: String, status: u16 },
    #[error("`{url}` answers with status {status}, which means nothing here")]
    Unexpected { url: String, status: u16 },
    #[error("`{url}` ended after {got} of {expected} bytes")]
    Truncated { url: String, got: u64, expected: u64 },
    #[error("`{url}` holds other bytes: expected sha256 `{expected}`, got `{got}`")]
    WrongDigest { url: String, expected: Digest, got: Digest },
    #[error("`{url}` has another size: expected {expected} bytes, got {got}")]
    WrongSize { url: String, expected: u64, got: u64 },
    #[error("`{url}` sent nothing for {seconds} s")]
    Stalled { url: String, seconds: u64 },
    #[error("no connection to `{url}` within {seconds} s")]
    ConnectTimeout { url: String, seconds: u64 },
    #[error("nobody listens at `{url}` (connection refused)")]
    ConnectionRefused { url: String },
    #[error("the connection to `{url}` broke: {reason}")]
    Broken { url: String, reason: String },
    #[error("the host of `{url}` has no address")]
    NameNotFound { url: String },
    #[error("no trusted connection to `{url}`: {reason}")]
    Tls { url: String, reason: String },
    #[error("`{url}` is larger than the {limit} bytes it may have")]
    TooLarge { url: String, limit: u64 },
    #[error("`{url}` redirects more than {limit} times")]
    RedirectLoop { url: String, limit: usize },
    #[error("the proxy does not lead to `{url}`: {reason}")]
    Proxy { url: String, reason: String },
    #[error("`{url}` is no URL that can be fetched: {reason}")]
    BadUrl { url: String, reason: String },
    #[error("`{url}` answers in a way that is not HTTP")]
    NotHttp { url: String },
    #[error("`{url}` is not in the cache, and kiln is offline")]
    Offline { url: String },
    #[error("no URL is known for it")]
    NoUrl,
    #[error("the bytes could not be kept")]
    Store(#[source] kiln_store::Error),
    #[error("read `{path}`")]
    File { path: String, source: std::io::Error },
    #[error("interrupted")]
    Cancelled,
}

impl Failure {
    /// Whether the same URL may do better a little later.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::ServerError { .. }
                | Self::Truncated { .. }
                | Self::Stalled { .. }
                | Self::ConnectTimeout { .. }
                | Self::ConnectionRefused { .. }
                | Self::Broken { .. }
        )
    }

    /// Whether no other URL can help.
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self, Self::Store(_) | Self::Cancelled | Self::NoUrl)
    }

    /// Returns the URL that was asked, where one was.
    pub(crate) fn url(&self) -> Option<&str> {
        match self {
            Self::NotFound { url, .. }
            | Self::Forbidden { url, .. }
            | Self::ServerError { url, .. }
            | Self::Unexpected { url, .. }
            | Self::Truncated { url, .. }
            | Self::WrongDigest { url, .. }
            | Self::WrongSize { url, .. }
            | Self::Stalled { url, .. }
            | Self::ConnectTimeout { url, .. }
            | Self::ConnectionRefused { url }
            | Self::Broken { url, .. }
            | Self::NameNotFound { url }
            | Self::Tls { url, .. }
            | Self::TooLarge { url, .. }
            | Self::RedirectLoop { url, .. }
            | Self::Proxy { url, .. }
            | Self::BadUrl { url, .. }
            | Self::NotHttp { url }
            | Self::Offline { url } => Some(url),
            Self::NoUrl | Self::Store(_) | Self::File { .. } | Self::Cancelled => None,
        }
    }

    fn kind(&self) -> FaultKind {
        match self {
            Self::ServerError { .. } | Self::Stalled { .. } | Self::ConnectTimeout { .. } => FaultKind::Again,
            Self::Store(_) => FaultKind::Farm,
            Self::Cancelled => FaultKind::Interrupted,
            _ => FaultKind::Upstream,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::WrongDigest { .. } | Self::WrongSize { .. } => {
                "the mirror may be in the middle of an update, or something on the way changes what it sends: \
                 try another mirror"
            }
            Self::ServerError { .. } | Self::Truncated { .. } | Self::Stalled { .. } | Self::Broken { .. } => {
                "try again a little later, or another mirror"
            }
            Self::ConnectionRefused { .. } | Self::ConnectTimeout { .. } | Self::NameNotFound { .. } => {
                "is the mirror's address right, and is this machine connected? a proxy is taken from `http_proxy` \
                 and `https_proxy`"
            }
            Self::Tls { .. } => "is this machine's clock right, and is the package `ca-certificates` installed?",
            Self::Proxy { .. } => "the proxy is taken from `http_proxy`, `https_proxy` and `no_proxy`",
            Self::Forbidden { .. } => {
                "does the mirror want credentials? `KILN_MIRROR_NAME` (a distribution's or a repository's name) in the \
                 environment takes an address with them, as in `https://user:password@host/debian`"
            }
            Self::Unexpected { .. } | Self::RedirectLoop { .. } | Self::NotHttp { .. } => {
                "is the mirror's address right? a proxy or a login page on the way may answer in its place"
            }
            Self::Offline { .. } => {
                "run this once without `--offline`, with the same cache: what is fetched stays there"
            }
            Self::BadUrl { .. } => "a URL begins with `http://`, `https://` or `file:/`",
            _ => return None,
        })
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        if let Failure::Cancelled = *error.failure {
            return Self::interrupted();
        }
        let hint = error.failure.hint();
        let fault = Self::new(error.failure.kind(), error.to_string()).because(error.failure);
        if let Some(hint) = hint { fault.hint(hint) } else { fault }
    }
}
