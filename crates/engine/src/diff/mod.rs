//! What differs between two artifacts: packages, files, units, partitions.
//!
//! [`open`] reads an artifact of any format kiln writes into a [`kiln_model::View`], natively and without mounting anything;
//! [`kiln_model::diff()`] compares two. [`first_difference`] names the first place
//! where two artifacts part, for `kiln twice`.

pub mod block;
mod btrfs;
mod dir;
mod erofs;
mod ext4;
mod facts;
pub(crate) mod fat;
mod filesystem;
pub mod first;
pub mod glance;
pub mod open;
pub mod packed;
mod qcow2;
mod squashfs;
pub(crate) mod table;
mod tar;
mod walk;
mod zerofs;

pub use first::first_difference;
pub use open::open;
