//! The server as who asks it knows it: one program for all of its tests, since each would link as much as all do.

mod common;

mod accounts;
mod backup;
mod bucket;
mod elsewhere;
mod gc;
mod given;
mod holders;
mod hooks;
mod http;
mod limits;
mod looking;
mod metrics;
mod oidc;
mod pages;
mod repeats;
mod schedules;
mod scripts;
mod secrets;
mod sources;
mod tls;
mod uploads;
