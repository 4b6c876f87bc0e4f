//! How a kiln ends that does not end well: one error with its causes, the way out on a line of its own, then details.

use std::process::ExitCode;

use kiln_engine::LoadError;
use kiln_model::{EventKind, Fault, FaultKind, Outcome};
use kiln_recipe::Rejected;
use serde_json::{Value, json};

use crate::out;

/// Exit code for a command line that cannot be meant.
const USAGE: u8 = 2;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    Fault(Box<Fault>),
    /// A recipe with mistakes; each is shown where it stands.
    Rejected(Rejected),
    Usage(String),
}

impl Failure {
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Fault(fault) => fault.kind().exit_code(),
            Self::Rejected(_) => 1,
            Self::Usage(_) => USAGE,
        }
    }

    /// Says it on stderr, once, and returns the exit code.
    pub fn show(&self) -> ExitCode {
        out::talk(&self.text());
        ExitCode::from(self.exit_code())
    }

    /// Returns it as the last event of a stream; a command line that cannot be meant begins none.
    pub fn event(&self) -> Option<EventKind> {
        match self {
            Self::Fault(fault) => Some(EventKind::failed(None, fault)),
            Self::Rejected(rejected) => Some(EventKind::Failed {
                stage: None,
                fault: FaultKind::Recipe,
                message: rejected.to_string(),
                hint: None,
                detail: None,
                diagnostics: values(rejected),
            }),
            Self::Usage(_) => None,
        }
    }

    /// Returns it as programs read it: how it ended, as a report has it, and the mistakes of a recipe.
    fn answer(&self) -> Option<Value> {
        let (outcome, diagnostics) = match self {
            Self::Fault(fault) => (Outcome::failed(None, fault), vec![]),
            Self::Rejected(rejected) => (Outcome::failed(None, &Fault::recipe(rejected.to_string())), values(rejected)),
            Self::Usage(_) => return None,
        };
        Some(json!({ "outcome": outcome, "diagnostics": diagnostics }))
    }

    fn text(&self) -> String {
        match self {
            Self::Fault(fault) => of_fault(fault),
            Self::Rejected(rejected) => format!("{}\nerror: {rejected}\n", rejected.render(out::look())),
            Self::Usage(message) => format!("error: {message}\nhint: kiln --help\n"),
        }
    }
}

/// With `--json`, says on stdout too why a command did not do what it was asked.
pub fn answered(json: bool, outcome: Result<ExitCode, Failure>) -> Result<ExitCode, Failure> {
    if let Some(answer) = outcome.as_ref().err().filter(|_| json).and_then(Failure::answer) {
        out::json(&answer)?;
    }
    outcome
}

fn values(rejected: &Rejected) -> Vec<Value> {
    rejected.diagnostics.iter().map(|said| json!(said)).collect()
}

/// Returns a fault as people read it: `error:`, `hint:`, and the detail as it is.
fn of_fault(fault: &Fault) -> String {
    let mut text = format!("error: {}\n", fault.chain());
    if let Some(hint) = fault.hint_text() {
        text.push_str(&format!("hint: {hint}\n"));
    }
    if let Some(detail) = fault.detail_text() {
        text.push_str(&format!("\n{}\n", detail.trim_end()));
    }
    text
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(Box::new(fault))
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Rejected(rejected) => rejected.into(),
            LoadError::Fault(fault) => fault.into(),
        }
    }
}

impl From<Rejected> for Failure {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_said_once_with_its_way_out() {
        let fault = Fault::upstream("fetch `Release`").because(std::io::Error::other("404")).hint("ask another mirror");
        let failure = Failure::from(fault.detail("  GET …\n"));
        assert_eq!(failure.text(), "error: fetch `Release`: 404\nhint: ask another mirror\n\n  GET …\n");
        assert_eq!(failure.exit_code(), 3);
    }
}
