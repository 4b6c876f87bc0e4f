//! Why there is no answer: sentences for people, each with its own way out.

use kiln_model::Fault;

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{}", texts(.reasons).join("; "))]
pub struct Unsatisfiable {
    pub reasons: Vec<Reason>,
    /// Names of packages that other versions of might have helped.
    pub blamed: Vec<String>,
}

/// One thing that stands in the way of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    pub kind: Kind,
    /// A sentence: lowercase, no full stop, objects in backticks.
    pub text: String,
    /// The way out.
    pub hint: Option<String>,
    /// The word of the request that it is about, where it is about one.
    pub word: Option<String>,
}

/// What kind of thing stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A name that nothing has.
    Unknown,
    /// What is asked for is there, but not so.
    Unmet,
}

impl Reason {
    pub(super) fn unknown(text: impl Into<String>, hint: Option<String>) -> Self {
        Self { kind: Kind::Unknown, text: text.into(), hint, word: None }
    }

    pub(super) fn unmet(text: impl Into<String>, hint: Option<String>) -> Self {
        Self { kind: Kind::Unmet, text: text.into(), hint, word: None }
    }

    pub(super) fn about(self, word: &str) -> Self {
        Self { word: Some(word.to_owned()), ..self }
    }
}

impl Unsatisfiable {
    pub(super) fn new(reasons: Vec<Reason>) -> Self {
        Self { reasons, blamed: Vec::new() }
    }
}

fn texts(reasons: &[Reason]) -> Vec<&str> {
    reasons.iter().map(|reason| reason.text.as_str()).collect()
}

impl From<Unsatisfiable> for Fault {
    fn from(error: Unsatisfiable) -> Self {
        let fault = Fault::recipe(error.to_string());
        match error.reasons.into_iter().find_map(|reason| reason.hint) {
            Some(hint) => fault.hint(hint),
            None => fault,
        }
    }
}
