//! Reads `.deb` archives: an ar of `debian-binary`, `control.tar` and `data.tar`, each strictly in its place.
//!
//! Bytes come in through [`std::io::BufRead`], values and slices go out; nothing is written, and nothing the archive
//! says is believed before it was checked. One pass, bounded memory.

pub mod ar;
pub mod compression;
pub mod control;
mod deb;
pub mod error;
mod header;
pub mod tar;

pub use control::{Control, ControlFile, Interest, Stanza, Trigger};
pub use deb::{Deb, Limits, fuzz};
pub use error::BadPackage;
pub use tar::{Kind, Member, Tar};
