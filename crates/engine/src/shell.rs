//! A shell in a tree: a recipe's finished one, or the one a failed stage left.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use kiln_model::fault::OrFault as _;
use kiln_model::{Arch, Fault, StageId, StageKind};
use kiln_sandbox::{Command, Emulator, Overlay, Scratch, Status};
use kiln_store::Layer;
use serde::{Deserialize, Serialize};

use crate::build::BuildOptions;
use crate::events::Events;
use crate::kiln::{Kiln, plan};
use crate::load::Loaded;
use crate::resolve::Update;
use crate::run::{Room, Run, State};
use crate::secrets::Secrets;

/// Which tree to open.
#[derive(Clone, Copy, Debug)]
pub enum ShellTarget<'a> {
    /// The finished tree of a recipe, made first where the cache has it not.
    Recipe(&'a Loaded),
    /// The tree that the last failed build kept.
    Failed,
}

/// What is remembered of a failed tree.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    stage: StageKind,
    /// The layers below, lowest first.
    below: Vec<StageId>,
    /// The scratch folder with the stage's own changes.
    folder: PathBuf,
    #[serde(default = "Arch::host")]
    arch: Arch,
    #[serde(default)]
    emulators: Vec<Emulator>,
}

/// Keeps the tree of a stage that failed; the one kept before goes.
pub(crate) fn keep(run: &Run<'_>, room: Room, stage: StageKind, below: &[Layer]) -> Result<(), Fault> {
    let about = run.kiln.config.cache.join(ABOUT);
    if let Some(old) = read(&about) {
        crate::run::remove(&old.folder);
    }
    let emulators = run.emulators().unwrap_or_else(|fault| {
        run.events.warn(format!("the failed tree's programs will not run: {}", fault.chain()));
        vec![]
    });
    let (below, arch) = (below.iter().map(|layer| layer.id).collect(), run.plan.arch);
    let kept = Kept { stage, below, folder: room.keep()?, arch, emulators };
    let text = serde_json::to_vec(&kept).expect("plain values serialise");
    fs::write(&about, text).farm(|| format!("write `{}`", about.display()))
}

/// File in the cache that tells where the failed tree is.
const ABOUT: &str = "failed.json";

fn read(about: &Path) -> Option<Kept> {
    serde_json::from_slice(&fs::read(about).ok()?).ok()
}

impl Kiln {
    /// Runs `argv` (a shell when empty) in a tree, on the caller's terminal; returns its exit code. What it changes is
    /// thrown away, except in a failed tree, which stays as it is left.
    pub fn shell(&self, what: ShellTarget<'_>, argv: &[OsString], events: &Events) -> Result<i32, Fault> {
        match what {
            ShellTarget::Recipe(loaded) => {
                let layers = self.tree_layers(loaded, events)?;
                let scratch = Scratch::new(&self.config.cache.join("scratch"), "shell")?;
                let arch = loaded.completed.spec.base.architecture;
                let emulators = self.emulators(loaded, arch, events)?;
                self.shell_in(&layers, scratch.path(), argv, (arch, emulators))
            }
            ShellTarget::Failed => {
                let kept = read(&self.config.cache.join(ABOUT)).filter(|kept| kept.folder.is_dir());
                let kept = kept
                    .ok_or_else(|| Fault::recipe("no failed tree was kept").hint("build with `--keep-failed` first"))?;
                let layers = self.layers_below(&kept)?;
                if let Some(gone) = kept.emulators.iter().find(|emulator| !emulator.program.exists()) {
                    let what = format!("the emulator for `{}` left the cache", gone.name);
                    return Err(Fault::farm(what).hint("build again with `--keep-failed`"));
                }
                self.shell_in(&layers, &kept.folder, argv, (kept.arch, kept.emulators))
            }
        }
    }

    fn layers_below(&self, kept: &Kept) -> Result<Vec<Layer>, Fault> {
        let layer = |id: &StageId| {
            let gone = || Fault::farm(format!("the layers below the failed stage `{}` left the cache", kept.stage));
            self.store.tree(id)?.ok_or_else(gone)
        };
        kept.below.iter().map(layer).collect()
    }

    /// Makes, or takes from the cache, the layers of a recipe's tree.
    fn tree_layers(&self, loaded: &Loaded, events: &Events) -> Result<Vec<Layer>, Fault> {
        self.in_run(loaded, events, |run| {
            run.layers(run.plan.pipeline("tree").ok_or_else(|| Fault::farm("the plan makes no tree"))?)
        })
    }

    /// Fills the cache with what the recipe's build needs of kiln's own tools: programs that write its formats, emulators, native
    /// helpers.
    pub fn tools(&self, loaded: &Loaded, events: &Events) -> Result<(), Fault> {
        self.in_run(loaded, events, |run| {
            // Kiln writes most formats itself.
            if run.plan.pipeline("tools").is_some() {
                run.tools()?;
            }
            run.emulators()?;
            self.fetch_helpers(loaded, run.lock, events)
        })
    }

    fn in_run<T>(
        &self,
        loaded: &Loaded,
        events: &Events,
        work: impl FnOnce(&Run<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let secrets = Secrets::read(loaded)?;
        let lock = self.lock(loaded, &Update::Keep, events)?;
        let plan = plan(loaded, &lock, &secrets);
        let (options, current) = (BuildOptions::default(), Mutex::new(None));
        work(&Run {
            kiln: self,
            loaded,
            lock: &lock,
            plan: &plan,
            secrets: &secrets,
            options: &options,
            events,
            state: State::default(),
            current: &current,
        })
    }

    fn shell_in(
        &self,
        layers: &[Layer],
        folder: &Path,
        argv: &[OsString],
        (arch, emulators): (Arch, Vec<Emulator>),
    ) -> Result<i32, Fault> {
        let lowers: Vec<_> = layers.iter().rev().map(|layer| layer.path.as_path()).collect();
        let overlay = Overlay::mount(&lowers, &folder.join("upper"), &folder.join("work"), &folder.join("root"))?;
        let words = argv.iter().map(|word| word.to_string_lossy().into_owned());
        let bash = overlay.target().join("bin/bash").exists();
        let shell = if bash { "/bin/bash" } else { "/bin/sh" };
        let argv: Vec<_> = if argv.is_empty() { vec![shell.to_owned()] } else { words.collect() };
        let mut command = Command::new(overlay.target(), argv);
        command.terminal = true;
        command.emulators = emulators;
        command.hostname = self.config.sandbox_hostname.clone();
        command = command.env("TERM", std::env::var("TERM").unwrap_or_else(|_| "dumb".into()));
        let ran = self.sandbox()?.run(&command, &mut |_, _| {});
        let exit = ran.map_err(|error| crate::run::refused(error, arch))?;
        overlay.unmount()?;
        Ok(match exit.status {
            Status::Code(code) => code,
            Status::Signal(signal) => 128 + signal,
        })
    }
}
