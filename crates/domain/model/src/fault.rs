//! Whose fault a failure is: it decides the exit code, the retry, and who hears of it.

use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Who can mend a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FaultKind {
    /// The recipe, or what its author asked for: exit 1.
    Recipe,
    /// A package or a command inside the build failed: exit 1.
    Package,
    /// A mirror, a signature, an archive: exit 3.
    Upstream,
    /// The machine or the farm that builds: exit 4.
    Farm,
    /// It may work a little later (a lock held by another build, a mirror in the middle of its update): exit 75.
    Again,
    /// The build was told to stop (SIGINT, SIGTERM): exit 130.
    Interrupted,
}

impl FaultKind {
    /// Returns the exit code of a kiln that ends with this fault (DESIGN.md, "Conventions we honour").
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Recipe | Self::Package => 1,
            Self::Upstream => 3,
            Self::Farm => 4,
            Self::Again => 75,
            Self::Interrupted => 130,
        }
    }
}

/// A failure with its kind, the sentence that says what was being done, and the way out where one is known.
///
/// The sentence is lowercase, has no full stop and puts objects in backticks; causes stay in [`Error::source`].
#[derive(Debug)]
pub struct Fault {
    kind: FaultKind,
    what: String,
    hint: Option<String>,
    detail: Option<String>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Fault {
    pub fn new(kind: FaultKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), hint: None, detail: None, source: None }
    }

    pub fn recipe(what: impl Into<String>) -> Self {
        Self::new(FaultKind::Recipe, what)
    }

    pub fn package(what: impl Into<String>) -> Self {
        Self::new(FaultKind::Package, what)
    }

    pub fn upstream(what: impl Into<String>) -> Self {
        Self::new(FaultKind::Upstream, what)
    }

    pub fn farm(what: impl Into<String>) -> Self {
        Self::new(FaultKind::Farm, what)
    }

    pub fn interrupted() -> Self {
        Self::new(FaultKind::Interrupted, "interrupted")
    }

    /// Adds the way out, on a line of its own.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds text to show below the message as it is: a rendered diagnostic, the last lines of a command.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Keeps the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Puts `doing` before the sentence: ``unpack `x.deb`: …``.
    #[must_use]
    pub fn doing(mut self, doing: impl fmt::Display) -> Self {
        self.what = format!("{doing}: {}", self.what);
        self
    }

    pub fn kind(&self) -> FaultKind {
        self.kind
    }

    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    pub fn detail_text(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// Returns the sentence and its causes in one line, `: ` between them.
    pub fn chain(&self) -> String {
        let mut text = self.what.clone();
        let mut next = self.source();
        while let Some(cause) = next {
            let cause_text = cause.to_string();
            if !text.ends_with(&cause_text) {
                text.push_str(": ");
                text.push_str(&cause_text);
            }
            next = cause.source();
        }
        text
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

/// Gives any error its fault: `read(path).fault(FaultKind::Farm, || format!("read `{path}`"))?`.
pub trait OrFault<T> {
    fn fault(self, kind: FaultKind, what: impl FnOnce() -> String) -> Result<T, Fault>;

    /// The same with [`FaultKind::Farm`], for what the host itself does wrong.
    fn farm(self, what: impl FnOnce() -> String) -> Result<T, Fault>
    where
        Self: Sized,
    {
        self.fault(FaultKind::Farm, what)
    }
}

impl<T, E: Into<Box<dyn Error + Send + Sync>>> OrFault<T> for Result<T, E> {
    fn fault(self, kind: FaultKind, what: impl FnOnce() -> String) -> Result<T, Fault> {
        self.map_err(|error| Fault::new(kind, what()).because(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_is_one_line() {
        let cause = std::io::Error::other("unexpected end of archive");
        let fault = Fault::package("unpack `base-files_12.4.deb`").because(cause).hint("fetch it again");
        assert_eq!(fault.chain(), "unpack `base-files_12.4.deb`: unexpected end of archive");
        assert_eq!(fault.kind().exit_code(), 1);
    }
}
