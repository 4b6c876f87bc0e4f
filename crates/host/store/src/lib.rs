//! The store: what kiln keeps between builds, found by what it is.
//!
//! - **blobs**: bytes under their SHA-256 ([`Store::blob`], [`Store::writer`])
//! - **layers**: the file trees that stages left, under the stage's id ([`Store::tree`], [`Store::publish`])
//! - **documents**: small things under a kind and a key: parsed indexes, what was last seen of a repository
//!
//! Nothing half-written is ever visible, nothing that changed since it was stored is ever handed out, and nothing
//! needs `fsync`. README.md tells how. Several kilns may work on one store at once.

mod blob;
mod boot;
mod check;
mod claim;
mod codec;
mod document;
mod error;
mod files;
mod fingerprint;
mod gc;
mod index;
mod layer;
mod list;
mod manifest;
mod merge;
mod pack;
mod scan;
mod session;
mod store;
mod verify;

pub use blob::BlobWriter;
pub use boot::Boot;
pub use claim::Claim;
pub use document::Doc;
pub use error::Error;
pub use fingerprint::Fingerprint;
pub use gc::Collected;
pub use layer::{Layer, Meta};
pub use list::{EntryInfo, EntryKind};
pub use manifest::{Item, Manifest, Mark};
pub use merge::merge;
pub use scan::tree;
pub use store::Store;
pub use verify::{Finding, VerifyProgress};

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
