//! Running a plan: each stage's tree is restored or made, each output written, checked and put in place.

mod bios;
mod boot;
mod clamp;
mod command;
mod configure;
mod content;
mod copy;
mod disguise;
mod download;
pub(crate) use download::download_request;
pub(crate) mod emulate;
pub(crate) mod folder;
mod initrd;
mod install;
pub(crate) mod lend;
mod mender;
mod modules;
mod output;
mod perform;
mod place;
mod services;
mod stage;
mod sums;
mod tools;
mod upgrade;
mod users;
pub(crate) mod verify;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use kiln_family::Lock;
use kiln_model::{Plan, StageKind, StageOutcome};
use kiln_sandbox::Emulator;

use crate::build::BuildOptions;
use crate::events::Events;
use crate::kiln::Kiln;
use crate::load::Loaded;
use crate::secrets::Secrets;
use crate::unpack::Unpacked;

pub(crate) use command::refused;
pub(crate) use download::Downloads;
pub(crate) use output::{Made, remove};
pub(crate) use stage::Room;

/// A build under way.
pub(crate) struct Run<'a> {
    pub kiln: &'a Kiln,
    pub loaded: &'a Loaded,
    pub lock: &'a Lock,
    pub plan: &'a Plan,
    pub secrets: &'a Secrets,
    pub options: &'a BuildOptions,
    pub events: &'a Events,
    pub state: State,
    /// The stage in hand, for the fault that ends the build.
    pub current: &'a Mutex<Option<StageKind>>,
}

/// What a build remembers on its way.
#[derive(Default)]
pub(crate) struct State {
    pub downloads: Downloads,
    /// What was unpacked and waits to be configured.
    pub unpacked: Mutex<Option<Unpacked>>,
    /// What there was when modules were indexed early.
    pub indexed: Mutex<Option<modules::Inputs>>,
    /// How the stages went so far.
    pub outcomes: Mutex<Vec<StageOutcome>>,
    /// What runs the tree's programs, once it was looked for.
    pub emulators: Mutex<Option<Vec<Emulator>>>,
    /// What is lent to trees of another architecture, once it was looked for.
    pub native: Mutex<Option<Option<Arc<lend::Native>>>>,
}

impl Run<'_> {
    /// Returns the folder for scratch trees: on the store's filesystem, so that a finished tree is a rename.
    pub fn scratch_root(&self) -> PathBuf {
        self.kiln.config.cache.join("scratch")
    }

    pub fn note(&self, outcome: StageOutcome) {
        self.state.outcomes.lock().expect("no holder panics").push(outcome);
    }

    pub fn enter_stage(&self, stage: StageKind) {
        *self.current.lock().expect("no holder panics") = Some(stage);
    }
}
