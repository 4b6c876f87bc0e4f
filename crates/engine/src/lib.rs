//! The engine: resolve, plan, run. It restores a stage or performs it, and never listens.

pub mod boot;
pub mod build;
pub mod bundle;
pub mod config;
pub mod diff;
mod elsewhere;
pub mod events;
mod extra;
pub mod image;
mod installed;
mod keyrings;
pub mod kiln;
pub mod load;
mod local;
mod publish;
pub mod resolve;
mod run;
mod secrets;
pub mod shell;
pub mod start;
pub mod sums;
mod target;
pub mod twice;
pub mod unpack;
mod upon;

pub use build::BuildOptions;
pub use config::Config;
pub use events::{Events, Sink};
pub use kiln::{Kiln, open_cache};
pub use load::{LoadError, Loaded};
pub use resolve::Update;
pub use secrets::Secrets;
pub use shell::ShellTarget;
pub use start::How;
pub use twice::TwiceOutcome;
