//! Disks: where each partition lies, and what it holds.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kiln_model::action::DiskLayout;
use kiln_model::{Extents, Tree};

use crate::Error;

/// A disk image.
#[derive(Clone, Debug)]
pub struct Disk {
    pub extents: Extents,
    /// The partitions, in the order of the layout.
    pub partitions: Vec<Placed>,
}

/// A partition that has its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub name: String,
    /// First byte on the disk.
    pub offset: u64,
    /// Length in bytes.
    pub size: u64,
}

/// Filesystems that another tool made: by partition name, the file and its length in bytes.
pub type Premade = BTreeMap<String, (PathBuf, u64)>;

/// Returns the disk that `layout` describes, its filesystems filled from `tree`; `epoch` is the time of making.
pub fn disk(tree: &Tree, layout: &DiskLayout, epoch: i64, premade: &Premade) -> Result<Disk, Error> {
    let _ = (tree, layout, epoch, premade);
    Err(Error::NotMade(String::new()))
}
