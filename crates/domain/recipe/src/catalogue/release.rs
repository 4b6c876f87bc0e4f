//! Releases: where their packages are, and what each needs for what.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use kiln_model::Arch;
use serde::Deserialize;

use crate::spec::{BaseSet, Family};

/// A release of a distribution.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Release {
    /// For people: `Debian 13`.
    pub title: String,
    #[serde(default)]
    pub family: Family,
    pub distribution: String,
    /// As people say it: `13`.
    pub release: String,
    pub codename: String,
    /// Where people look at its packages, up to a package's name; `{architecture}` is the archive's word for one.
    pub packages_url: String,
    pub aliases: Vec<String>,
    pub architectures: Vec<Arch>,
    /// What is used unless the recipe says otherwise.
    pub components: Vec<String>,
    pub known_components: Vec<String>,
    /// Which of them hold what boards load before or besides the kernel.
    #[serde(default)]
    pub firmware_components: Vec<String>,
    /// Whether `config.txt` and `cmdline.txt` of a Raspberry Pi are the owner's, and not written anew for every kernel.
    #[serde(default)]
    pub keeps_config_txt: bool,
    pub init: Init,
    /// The login shell of people.
    #[serde(default = "bash")]
    pub shell: String,
    /// That of system accounts.
    #[serde(default = "nologin")]
    pub nologin: String,
    /// The package that keeps the archive's keys current in the image.
    pub keyring_package: String,
    /// Words for mke2fs that keep its filesystems readable for its own tools.
    pub ext4_features: Vec<String>,
    merged_usr: Vec<MergedLink>,
    /// The sets that a recipe starts from, where packages do not say themselves what they are to them.
    #[serde(default)]
    base_sets: BTreeMap<String, Vec<String>>,
    /// What OpenRC starts, by runlevel.
    #[serde(default)]
    pub runlevels: BTreeMap<String, Vec<String>>,
    /// Whether kiln's own tools come from here.
    #[serde(default)]
    tools: bool,
    #[serde(rename = "repository")]
    repositories: Vec<Archive>,
    /// Kernel packages by architecture.
    pub kernels: BTreeMap<String, String>,
    features: BTreeMap<String, Vec<String>>,
}

/// What starts the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Init {
    Systemd,
    Sysvinit,
    Openrc,
}

fn bash() -> String {
    "/bin/bash".into()
}

fn nologin() -> String {
    "/usr/sbin/nologin".into()
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MergedLink {
    path: String,
    target: String,
    #[serde(default)]
    architectures: Vec<Arch>,
}

/// One repository of a release.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Archive {
    pub name: String,
    /// The word mirrors are known by: `KILN_MIRROR_DEBIAN` serves `debian`.
    pub mirror: String,
    pub suite: String,
    pub uris: Vec<String>,
    /// File in `data/keyrings`.
    pub keyring: String,
    /// Where the image has that key.
    pub signed_by: String,
    /// The switch of `[base]` that it belongs to; none: always used.
    pub option: Option<String>,
    #[serde(default = "usual_priority")]
    pub priority: i32,
    /// Where old states of it are kept; a stamp follows.
    pub snapshots: Option<String>,
    /// Empty: all of the release's.
    #[serde(default)]
    pub architectures: Vec<Arch>,
    /// Where they differ from the release's.
    pub components: Option<Vec<String>>,
}

fn usual_priority() -> i32 {
    500
}

/// Releases that are no longer supported.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ended {
    pub distribution: String,
    pub names: Vec<String>,
    pub successor: String,
}

static ALL: LazyLock<Vec<Release>> =
    LazyLock::new(|| super::all(&super::RELEASES).into_iter().map(|(_, release)| release).collect());

static ENDED: LazyLock<Vec<Ended>> = LazyLock::new(|| {
    #[derive(Deserialize)]
    struct File {
        release: Vec<Ended>,
    }
    let text = include_str!("../../../../../data/ended.toml");
    toml::from_str::<File>(text).unwrap_or_else(|error| panic!("data `ended.toml`: {error}")).release
});

/// Returns every release, in the order of distribution and number.
pub fn all() -> &'static [Release] {
    &ALL
}

pub fn ended() -> &'static [Ended] {
    &ENDED
}

/// Returns a release of a distribution by its number, codename or alias.
pub fn find(distribution: &str, word: &str) -> Option<&'static Release> {
    ALL.iter().find(|release| release.distribution == distribution && release.is_called(word))
}

/// Returns the release that kiln's own tools come from.
pub fn of_tools() -> &'static Release {
    ALL.iter().find(|release| release.tools).expect("data: one release has `tools = true`")
}

/// Returns the names of all distributions, each once.
pub fn distributions() -> Vec<&'static str> {
    let mut names: Vec<&str> = ALL.iter().map(|release| release.distribution.as_str()).collect();
    names.dedup();
    names
}

impl Release {
    /// Returns the distribution's name as people say it: the title up to the release.
    pub fn name(&self) -> &str {
        let at = self.title.find(&format!(" {}", self.release)).unwrap_or(self.title.len());
        &self.title[..at]
    }

    pub fn is_called(&self, word: &str) -> bool {
        self.words().any(|own| own == word)
    }

    /// Returns its number, codename and aliases.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        [self.release.as_str(), self.codename.as_str()].into_iter().chain(self.aliases.iter().map(String::as_str))
    }

    pub fn repositories_for(&self, arch: Arch) -> impl Iterator<Item = &Archive> {
        let has = move |archive: &&Archive| archive.architectures.is_empty() || archive.architectures.contains(&arch);
        self.repositories.iter().filter(has)
    }

    /// Whether every archive of it has all architectures, so that any of its mirrors does.
    pub fn serves_all(&self) -> bool {
        self.repositories.iter().all(|archive| archive.architectures.is_empty())
    }

    /// Returns the names that its archives' mirrors go by in the environment.
    pub fn mirrors(&self) -> impl Iterator<Item = &str> {
        self.repositories.iter().map(|archive| archive.mirror.as_str())
    }

    /// Returns the packages that a feature needs; none when it is not to be had in this release.
    pub fn feature(&self, name: &str) -> Option<&[String]> {
        self.features.get(name).map(Vec::as_slice)
    }

    /// Returns the packages of a base set by name; none where packages say themselves what they are to it.
    pub fn base_set(&self, set: BaseSet) -> Vec<String> {
        let name = match set {
            BaseSet::Essential => "essential",
            BaseSet::Minbase => "minbase",
            BaseSet::Important => "important",
            BaseSet::Standard => "standard",
        };
        self.base_sets.get(name).cloned().unwrap_or_default()
    }

    /// Returns path and target of the links that must be there before packages are unpacked.
    pub fn merged_usr(&self, arch: Arch) -> Vec<(String, String)> {
        let wanted = |link: &&MergedLink| link.architectures.is_empty() || link.architectures.contains(&arch);
        self.merged_usr.iter().filter(wanted).map(|link| (link.path.clone(), link.target.clone())).collect()
    }
}
