//! The bytes of disks, filesystems and archives as values.
//!
//! Every function here is pure: a [`kiln_model::Tree`] and options in, [`kiln_model::Extents`] out. Content of files
//! is never read; an extent names the host file and the range. Same input, same bytes.

pub mod bios;
pub mod bmap;
mod body;
pub mod btrfs;
pub mod error;
pub mod ext4;
pub mod fat;
pub mod file;
pub mod layout;
pub mod mender;
mod put;
pub mod qcow2;
pub mod swap;
pub mod table;
pub mod tar;
pub mod u_boot;
pub mod uki;
mod view;

pub use error::Error;
pub use layout::{Disk, Placed, disk, disk_with_sums, partition};
