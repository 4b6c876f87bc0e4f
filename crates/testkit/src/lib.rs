//! What the tests of all crates share: a web server with faults on demand, small signed archives, goldens.

mod golden;
mod server;

pub use golden::golden;
pub use server::{Fault, Seen, Server};
