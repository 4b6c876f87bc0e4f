//! An artifact as a value.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::tree::{Body, Place};
use crate::{Kind, Tree};

/// What ends the name of the document that holds a view, kept beside an artifact or in its place; compressed as zstd.
pub const ENDING: &str = ".contents.json.zst";

/// The form of such a document.
const EDITION: u32 = 1;

/// What an artifact holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// `raw`, `qcow2`, `tar`, `squashfs`, `erofs`, `dir`, `report`.
    pub format: String,
    /// Empty unless the artifact is a disk.
    pub partitions: Vec<PartitionView>,
    /// Every file with the digest of its content; the partitions of a disk are joined where they are mounted.
    pub tree: Tree,
    /// Package (with `:arch` where it is not the tree's own) → version.
    pub packages: BTreeMap<String, String>,
    /// systemd unit → what the tree's administrator links say of it.
    pub units: BTreeMap<String, UnitState>,
}

/// One partition of a disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionView {
    /// From one, in table order.
    pub number: u32,
    /// The table's name for it; empty in an MBR table.
    pub name: String,
    /// Bytes from the start of the disk.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
    /// GPT type, or the one-byte type of MBR (`0x0c`).
    pub r#type: String,
    /// The partition's own UUID; in an MBR table disk id and number (`1234abcd-01`).
    pub id: String,
    /// `ext4`, `btrfs`, `vfat`, `squashfs`, `erofs`, or empty when not known.
    pub filesystem: String,
    pub label: String,
    /// The filesystem's UUID, for FAT `ABCD-1234`.
    pub uuid: String,
}

/// What the links below `/etc/systemd/system` say of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnitState {
    Enabled,
    Masked,
}

/// A view as a document.
#[derive(Serialize, Deserialize)]
struct Contents {
    /// [`EDITION`]; tells such a document from others.
    contents: u32,
    view: View,
}

impl View {
    /// Returns the view as JSON: what is said of files, and none of their bytes.
    pub fn to_json(mut self) -> Vec<u8> {
        for entry in &mut self.tree.entries {
            if let Kind::File(Body { token, place, .. }) = &mut entry.kind {
                (*token, *place) = (None, Place::Host("".into()));
            }
        }
        serde_json::to_vec(&Contents { contents: EDITION, view: self }).expect("views serialise")
    }

    /// Reads back what [`to_json`](Self::to_json) gave; none: it is another document.
    pub fn from_json(json: &[u8]) -> serde_json::Result<Option<Self>> {
        #[derive(Deserialize)]
        struct Head {
            contents: Option<u32>,
        }
        if serde_json::from_slice::<Head>(json)?.contents != Some(EDITION) {
            return Ok(None);
        }
        let mut view = serde_json::from_slice::<Contents>(json)?.view;
        view.tree.sort();
        Ok(Some(view))
    }
}
