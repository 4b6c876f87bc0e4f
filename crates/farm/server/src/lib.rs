//! The farm's server: queue, leases, builds, events, database, web pages.

pub mod backup;
pub mod blobs;
pub mod db;
pub mod decide;
pub mod dispatch;
pub mod error;
pub mod farm;
pub mod gc;
mod guesses;
pub mod hooks;
pub mod http;
pub mod hub;
mod keep;
pub mod metrics;
mod pages;
pub mod points;
pub mod secret;
pub mod serve;

pub use farm::{Clock, Farm};
