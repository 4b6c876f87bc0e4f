//! Which filesystem some bytes are.

use std::io;
use std::sync::Arc;

use super::block::Bytes;
use super::btrfs::{self, Btrfs};
use super::erofs::{self, Erofs};
use super::ext4::{self, Ext4};
use super::squashfs::{self, Squashfs};
use super::walk::Filesystem;

/// What a filesystem says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Identity {
    /// `ext4`, `btrfs`, `squashfs`, `erofs`.
    pub kind: &'static str,
    pub label: String,
    pub uuid: String,
}

/// Returns who a filesystem says it is; FAT has a reader of its own.
pub(super) fn identity(bytes: &dyn Bytes) -> Option<Identity> {
    if let Some(ext4::Identity { label, uuid }) = ext4::identity(bytes) {
        return Some(Identity { kind: "ext4", label, uuid });
    }
    if let Some((label, uuid)) = btrfs::identity(bytes) {
        return Some(Identity { kind: "btrfs", label, uuid });
    }
    if squashfs::is(bytes) {
        return Some(Identity { kind: "squashfs", ..Identity::default() });
    }
    erofs::identity(bytes).map(|(label, uuid)| Identity { kind: "erofs", label, uuid })
}

/// Opens a filesystem with Unix files; none when it is none that kiln reads.
pub(super) fn open(bytes: Arc<dyn Bytes>) -> io::Result<Option<Box<dyn Filesystem>>> {
    Ok(match identity(&*bytes).map(|identity| identity.kind) {
        Some("ext4") => Some(Box::new(Ext4::open(bytes)?)),
        Some("btrfs") => Some(Box::new(Btrfs::open(bytes)?)),
        Some("squashfs") => Some(Box::new(Squashfs::open(bytes)?)),
        Some("erofs") => Some(Box::new(Erofs::open(bytes)?)),
        _ => None,
    })
}
