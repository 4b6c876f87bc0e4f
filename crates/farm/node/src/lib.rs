//! Leases, runs, uploads and reports the tasks of a farm.
//!
//! A node does all the calling, and builds nothing itself: each task is a kiln of its own, whose event stream is read.

mod agent;
mod backoff;
mod build;
mod bundle;
mod child;
mod config;
mod decide;
mod hash;
mod home;
mod lines;
mod outbox;
mod resources;
mod spool;
mod stages;
mod stop;
mod task;
mod teller;
mod upload;

pub use agent::{Wish, run};
pub use config::{Config, Credential};
