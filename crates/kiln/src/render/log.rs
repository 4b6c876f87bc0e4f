//! The full log beside the artifact: lines of stages that ran side by side are put together again, stage by stage.

use std::fs;
use std::path::{Path, PathBuf};

use kiln_engine::events::Sink;
use kiln_model::{Event, EventKind, StageKind};

use crate::text;

/// Collects every line and writes `NAME.log` when the build ends, however it ends.
pub struct Log {
    folder: PathBuf,
    /// None until the build has a name, and again once the log is written.
    name: Option<String>,
    sections: Vec<Section>,
}

/// What is known of one stage, or of the time before the first.
struct Section {
    stage: Option<StageKind>,
    lines: Vec<String>,
}

impl Log {
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), name: None, sections: Vec::new() }
    }

    fn line(&mut self, stage: Option<StageKind>, line: String) {
        match self.sections.iter_mut().find(|section| section.stage == stage) {
            Some(section) => section.lines.push(line),
            None => self.sections.push(Section { stage, lines: vec![line] }),
        }
    }

    fn text(&self) -> String {
        let heading = |section: &Section| section.stage.map_or("build", StageKind::name);
        let section = |section: &Section| format!("== {}\n{}\n", heading(section), section.lines.join("\n"));
        self.sections.iter().map(section).collect::<Vec<_>>().join("\n")
    }

    /// A log that cannot be written is no reason for a build to fail.
    fn write(&mut self) {
        if let Some(name) = self.name.take() {
            let path = self.folder.join(format!("{name}.log"));
            let _ = fs::create_dir_all(&self.folder).and_then(|()| fs::write(path, self.text()));
        }
    }
}

impl Sink for Log {
    fn event(&mut self, event: &Event) {
        let at = format!("{:>9}", text::time(event.at));
        match &event.kind {
            EventKind::Started { name, .. } => self.name = Some(name.clone()),
            EventKind::StageStarted { stage, id } => self.line(Some(*stage), format!("{at} started {id}")),
            EventKind::StageRestored { stage, id } => self.line(Some(*stage), format!("{at} restored {id}")),
            EventKind::Progress { .. } => {}
            EventKind::Log { stage, source, line } => self.line(*stage, format!("{at} {source}: {line}")),
            EventKind::Warning { message } => self.line(None, format!("{at} warning: {message}")),
            EventKind::StageFinished { stage, millis, .. } => {
                self.line(Some(*stage), format!("{at} finished after {}", text::time(*millis)));
            }
            EventKind::ArtifactWritten { artifact } => {
                self.line(None, format!("{at} wrote {} sha256:{}", artifact.name, artifact.sha256));
            }
            EventKind::Failed { stage, message, detail, .. } => {
                self.line(*stage, format!("{at} failed: {message}"));
                detail.iter().for_each(|detail| self.line(*stage, detail.trim_end().to_owned()));
                self.write();
            }
            EventKind::Finished { millis } => {
                self.line(None, format!("{at} done after {}", text::time(*millis)));
                self.write();
            }
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.write();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::tests::{golden, recorded};

    fn log_of(recording: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::new(folder.path());
        recorded(recording).iter().for_each(|event| log.event(event));
        drop(log);
        fs::read_to_string(folder.path().join("edge.log")).unwrap()
    }

    #[test]
    fn lines_are_grouped_by_stage() {
        golden("build.log", &log_of("build.ndjson"));
        golden("failed.log", &log_of("failed.ndjson"));
    }

    #[test]
    fn a_build_that_is_cut_off_leaves_its_log() {
        golden("cut.log", &log_of("cut.ndjson"));
    }
}
