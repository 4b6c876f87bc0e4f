//! The Alpine family: Alpine Linux, postmarketOS and what else installs with apk's second format.

pub mod checksum;
pub mod relation;
pub mod version;

pub use checksum::Checksum;
pub use relation::Atom;
pub use version::Version;
