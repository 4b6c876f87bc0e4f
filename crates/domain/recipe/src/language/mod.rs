//! The languages a recipe may be written in: text in, a tree of values with their places out.

pub mod pieman;
pub mod toml;

use crate::node::{Entry, Span};

/// What reading a text gave: all that could be understood, and what could not.
#[derive(Debug, Default)]
pub struct Read {
    pub entries: Vec<Entry>,
    pub mistakes: Vec<Mistake>,
    /// From this byte on, values may not be where they seem to be.
    pub doubtful: Option<usize>,
}

/// Something that is not the language.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistake {
    pub span: Span,
    pub message: String,
    pub hint: Option<String>,
}
