//! The Debian family: Debian, Ubuntu, Kali, Devuan, Raspberry Pi OS.

pub mod deb822;
pub mod install;
pub mod package;
pub mod packages;
pub mod pin;
pub mod relation;
pub mod release;
pub mod solve;
pub mod trust;
pub mod version;

pub use packages::{Index, Stanza};
pub use release::Release;
pub use solve::{Request, Solution, Universe, Unsatisfiable, solve};
pub use trust::Keyring;
pub use version::Version;
