//! Recipe → Spec: what the user wrote, checked against the catalogue and completed from it.

pub mod spec;

pub use spec::Spec;
