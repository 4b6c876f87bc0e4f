//! What can go wrong with a download, one variant per fault.

use kiln_model::{Digest, Fault, FaultKind};

/// A download that did not come to be: what went wrong last, and all that was tried before.
#[derive(Debug, thiserror::Error)]
#[error("fetch `{name}`: {failure}{}", earlier(.tried))]
pub struct Error {
    /// What was to be fetched, for people.
    pub name: String,
    /// The last URL that was asked, without credentials.
    pub url: String,
    pub failure: Failure,
    /// One line for each attempt before the last.
    pub tried: Vec<String>,
}

fn earlier(tried: &[String]) -> String {
    if tried.is_empty() { String::new() } else { format!(" (tried before: {})", tried.join("; ")) }
}

/// Why one attempt failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("`{url}` is not there (404)")]
    NotFound { url: String },
    #[error("`{url}` is not for us (status {status})")]
    Forbidden { url: String, status: u16 },
    #[error("`{url}` answers status {status}")]
    ServerError { url: String, status: u16 },
    #[error("`{url}` answers status {status}, which makes no sense here")]
    Unexpected { url: String, status: u16 },
    #[error("`{url}` ended after {got} of {expected} bytes")]
    Truncated { url: String, got: u64, expected: u64 },
    #[error("`{url}` holds other bytes: expected sha256 `{expected}`, got `{got}`")]
    WrongDigest { url: String, expected: Digest, got: Digest },
    #[error("`{url}` has another size: expected {expected} bytes, got {got}")]
    WrongSize { url: String, expected: u64, got: u64 },
    #[error("`{url}` sent nothing for {seconds} s")]
    Stalled { url: String, seconds: u64 },
    #[error("nobody listens at `{url}` (connection refused)")]
    ConnectionRefused { url: String },
    #[error("the connection to `{url}` broke")]
    Broken { url: String, source: std::io::Error },
    #[error("the host of `{url}` has no address")]
    NameNotFound { url: String },
    #[error("no trusted connection to `{url}`: {reason}")]
    Tls { url: String, reason: String },
    #[error("`{url}` is larger than the {limit} bytes allowed")]
    TooLarge { url: String, limit: u64 },
    #[error("`{url}` redirects more than {limit} times")]
    RedirectLoop { url: String, limit: u32 },
    #[error("the proxy does not lead to `{url}`: {reason}")]
    Proxy { url: String, reason: String },
    #[error("`{url}` is no URL kiln can fetch")]
    BadUrl { url: String },
    #[error("`{url}` answers in a way that is not HTTP: {reason}")]
    Protocol { url: String, reason: String },
    #[error("no URL is known for it")]
    NoUrl,
    #[error("the bytes could not be kept")]
    Store(#[source] kiln_store::Error),
    #[error("read `{path}`")]
    File { path: String, source: std::io::Error },
    #[error("interrupted")]
    Cancelled,
}

impl From<Error> for Fault {
    fn from(_error: Error) -> Self {
        let _ = (FaultKind::Again, Digest::of(""));
        todo!()
    }
}
