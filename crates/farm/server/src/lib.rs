//! The farm's server: queue, leases, builds, events, database, web pages.

pub mod backup;
pub mod blobs;
pub mod bom;
pub mod config;
pub mod connections;
pub mod db;
pub mod decide;
pub mod dispatch;
mod doors;
pub mod error;
pub mod farm;
pub mod gc;
mod given;
mod guesses;
pub mod hooks;
pub mod http;
pub mod hub;
mod keep;
pub mod limits;
pub mod metrics;
pub mod oidc;
mod pages;
pub mod parking;
mod people;
pub mod recipes;
mod repeats;
pub mod seals;
pub mod secret;
pub mod secrets;
pub mod serve;
pub mod sources;
pub mod tls;
pub mod vault;
pub mod watch;

pub use farm::{Clock, Farm};
