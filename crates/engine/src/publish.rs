//! Artifacts into their places, with everything that belongs beside them.

use std::fs;
use std::path::Path;

use kiln_model::fault::OrFault as _;
use kiln_model::report::Report;
use kiln_model::{Artifact, Digest, EventKind, Fault, StageKind, view};
use kiln_plan::companions::{self, Facts, Whole};
use kiln_recipe::spec::Format;

use crate::diff::open;
use crate::run::{Made, Run, remove};
use crate::sums::{self, Sums};

/// How hard zstd tries with a document of contents.
const LEVEL: i32 = 9;

/// Puts artifacts, block maps, SBOMs, provenance, report and checksums into the output folder. Each file appears whole.
pub(crate) fn publish(run: &Run<'_>, made: Vec<Made>, report: &Report) -> Result<(), Fault> {
    let out = &run.options.out;
    let listed = format!("{}{}", run.plan.name, view::ENDING);
    // One of an earlier build is not of these.
    remove(&out.join(&listed));
    let mut fresh = vec![];
    let mut systems = vec![];
    for mut made in made {
        systems.extend(os_entry(run, report, &made));
        if let Some(bmap) = made.bmap.take() {
            let name = format!("{}.bmap", made.artifact.name);
            put(out, &name, bmap.as_bytes())?;
            fresh.push((name, Digest::of(&bmap)));
        }
        let artifact = made.artifact.clone();
        made.place(run)?;
        fresh.push((artifact.name.clone(), artifact.sha256));
        run.events.tell(EventKind::ArtifactWritten { artifact });
    }
    if let Some(packed) = run.options.contents.then(|| contents(run, &listed)).flatten() {
        put(out, &listed, &packed)?;
        fresh.push((listed, Digest::of(&packed)));
    }
    let list = (!systems.is_empty())
        .then(|| (format!("{}.os_list.json", run.plan.name), pretty(&serde_json::json!({ "os_list": systems }))));
    for (name, text) in documents(run, report).into_iter().chain(list) {
        put(out, &name, text.as_bytes())?;
        fresh.push((name, Digest::of(&text)));
    }
    put(out, sums::NAME, checksums(out, fresh).as_bytes())?;
    told(run);
    Ok(())
}

fn told(run: &Run<'_>) {
    let outputs = run.plan.pipelines.iter().filter(|pipeline| pipeline.from.is_some());
    if let Some(id) = outputs.filter_map(|pipeline| run.plan.ids(pipeline).last().copied()).next_back() {
        let stage = StageKind::Sync;
        run.events.tell(EventKind::StageFinished { stage, id, millis: 0, code: stage.code() });
    }
}

/// Returns what Raspberry Pi Imager lists, for a disk of such a board. As in Imager's own lists of local images, the address is
/// that of the file here: whoever publishes the image changes it.
fn os_entry(run: &Run<'_>, report: &Report, made: &Made) -> Option<serde_json::Value> {
    let Artifact { name, format, size, sha256 } = &made.artifact;
    let at = std::path::absolute(&run.options.out).unwrap_or_else(|_| run.options.out.clone()).join(name);
    let url = url::Url::from_file_path(at).ok().filter(|_| format == "raw")?;
    let whole = made.whole.unwrap_or(Whole { size: *size, sha256: *sha256 });
    companions::os_entry(&facts(run, report), &made.artifact, whole, url.as_str())
}

fn facts<'a>(run: &'a Run<'_>, report: &'a Report) -> Facts<'a> {
    Facts { spec: &run.loaded.completed.spec, lock: run.lock, plan: run.plan, artifacts: &report.artifacts }
}

fn pretty(value: &serde_json::Value) -> String {
    serde_json::to_string_pretty(value).expect("JSON serialises") + "\n"
}

/// Returns the documents beside the artifacts. The report holds times and so is not among what `kiln twice` compares.
fn documents(run: &Run<'_>, report: &Report) -> Vec<(String, String)> {
    let (facts, name) = (facts(run, report), &run.plan.name);
    vec![
        (format!("{name}.spdx.json"), pretty(&companions::spdx(&facts))),
        (format!("{name}.cdx.json"), pretty(&companions::cyclonedx(&facts))),
        (format!("{name}.provenance.json"), pretty(&companions::provenance(&facts))),
        (format!("{name}.report.json"), pretty(&serde_json::to_value(report).expect("reports serialise"))),
    ]
}

/// Returns the document of what the image contains, read from its best artifact, if it is wished. The image is good without it.
fn contents(run: &Run<'_>, name: &str) -> Option<Vec<u8>> {
    let outputs = &run.loaded.completed.spec.outputs;
    // Single files are no image, and have no contents to tell.
    outputs.iter().find(|output| output.format != Format::File)?;
    // A disk tells most, and one that is not compressed is read where it lies.
    let read = outputs.iter().filter(|output| !matches!(output.format, Format::Mender | Format::File));
    let best = read.min_by_key(|output| (!output.format.is_disk(), output.compression.is_some()));
    let missing = || Fault::recipe("a Mender artifact alone is not read");
    let packed = best.ok_or_else(missing).and_then(|output| {
        let json = open(&run.options.out.join(&output.file))?.to_json();
        zstd::encode_all(&*json, LEVEL).farm(|| "compress".into())
    });
    packed.inspect_err(|fault| run.events.warn(format!("`{name}` is not written: {}", fault.chain()))).ok()
}

/// Writes a file beside its place and renames it there.
fn put(out: &Path, name: &str, bytes: &[u8]) -> Result<(), Fault> {
    let partial = out.join(format!(".{name}.partial"));
    let written = fs::write(&partial, bytes).and_then(|()| fs::rename(&partial, out.join(name)));
    written.inspect_err(|_| remove(&partial)).farm(|| format!("write `{}`", out.join(name).display()))
}

/// Returns SHA256SUMS: what this build wrote, and the lines of other recipes' files that are still there.
fn checksums(out: &Path, fresh: Vec<(String, Digest)>) -> String {
    let mut sums = Sums::parse(&fs::read_to_string(out.join(sums::NAME)).unwrap_or_default());
    fresh.into_iter().for_each(|(name, sum)| sums.put(name, sum));
    sums.retain(|name| out.join(name).is_file());
    sums.to_string()
}
