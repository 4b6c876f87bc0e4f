//! Downloads: bytes whose digest is known into the store, and the small documents that name them.
//!
//! Blocking for who asks, with a handful of threads of its own for the time of [`Fetcher::fetch_all`]. Decides nothing: which
//! mirrors, in which order, is in the request. README.md tells how a broken download goes on.

mod all;
pub mod apt_sources;
mod blob;
mod client;
mod error;
mod fetcher;
pub mod git;
mod line;
mod names;
mod small;
mod url;

pub use apt_sources::{HostSources, Source};
pub use error::{Error, Failure};
pub use fetcher::{Answer, Fetcher, Options, Progress, Request};
pub use url::{file_url, shown};

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
