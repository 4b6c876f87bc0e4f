//! Tells builds to Redis: in the words of Pieman's build status channel, and in richer words of kiln's own.
//!
//! `docs/status-channel.md` is the page for whoever listens; `README.md` tells how it is made.

#![forbid(unsafe_code)]

pub mod bsc;
pub mod bscd;
pub mod codes;
mod direct;
mod log;
pub mod names;
mod progress;
mod publish;
mod relay;
mod settings;
mod story;
pub mod watch;

pub use direct::Direct;
pub use publish::{Delivery, Moment};
pub use relay::{Line, Relay, Teller, relay_main};
pub use settings::{Server, Settings};
