//! The store: what kiln keeps between builds, found by what it is.
//!
//! - **blobs**: bytes under their SHA-256 ([`Store::blob`], [`Store::writer`])
//! - **layers**: the file trees that stages left, under the stage's id ([`Store::tree`], [`Store::publish`])
//! - **artifacts**: finished files under a key, with an index for writing the next one incrementally
//! - **documents**: small things under a kind and a key: parsed indexes, what was last seen of a repository
//!
//! Nothing half-written is ever visible, nothing that changed since it was stored is ever handed out, and nothing
//! needs `fsync`. README.md tells how. Several kilns may work on one store at once.

mod error;
mod layer;
mod manifest;
mod merge;
mod store;

pub use error::Error;
pub use layer::{Layer, Meta};
pub use manifest::{Item, Manifest, Mark};
pub use merge::merge;
pub use store::{
    Artifact, BlobWriter, Claim, Collected, Doc, EntryInfo, EntryKind, Finding, Remedy, Store, VerifyProgress,
};

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
