//! The nouns every other crate speaks: digests, stages, actions, trees, extents, events, reports and faults.
//!
//! Values only. Nothing here reads a file, a clock or the environment.

pub mod action;
pub mod arch;
pub mod diff;
pub mod digest;
pub mod event;
pub mod extents;
pub mod fault;
pub mod path;
pub mod plan;
pub mod report;
pub mod stage;
pub mod tree;
pub mod view;

pub use action::{Action, Content, Owner, RunIn};
pub use arch::Arch;
pub use digest::Digest;
pub use event::{Event, EventKind, Unit};
pub use extents::{Extent, Extents, Source};
pub use fault::{Fault, FaultKind};
pub use path::GuestPath;
pub use plan::Plan;
pub use report::{Artifact, Outcome, Report, StageOutcome};
pub use stage::{Stage, StageId, StageKind};
pub use tree::{Entry, Kind, Tree};
pub use view::View;
