//! Boards: machines an image can be made for.

use std::collections::BTreeMap;
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
    /// By distribution that runs on it as it is: the architectures of its packages, the usual one first.
    pub architectures: BTreeMap<String, Vec<Arch>>,
    pub loader: Loader,
    /// Whether there are such machines with a BIOS; they start by GRUB and the loader's entries.
    #[serde(default)]
    pub bios: bool,
    /// Name in `data/layouts`.
    pub layout: String,
    pub kernel_arguments: Vec<String>,
    /// By `DISTRIBUTION/ARCHITECTURE`, where it is not the release's kernel for the architecture.
    #[serde(default)]
    pub kernels: BTreeMap<String, String>,
    /// What it needs besides kernel and loader.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Packages that it needs, out of the components that a release keeps firmware in.
    #[serde(default)]
    pub firmware: Vec<String>,
    /// Whether a cloud sets it up at its first boot.
    #[serde(default)]
    pub cloud_init: bool,
    /// What is made of it where the recipe says no output.
    pub output: Option<Format>,
    /// What Raspberry Pi Imager calls it in the tags of devices, without the width of the processor: `pi3`.
    pub imager: Option<String>,
    /// The device tree's file, where the boot loader would take another.
    pub device_tree: Option<String>,
    /// What its first program is read from.
    #[serde(default)]
    pub blobs: Vec<Blob>,
    /// How QEMU imitates it, where it can.
    pub qemu: Option<Qemu>,
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
    /// Returns the architecture that is meant where none is said; a release that does not run here gets any of the board's.
    pub fn usual_architecture(&self, release: Option<&Release>) -> Arch {
        let of_distribution = release.and_then(|release| self.architectures.get(&release.distribution));
        let mut all = of_distribution.into_iter().chain(self.architectures.values()).flatten().copied();
        let usual = all.next().expect("data: a board has an architecture");
        let has = |arch: &Arch| release.is_none_or(|release| release.architectures.contains(arch));
        of_distribution.into_iter().flatten().copied().find(has).unwrap_or(usual)
    }

    /// Returns its kernel package; none when the release has none for it.
    pub fn kernel_in(&self, release: &Release, architecture: Arch) -> Option<String> {
        let runs = self.architectures.get(&release.distribution).is_some_and(|all| all.contains(&architecture));
        let own = self.kernels.get(&format!("{}/{architecture}", release.distribution));
        own.or_else(|| release.kernels.get(architecture.debian())).filter(|_| runs).cloned()
    }

    /// Returns what starts on it, for people: `debian (arm64, armhf), ubuntu (arm64)`.
    pub fn systems(&self) -> String {
        let system = |(name, all): (&String, &Vec<Arch>)| {
            format!("{name} ({})", all.iter().map(|arch| arch.debian()).collect::<Vec<_>>().join(", "))
        };
        self.architectures.iter().map(system).collect::<Vec<_>>().join(", ")
    }
}
