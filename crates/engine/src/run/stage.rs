//! Trees: a pipeline's stages, each restored from the cache or performed on top of the ones before.

use std::path::{Path, PathBuf};
use std::time::Instant;

use kiln_model::plan::Pipeline;
use kiln_model::{EventKind, Fault, Stage, StageId, StageOutcome};
use kiln_sandbox::{Overlay, Scratch};
use kiln_store::{Layer, Meta};

use super::Run;
use crate::kiln::Kiln;
use crate::target::Target;

impl Run<'_> {
    /// Returns the layers of a pipeline, lowest first: what the cache has, then what had to be made.
    pub fn layers(&self, pipeline: &Pipeline) -> Result<Vec<Layer>, Fault> {
        let ids = self.plan.ids(pipeline);
        let mut layers = self.restore(pipeline, &ids)?;
        let rest = &pipeline.stages[layers.len()..];
        self.with_downloads(rest, || {
            for (stage, id) in rest.iter().zip(&ids[layers.len()..]) {
                layers.push(self.make(pipeline, stage, *id, &layers)?);
            }
            Ok(layers)
        })
    }

    /// Takes stages from the cache up to the first that is not there; with `force`, only those this build made.
    fn restore(&self, pipeline: &Pipeline, ids: &[StageId]) -> Result<Vec<Layer>, Fault> {
        let mut layers = vec![];
        for (stage, id) in pipeline.stages.iter().zip(ids) {
            let began = Instant::now();
            let known = self.has_passed(*id);
            if self.options.force && !known {
                break;
            }
            let Some(layer) = self.restored(id)? else { break };
            layers.push(layer);
            if known {
                continue;
            }
            self.events.tell(EventKind::StageRestored { stage: stage.kind, id: *id });
            self.finished(pipeline, stage, *id, true, began);
        }
        self.kiln.store.take_warnings().into_iter().for_each(|warning| self.events.warn(warning));
        Ok(layers)
    }

    /// Returns the layer of a stage that was made before, here or on another machine.
    fn restored(&self, id: &StageId) -> Result<Option<Layer>, Fault> {
        let Kiln { store, elsewhere, .. } = self.kiln;
        Ok(store.tree(id)?.or_else(|| elsewhere.fetch(store, id, self.events)))
    }

    fn make(&self, pipeline: &Pipeline, stage: &Stage, id: StageId, below: &[Layer]) -> Result<Layer, Fault> {
        let began = Instant::now();
        self.enter_stage(stage.kind);
        self.events.tell(EventKind::StageStarted { stage: stage.kind, id });
        let room = Room::new(&self.scratch_root(), stage.kind.name(), below)?;
        if let Err(fault) = self.perform_all(stage, &room.root) {
            return Err(self.keep_if_asked(room, stage, below, fault));
        }
        let upper = room.close(self.plan.epoch)?;
        let parent = below.last().map(|layer| layer.id);
        let meta = Meta { kind: stage.kind, size: 0, note: self.plan.name.clone(), parent };
        let store = &self.kiln.store;
        let layer = match self.options.force {
            false => store.publish(&id, upper.path(), meta)?,
            true => store.replace(&id, upper.path(), meta)?,
        };
        self.finished(pipeline, stage, id, false, began);
        self.kiln.elsewhere.offer(store, &layer, self.events);
        Ok(layer)
    }

    /// Whether this build made or restored a stage already: several outputs may ask for the same tools.
    fn has_passed(&self, id: StageId) -> bool {
        self.state.outcomes.lock().expect("no holder panics").iter().any(|outcome| outcome.id == id)
    }

    fn perform_all(&self, stage: &Stage, root: &Path) -> Result<(), Fault> {
        let target = Target::open(root).map_err(|error| Fault::farm("open the tree").because(error))?;
        stage.actions.iter().try_for_each(|action| {
            if kiln_sandbox::interrupted() {
                return Err(Fault::interrupted());
            }
            self.perform(stage.kind, action, &target)
        })
    }

    fn finished(&self, pipeline: &Pipeline, stage: &Stage, id: StageId, cached: bool, began: Instant) {
        let millis = began.elapsed().as_millis() as u64;
        self.events.tell(EventKind::StageFinished { stage: stage.kind, id, millis, code: stage.kind.code() });
        self.note(StageOutcome { pipeline: pipeline.name.clone(), stage: stage.kind, id, cached, millis });
    }

    /// With `--keep-failed`, moves the tree's own changes aside and remembers what lies below them.
    fn keep_if_asked(&self, room: Room, stage: &Stage, below: &[Layer], fault: Fault) -> Fault {
        if !self.options.keep_failed {
            return fault;
        }
        match crate::shell::keep(self, room, stage.kind, below) {
            Ok(()) => fault,
            Err(error) => {
                self.events.warn(format!("the failed tree could not be kept: {}", error.chain()));
                fault
            }
        }
    }
}

/// Where a room's scratch folder shows the tree, and where it keeps what the stage itself wrote.
const ROOT: &str = "root";
const UPPER: &str = "upper";

/// A tree to work on: the layers below with a fresh one on top.
pub(crate) struct Room {
    /// Where the tree is seen.
    pub root: PathBuf,
    overlay: Option<Overlay>,
    scratch: Scratch,
}

impl Room {
    /// The first stage works on a plain folder: overlayfs costs time on every file made.
    pub fn new(parent: &Path, name: &str, below: &[Layer]) -> Result<Self, Fault> {
        let scratch = Scratch::new(parent, name)?;
        let upper = scratch.path().join(UPPER);
        make_folder(&upper)?;
        if below.is_empty() {
            return Ok(Self { root: upper, overlay: None, scratch });
        }
        let lowers: Vec<&Path> = below.iter().rev().map(|layer| layer.path.as_path()).collect();
        let root = scratch.path().join(ROOT);
        let overlay = Overlay::mount(&lowers, &upper, &scratch.path().join("work"), &root)?;
        Ok(Self { root, overlay: Some(overlay), scratch })
    }

    /// Lets go of the tree and returns its own changes, none younger than `epoch`; they live as long as the room's
    /// scratch folder.
    pub fn close(self, epoch: i64) -> Result<Upper, Fault> {
        if let Some(overlay) = self.overlay {
            overlay.unmount()?;
        }
        let path = self.scratch.path().join(UPPER);
        super::clamp::clamp(&path, epoch).map_err(|error| Fault::farm("set the times of a tree").because(error))?;
        Ok(Upper { path, _scratch: self.scratch })
    }

    /// Lets go of the tree but keeps its own changes on disk; returns where they are.
    pub fn keep(self) -> Result<PathBuf, Fault> {
        if let Some(overlay) = self.overlay {
            overlay.unmount()?;
        }
        Ok(self.scratch.keep()?)
    }
}

/// Returns the folder that takes what is written to a room's tree, when that is not the tree itself.
pub(crate) fn written(root: &Path) -> Option<PathBuf> {
    Some(root.with_file_name(UPPER)).filter(|upper| root.ends_with(ROOT) && upper.is_dir())
}

/// A room's own changes.
pub(crate) struct Upper {
    path: PathBuf,
    _scratch: Scratch,
}

impl Upper {
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The root of a tree is 0755 and root's whatever the umask is.
fn make_folder(path: &Path) -> Result<(), Fault> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(path)
        .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)))
        .map_err(|error| Fault::farm(format!("make `{}`", path.display())).because(error))
}
