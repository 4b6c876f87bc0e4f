//! The engine: resolve, plan, run. It restores a stage or performs it, and never listens.

pub mod config;
pub mod events;
pub mod image;
