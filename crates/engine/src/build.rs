//! A build from recipe to artifacts.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Instant;

use kiln_model::fault::OrFault as _;
use kiln_model::report::Report;
use kiln_model::{EventKind, Fault, Outcome, Plan, StageKind};
use kiln_store::Layer;

use crate::events::Events;
use crate::kiln::{Kiln, plan};
use crate::load::Loaded;
use crate::publish::publish;
use crate::resolve::Update;
use crate::run::{Made, Run, State};
use crate::secrets::Secrets;

/// How a build goes; nothing here changes an image's bytes.
#[derive(Clone, Debug, Default)]
pub struct BuildOptions {
    /// Folder of the artifacts.
    pub out: PathBuf,
    /// Whether the tree of a stage that fails is kept for `kiln shell --failed`.
    pub keep_failed: bool,
    /// Whether the image is not booted, whatever the recipe says.
    pub no_verify: bool,
    /// Whether the lock is made anew before.
    pub update: bool,
    /// Whether the cache of stages is passed over.
    pub force: bool,
    /// Whether the document of the contents is written, by which artifacts can be compared that are no longer there.
    pub contents: bool,
}

impl Kiln {
    /// Builds the recipe's outputs into the output folder, and tells `events` all about it.
    pub fn build(&self, loaded: &Loaded, options: &BuildOptions, events: &Events) -> Result<Report, Fault> {
        self.build_and(loaded, options, events, &mut || Ok(()))
    }

    /// Builds, and lets `last` do with the artifacts what belongs to the build too: nobody hears that it ended well before.
    pub fn build_and(
        &self,
        loaded: &Loaded,
        options: &BuildOptions,
        events: &Events,
        last: &mut dyn FnMut() -> Result<(), Fault>,
    ) -> Result<Report, Fault> {
        let current = Mutex::new(None);
        let result = self.build_inner(loaded, options, events, &current, last);
        if let Err(fault) = &result {
            let stage: Option<StageKind> = *current.lock().expect("no holder panics");
            events.tell(EventKind::failed(stage, fault));
        }
        result
    }

    fn build_inner(
        &self,
        loaded: &Loaded,
        options: &BuildOptions,
        events: &Events,
        current: &Mutex<Option<StageKind>>,
        last: &mut dyn FnMut() -> Result<(), Fault>,
    ) -> Result<Report, Fault> {
        let began = Instant::now();
        let secrets = Secrets::read(loaded)?;
        let update = if options.update { Update::All } else { Update::Keep };
        let lock = self.lock(loaded, &update, events)?;
        crate::resolve::fits::check(loaded, &lock)?;
        let plan = plan(loaded, &lock, &secrets);
        events.tell(EventKind::Started { name: plan.name.clone(), stages: stages(&plan) });
        fs::create_dir_all(&options.out).farm(|| format!("make `{}`", options.out.display()))?;
        let run = Run {
            kiln: self,
            loaded,
            lock: &lock,
            plan: &plan,
            secrets: &secrets,
            options,
            events,
            state: State::default(),
            current,
        };
        let made = run.all()?;
        let verified = run.verify(&made)?;
        run.enter_stage(StageKind::Sync);
        let report = Report {
            edition: 1,
            name: plan.name.clone(),
            kiln: env!("CARGO_PKG_VERSION").to_owned(),
            outcome: Outcome::Done,
            spec: json(&loaded.completed.spec),
            lock: json(&lock),
            plan: plan.digest(),
            stages: run.state.outcomes.lock().expect("no holder panics").clone(),
            artifacts: made.iter().map(|made| made.artifact.clone()).collect(),
            millis: began.elapsed().as_millis() as u64,
            verified,
        };
        publish(&run, made, &report)?;
        last()?;
        if let Err(error) = self.store.gc(None, false) {
            events.warn(format!("the cache could not be kept within its bound: {error}"));
        }
        events.tell(EventKind::Finished { millis: began.elapsed().as_millis() as u64 });
        Ok(report)
    }
}

impl Run<'_> {
    /// Makes the tree, then every output from it.
    fn all(&self) -> Result<Vec<Made>, Fault> {
        let pipeline = self.plan.pipeline("tree").ok_or_else(|| Fault::farm("the plan makes no tree"))?;
        let layers = self.layers(pipeline)?;
        let manifests: Vec<_> = layers.iter().map(|layer: &Layer| &layer.manifest).collect();
        let tree = kiln_store::merge(&manifests);
        let outputs = self.plan.pipelines.iter().filter(|pipeline| pipeline.from.is_some());
        outputs.map(|pipeline| self.image(pipeline, &tree, &layers)).collect()
    }
}

fn stages(plan: &Plan) -> Vec<StageKind> {
    let mut stages: Vec<_> =
        plan.pipelines.iter().flat_map(|pipeline| pipeline.stages.iter().map(|stage| stage.kind)).collect();
    let mut seen = std::collections::BTreeSet::new();
    stages.retain(|stage| seen.insert(*stage));
    stages
}

fn json(document: &impl serde::Serialize) -> serde_json::Value {
    serde_json::to_value(document).expect("documents serialise")
}
