//! Spec + Lock → Plan: every stage, action and digest, with nothing left to decide.

pub mod accounts;
pub mod apk;
pub mod companions;
pub mod context;
pub mod fits;
pub mod format;
pub mod image;
pub mod print;
pub mod stage;
pub mod tools;

pub use context::Inputs;
pub use image::plan;
