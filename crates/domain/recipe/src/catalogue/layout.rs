//! Layouts: how a board's disk is divided.

use std::sync::LazyLock;

use kiln_model::GuestPath;
use kiln_model::action::{FilesystemKind, Size, Subvolume, TableKind};
use serde::{Deserialize, Deserializer, de};

use crate::forms::size;
use crate::spec::{PartitionSpec, Slot};

/// A division of a disk.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Layout {
    /// The file's stem.
    #[serde(skip)]
    pub name: String,
    /// For people.
    pub title: String,
    pub table: TableKind,
    #[serde(rename = "partition")]
    pub partitions: Vec<Partition>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Partition {
    name: String,
    role: String,
    /// None: it is mounted nowhere.
    mount: Option<GuestPath>,
    filesystem: FilesystemKind,
    label: String,
    #[serde(deserialize_with = "roomy")]
    size: Size,
    #[serde(default)]
    mount_options: String,
    #[serde(default)]
    subvolumes: Vec<Subvolume>,
    /// Whether it takes what the others leave; none says so: the root does.
    #[serde(default)]
    grow: bool,
    #[serde(default)]
    slot: Option<Slot>,
}

impl Partition {
    /// Returns it as the spec has it, without features: those are the release's.
    pub fn spec(&self) -> PartitionSpec {
        PartitionSpec {
            name: self.name.clone(),
            role: self.role.clone(),
            mount: self.mount.clone(),
            filesystem: self.filesystem,
            label: self.label.clone(),
            size: self.size,
            features: Vec::new(),
            mount_options: self.mount_options.clone(),
            subvolumes: self.subvolumes.clone(),
            grow: self.grow,
            slot: self.slot.clone(),
        }
    }
}

static ALL: LazyLock<Vec<Layout>> = LazyLock::new(|| {
    super::all::<Layout>(&super::LAYOUTS).into_iter().map(|(name, layout)| Layout { name, ..layout }).collect()
});

pub fn all() -> &'static [Layout] {
    &ALL
}

pub fn find(name: &str) -> Option<&'static Layout> {
    ALL.iter().find(|layout| layout.name == name)
}

fn roomy<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
    #[derive(Deserialize)]
    struct Roomy {
        minimum: String,
        free: String,
    }
    let Roomy { minimum, free } = Roomy::deserialize(deserializer)?;
    let bytes = |text: &str| size(text).map_err(|wrong| de::Error::custom(wrong.message));
    Ok(Size::Roomy { minimum: bytes(&minimum)?, free: bytes(&free)? })
}
