//! What can go wrong with a store.

use std::io;
use std::path::{Path, PathBuf};

use kiln_model::{Digest, Fault, FaultKind, GuestPath, StageId};

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{verb} `{}`", path.display())]
    Io { verb: &'static str, path: PathBuf, source: io::Error },
    #[error("the bytes are not the ones asked for: expected sha256 `{expected}`, got `{got}`")]
    WrongDigest { expected: Digest, got: Digest },
    #[error("the bytes are no layer of stage `{}`", stage.0.short())]
    NoLayer { stage: StageId, source: io::Error },
    #[error("`{path}` in the layer of stage `{}` only refers to a layer below (overlay xattr `{xattr}`)", stage.0.short())]
    Refers { stage: StageId, path: GuestPath, xattr: String },
    #[error("the layer of stage `{}` holds a name that no image may hold", stage.0.short())]
    BadName { stage: StageId, source: kiln_model::path::BadPath },
}

impl Error {
    /// Whether bytes that were to be a layer are none, whoever unpacks them and wherever.
    pub fn is_of_the_layer(&self) -> bool {
        matches!(self, Self::NoLayer { .. } | Self::Refers { .. } | Self::BadName { .. })
    }

    /// Wraps an I/O error with what was being done to which path.
    pub(crate) fn io<E: Into<io::Error>>(verb: &'static str, path: impl AsRef<Path>) -> impl FnOnce(E) -> Self {
        move |source| Self::Io { verb, path: path.as_ref().to_owned(), source: source.into() }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let full = matches!(&error, Error::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull);
        let kind = match error {
            Error::WrongDigest { .. } => FaultKind::Upstream,
            _ => FaultKind::Farm,
        };
        let fault = Fault::new(kind, "use the store").because(error);
        if full { fault.hint("free some space, or lower the cache's bound with `kiln cache gc`") } else { fault }
    }
}
