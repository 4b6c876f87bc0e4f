//! Where foreign programs run: in namespaces of their own, without network, with few rights and firm limits.
//!
//! The only crate that mounts, spawns or says `unsafe`. `README.md` tells the mechanism as a story.

mod command;
mod companion;
mod container;
mod enter;
mod error;
mod interrupt;
mod janitor;
mod letter;
mod memory;
mod namespaces;
mod overlay;
mod probe;
mod recording;
mod registrar;
mod rights;
mod scratch;
mod seccomp;
mod sys;

pub use command::{Bind, Command, Emulator, Exit, Limits, Network, Sandbox, Status, Stream};
pub use companion::{Companion, stay};
pub use enter::{Enter, Entered, IdRange, enter};
pub use error::{Error, Result};
pub use interrupt::{cancel, interrupted, listen};
pub use memory::{give_back, give_back_now};
pub use namespaces::{Foreign, Namespaces};
pub use overlay::{Bound, Overlay};
pub use probe::{Probe, probe};
pub use recording::Recording;
pub use scratch::{Scratch, guard, sweep};
