//! Boards: machines an image can be made for.

use std::sync::LazyLock;

use kiln_model::Arch;
use kiln_model::action::Blob;
use serde::Deserialize;

use super::Release;
use crate::spec::{Format, Loader, Qemu};

/// A machine, or a class of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Board {
    /// The file's stem.
    #[serde(skip)]
    pub name: String,
    /// For people.
    pub title: String,
    pub architecture: Arch,
    /// Distributions that run on it as they are.
    pub distributions: Vec<String>,
    pub loader: Loader,
    /// Name in `data/layouts`.
    pub layout: String,
    pub kernel_arguments: Vec<String>,
    /// Where it is not the release's kernel for the architecture.
    pub kernel: Option<String>,
    /// What it needs besides kernel and loader: firmware.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Whether a cloud sets it up at its first boot.
    #[serde(default)]
    pub cloud_init: bool,
    /// What is made of it where the recipe says no output.
    pub output: Option<Format>,
    /// The device tree's file, where the boot loader would take another.
    pub device_tree: Option<String>,
    /// What its first program is read from.
    #[serde(default)]
    pub blobs: Vec<Blob>,
    pub qemu: Qemu,
}

static ALL: LazyLock<Vec<Board>> = LazyLock::new(|| {
    super::all::<Board>(&super::BOARDS).into_iter().map(|(name, board)| Board { name, ..board }).collect()
});

pub fn all() -> &'static [Board] {
    &ALL
}

pub fn find(name: &str) -> Option<&'static Board> {
    ALL.iter().find(|board| board.name == name)
}

impl Board {
    /// Returns its kernel package; none when the release has none for it.
    pub fn kernel_in(&self, release: &Release) -> Option<String> {
        let runs = self.distributions.contains(&release.distribution);
        let kernel = self.kernel.clone().or_else(|| release.kernels.get(self.architecture.debian()).cloned());
        kernel.filter(|_| runs)
    }
}
