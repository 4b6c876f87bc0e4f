//! The narrator: how an image comes to be, from packages to artifact.

use kiln_model::plan::Pipeline;
use kiln_model::{Digest, Plan, Stage};

use crate::{Inputs, format, stage, tools};

/// Turns a spec and its lock into a plan.
pub fn plan(inputs: &Inputs<'_>) -> Plan {
    let pipelines = [tools_pipeline(inputs), Some(tree_pipeline(inputs))].into_iter().flatten();
    let outputs = inputs.spec.outputs.iter().map(|output| output_pipeline(inputs, output));
    Plan {
        name: inputs.spec.name.clone(),
        arch: inputs.spec.base.architecture,
        epoch: inputs.epoch(),
        spec: digest(inputs.spec),
        lock: digest(inputs.lock),
        pipelines: pipelines.chain(outputs).collect(),
    }
}

fn tools_pipeline(inputs: &Inputs<'_>) -> Option<Pipeline> {
    let stages = vec![tools::stage(inputs)?];
    Some(Pipeline { name: "tools".into(), from: None, stages })
}

/// The tree's stages, in order. None upgrades: a lock names the newest version of each package already.
fn tree_pipeline(inputs: &Inputs<'_>) -> Pipeline {
    let stages: [Option<Stage>; 10] = [
        stage::bootstrap(inputs),
        stage::locale(inputs),
        stage::timezone(inputs),
        stage::indexes(inputs),
        stage::packages(inputs),
        stage::kernel(inputs),
        stage::boot(inputs),
        stage::network(inputs),
        stage::users(inputs),
        stage::cleanup(inputs),
    ];
    Pipeline { name: "tree".into(), from: None, stages: stages.into_iter().flatten().collect() }
}

fn output_pipeline(inputs: &Inputs<'_>, output: &kiln_recipe::spec::Output) -> Pipeline {
    let stages = vec![format::image(inputs, output), format::sync(inputs, output)];
    Pipeline { name: output.file.clone(), from: Some("tree".into()), stages }
}

/// Returns the digest of a document's canonical JSON.
pub fn digest(document: &impl serde::Serialize) -> Digest {
    Digest::of(serde_json::to_vec(document).expect("documents serialise"))
}
