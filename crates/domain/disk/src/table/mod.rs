//! Partition tables as values: [`gpt`](fn@gpt), [`mbr`](fn@mbr) and [`hybrid`](fn@hybrid), and the types of partitions.

mod gpt;
mod mbr;
pub mod types;

pub use gpt::{gpt, hybrid};
pub use mbr::mbr;
pub use types::type_guid;

use kiln_model::action::TableKind;
use uuid::Uuid;

/// Length of a sector in bytes.
pub const SECTOR: u64 = 512;

/// Bytes of the first sector that are a boot program's; the rest is the table's.
pub const CODE: u64 = 440;

/// One row of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Name in the table (GPT only), 36 UTF-16 units at most.
    pub name: String,
    /// Type as a GUID, a name of [`types::TYPES`], or for MBR `0xNN`.
    pub r#type: String,
    pub id: Uuid,
    /// First byte; a multiple of the sector.
    pub offset: u64,
    /// Length in bytes; a multiple of the sector.
    pub size: u64,
    /// Attribute bits of GPT (bit 59: grow the filesystem, bit 60: read-only, bit 63: no automatic mount).
    pub attributes: u64,
}

/// Returns how many bytes at the beginning of a disk a table takes.
pub fn length(kind: TableKind) -> u64 {
    kind.length()
}
