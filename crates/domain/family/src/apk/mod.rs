//! The Alpine family: Alpine Linux, postmarketOS and what else installs with apk's second format.

pub mod archive;
pub mod checksum;
pub mod error;
pub mod index;
pub mod install;
pub mod package;
pub mod pkginfo;
pub mod relation;
pub mod solve;
pub mod trust;
pub mod version;

pub use archive::{Archive, ControlFile};
pub use checksum::Checksum;
pub use error::BadArchive;
pub use index::{Entry, Index};
pub use package::{Limits, Package};
pub use pkginfo::PkgInfo;
pub use relation::Atom;
pub use solve::{Chosen, Repository, Request, Solution, Unsatisfiable, solve};
pub use trust::Keys;
pub use version::Version;
