//! Stages: the cacheable steps of a build.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Action, Digest};

/// The kinds of stage an image goes through, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StageKind {
    /// Packages that only a build needs, in a tree of their own.
    Tools,
    Bootstrap,
    Locale,
    Timezone,
    Indexes,
    Packages,
    Upgrade,
    Kernel,
    Boot,
    Network,
    Users,
    Cleanup,
    Image,
    Partitions,
    Sync,
}

impl StageKind {
    /// Every kind, in order.
    pub const ALL: [Self; 15] = [
        Self::Tools,
        Self::Bootstrap,
        Self::Locale,
        Self::Timezone,
        Self::Indexes,
        Self::Packages,
        Self::Upgrade,
        Self::Kernel,
        Self::Boot,
        Self::Network,
        Self::Users,
        Self::Cleanup,
        Self::Image,
        Self::Partitions,
        Self::Sync,
    ];

    /// Returns the name in plans, events and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Bootstrap => "bootstrap",
            Self::Locale => "locale",
            Self::Timezone => "timezone",
            Self::Indexes => "indexes",
            Self::Packages => "packages",
            Self::Upgrade => "upgrade",
            Self::Kernel => "kernel",
            Self::Boot => "boot",
            Self::Network => "network",
            Self::Users => "users",
            Self::Cleanup => "cleanup",
            Self::Image => "image",
            Self::Partitions => "partitions",
            Self::Sync => "sync",
        }
    }

    /// Returns the build status code that the stage's completion speaks (DESIGN.md); tools speak none.
    pub const fn code(self) -> Option<u16> {
        match self {
            Self::Tools => None,
            Self::Bootstrap => Some(10),
            Self::Locale => Some(20),
            Self::Timezone => Some(21),
            Self::Indexes => Some(30),
            Self::Packages => Some(31),
            Self::Upgrade => Some(32),
            Self::Kernel => Some(33),
            Self::Boot => Some(40),
            Self::Network => Some(50),
            Self::Users => Some(60),
            Self::Cleanup => Some(70),
            Self::Image => Some(80),
            Self::Partitions => Some(81),
            Self::Sync => Some(82),
        }
    }
}

impl fmt::Display for StageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The identity of a stage: the digest of its description and of the id before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StageId(pub Digest);

impl fmt::Display for StageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One step of a build: what it does to the tree the stages before it made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    pub kind: StageKind,
    pub actions: Vec<Action>,
}

/// The version of all stage ids: raise it when the same description must no longer find the same tree.
pub const CACHE_VERSION: &str = "kiln-stage-1";

impl Stage {
    /// Returns the stage's id after `before`.
    pub fn id(&self, before: Option<StageId>) -> StageId {
        let description = serde_json::to_vec(self).expect("stages serialise");
        let before = before.map(|id| id.to_string()).unwrap_or_default();
        let mut text = format!("{CACHE_VERSION}\n{before}\n").into_bytes();
        text.extend_from_slice(&description);
        StageId(Digest::of(text))
    }
}
