//! Boards: machines an image can be made for.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use kiln_model::action::Blob;
use kiln_model::{Arch, GuestPath};
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
    /// Releases, as `DISTRIBUTION/RELEASE`, that have its kernel and not what starts that.
    #[serde(default)]
    lacking: Vec<String>,
    /// What it needs besides kernel and loader.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Packages that it needs, out of the components that a release keeps firmware in.
    #[serde(default)]
    pub firmware: Vec<String>,
    /// What is otherwise for a distribution that calls things by other names.
    #[serde(default)]
    of: BTreeMap<String, Own>,
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
    /// How it takes updates by Mender; none: not at all.
    pub mender: Option<OverTheAir>,
    /// How QEMU imitates it, where it can.
    pub qemu: Option<Qemu>,
}

/// What is of one distribution alone.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Own {
    /// Name in `data/layouts`.
    layout: Option<String>,
    /// What it needs besides kernel and loader, firmware included.
    #[serde(default)]
    packages: Vec<String>,
    /// What OpenRC starts beside the release's services.
    #[serde(default)]
    runlevels: BTreeMap<String, Vec<String>>,
}

/// What a board needs to run from two roots in turn.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct OverTheAir {
    /// What Mender calls such devices.
    pub device_type: String,
    /// Name in `data/layouts`.
    pub layout: String,
    /// Packages besides Mender's client and U-Boot's tools.
    pub packages: Vec<String>,
    /// U-Boot for it, a file of its package: by `DISTRIBUTION/ARCHITECTURE`.
    pub u_boot: BTreeMap<String, GuestPath>,
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

    /// Returns the name of its layout for a release; with `mender`, of the one for updates, where it has one.
    pub fn layout_in(&self, release: &Release, mender: bool) -> &str {
        let updated = self.mender.as_ref().filter(|_| mender).map(|mender| mender.layout.as_str());
        let own = || self.own(release).and_then(|own| own.layout.as_deref());
        updated.or_else(own).unwrap_or(&self.layout)
    }

    /// Returns what it needs for updates by Mender, and where a release has U-Boot for it; none where it takes none.
    pub fn mender_in(&self, release: &Release, architecture: Arch) -> Option<(&OverTheAir, &GuestPath)> {
        let mender = self.mender.as_ref()?;
        let u_boot = mender.u_boot.get(&format!("{}/{architecture}", release.distribution))?;
        Some((mender, u_boot))
    }

    /// Returns what it needs of a release besides kernel and loader.
    pub fn packages_in(&self, release: &Release) -> Vec<&str> {
        match self.own(release) {
            Some(own) => own.packages.iter().map(String::as_str).collect(),
            None => self.packages.iter().chain(&self.firmware).map(String::as_str).collect(),
        }
    }

    /// Returns what OpenRC starts on it, by runlevel.
    pub fn runlevels_in(&self, release: &Release) -> BTreeMap<String, Vec<String>> {
        let mut all = release.runlevels.clone();
        for (level, services) in self.own(release).iter().flat_map(|own| &own.runlevels) {
            all.entry(level.clone()).or_default().extend(services.iter().cloned());
        }
        all
    }

    fn own(&self, release: &Release) -> Option<&Own> {
        self.of.get(&release.distribution)
    }

    /// Whether a release has what starts the kernel.
    pub fn starts_in(&self, release: &Release) -> bool {
        !self.lacking.contains(&format!("{}/{}", release.distribution, release.release))
    }

    /// Returns its kernel package; none when the release has none for it.
    pub fn kernel_in(&self, release: &Release, architecture: Arch) -> Option<String> {
        let runs = self.architectures.get(&release.distribution).is_some_and(|all| all.contains(&architecture));
        let runs = runs && self.starts_in(release);
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
