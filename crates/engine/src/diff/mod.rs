//! What differs between two artifacts: packages, files, units, partitions.
//!
//! [`open`] reads an artifact of any format kiln writes into a [`View`], natively and without mounting anything;
//! [`compare::diff`] is pure; [`text`] renders for people and serde for scripts. [`first_difference`] names the first place
//! where two artifacts part, for `kiln twice`.

pub mod block;
mod btrfs;
pub mod compare;
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
pub mod text;
pub mod view;
mod walk;
mod zerofs;

pub use compare::{Diff, diff};
pub use first::first_difference;
pub use open::open;
pub use view::{PartitionView, UnitState, View};
