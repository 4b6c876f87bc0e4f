//! Why unpacking stopped.

use std::io;

use kiln_family::deb::install;
use kiln_family::deb::package::BadPackage;
use kiln_model::{Digest, Fault, GuestPath};
use rustix::io::Errno;

/// Why unpacking stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Package(#[from] BadPackage),
    #[error("its SHA-256 is `{found}`, the lock says `{locked}`")]
    Digest { locked: Digest, found: Digest },
    #[error("its control data says `{found}`, the lock says `{locked}`")]
    Identity { locked: String, found: String },
    #[error("`{path}` is in `{mine}` and in `{theirs}`, and neither replaces the other")]
    Conflict { path: GuestPath, mine: String, theirs: String },
    #[error("`{path}` is not a directory in the tree, but `{package}` ships one")]
    NotADirectory { path: GuestPath, package: String },
    #[error("`{path}` is a directory in the tree, but `{package}` ships something else")]
    IsADirectory { path: GuestPath, package: String },
    #[error("`{path}` differs between the architectures of `{package}`")]
    Differs { path: GuestPath, package: String },
    #[error("{doing} `{path}` in the tree")]
    Tree { doing: &'static str, path: GuestPath, source: io::Error },
    #[error("read `{path}`")]
    Archive { path: String, source: io::Error },
    #[error("write the package database")]
    Database(#[from] install::Error),
}

impl Error {
    pub(super) fn tree(doing: &'static str, path: &GuestPath, errno: Errno) -> Self {
        Self::Tree { doing, path: path.clone(), source: errno.into() }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::Package(error) => error.into(),
            Error::Digest { .. } | Error::Identity { .. } => {
                Self::upstream("package archive is not the locked one").because(error).hint("run `kiln cache verify`, then build again")
            }
            Error::Tree { ref source, .. } if source.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Self::farm("unpack")
                .because(error)
                .hint("the owner of a file may have no place among the subordinate ids of this user; `kiln doctor` knows more"),
            // The tree is ours alone, so a path that leads nowhere is an archive's doing.
            Error::Tree { ref source, .. } if leads_nowhere(source) => Self::package("unpack").because(error),
            Error::Tree { .. } | Error::Archive { .. } => Self::farm("unpack").because(error),
            error => Self::package("unpack").because(error),
        }
    }
}

fn leads_nowhere(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [Errno::NOENT, Errno::LOOP, Errno::NOTDIR, Errno::NAMETOOLONG]
        .iter()
        .any(|errno| code == Some(errno.raw_os_error()))
}
