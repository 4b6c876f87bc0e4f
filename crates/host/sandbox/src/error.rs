//! What can go wrong with a sandbox, and the command that mends it.

use std::io;

use kiln_model::{Fault, FaultKind};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of the sandbox itself; a command that fails is an [`Exit`](crate::Exit).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// SIGINT, SIGTERM, SIGHUP or [`cancel`](crate::cancel).
    #[error("interrupted")]
    Interrupted,
    /// Commands run only after [`enter`](crate::enter).
    #[error("run `{0}`: the sandbox was not entered")]
    NotEntered(String),
    /// The program is not in the tree or cannot be executed.
    #[error("run `{program}` in `{root}`")]
    Program { program: String, root: String, source: io::Error },
    /// The machine does not allow what a sandbox needs.
    #[error("{what}")]
    Refused { what: String, mend: Option<String>, source: Option<io::Error> },
    /// A system call failed.
    #[error("{doing}")]
    System { doing: String, source: io::Error },
}

impl Error {
    /// Returns the one command (or sentence) that mends it, where one is known.
    pub fn mend(&self) -> Option<&str> {
        match self {
            Self::Refused { mend, .. } => mend.as_deref(),
            _ => None,
        }
    }

    /// Whether the kernel does not know how to run the program: one for another architecture, or none at all.
    pub fn is_format(&self) -> bool {
        let code = |source: &io::Error| source.raw_os_error();
        matches!(self, Self::Program { source, .. } if code(source) == Some(rustix::io::Errno::NOEXEC.raw_os_error()))
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Interrupted => return Fault::interrupted(),
            Error::Program { .. } => FaultKind::Package,
            _ => FaultKind::Farm,
        };
        let fault = Fault::new(kind, error.to_string());
        let fault = match error.mend() {
            Some(mend) => fault.hint(mend),
            None => fault,
        };
        match error {
            Error::Program { source, .. } | Error::System { source, .. } => fault.because(source),
            Error::Refused { source: Some(source), .. } => fault.because(source),
            _ => fault,
        }
    }
}

/// Names what was being done when a system call failed.
pub(crate) trait Doing<T> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::System { doing: doing(), source: error.into() })
    }
}
