//! Recipe → Spec: what the user wrote, checked against the catalogue and completed from it.

pub mod catalogue;
mod check;
mod codes;
pub mod complete;
mod desk;
pub mod diagnostic;
mod forms;
mod keys;
mod language;
mod load;
mod merge;
mod needs;
mod node;
pub mod options;
mod path;
pub mod render;
mod section;
mod shape;
pub mod spec;
mod view;

pub use complete::{Completed, SourceFile, complete, diagnostic_at};
pub use diagnostic::{Diagnostic, Files, Place, Rejected, Severity};
pub use options::{HostSource, Local, Options, Sources, mirrors_from};
pub use render::{Look, render};
pub use spec::Spec;

/// A recipe to start from, for `kiln new`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Template {
    pub name: &'static str,
    /// One line.
    pub description: &'static str,
    pub text: &'static str,
}
