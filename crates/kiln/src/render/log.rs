//! The full log beside the artifact: as it comes while the build runs, so that a kill leaves what was said; in the end
//! the lines of stages that ran side by side are put together again, stage by stage.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, lchown};
use std::path::{Path, PathBuf};

use kiln_engine::events::Sink;
use kiln_model::{Event, EventKind, StageKind};

use crate::text;

/// Writes every line to `NAME.log`, and all of them in order of stages when the build ends.
pub struct Log {
    folder: PathBuf,
    /// None until the build has a name, and again once the log is written.
    name: Option<String>,
    /// The log as it comes.
    live: Option<File>,
    sections: Vec<Section>,
}

/// What is known of one stage, or of the time before the first.
struct Section {
    stage: Option<StageKind>,
    lines: Vec<String>,
}

impl Log {
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), name: None, live: None, sections: Vec::new() }
    }

    /// From here on the log has a file.
    fn start(&mut self, name: &str) {
        let path = self.folder.join(format!("{name}.log"));
        self.name = Some(name.to_owned());
        self.live = fs::create_dir_all(&self.folder).and_then(|()| File::create(path)).ok();
        let lines: Vec<String> = self.sections.iter().flat_map(|section| section.lines.clone()).collect();
        lines.iter().for_each(|line| self.say(line));
    }

    /// A log that cannot be written is no reason for a build to fail.
    fn say(&mut self, line: &str) {
        if let Some(live) = &mut self.live {
            let _ = live.write_all(format!("{line}\n").as_bytes());
        }
    }

    fn line(&mut self, stage: Option<StageKind>, line: String) {
        self.say(&line);
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

    /// Replaces what came in order of time by the same in order of stages.
    fn finish(&mut self) {
        if let (Some(name), Some(_)) = (self.name.take(), self.live.take()) {
            let (path, partial) =
                (self.folder.join(format!("{name}.log")), self.folder.join(format!(".{name}.log.partial")));
            let written = fs::write(&partial, self.text()).and_then(|()| {
                // Whom the build's files were given to has the log too.
                let live = fs::metadata(&path)?;
                let _ = lchown(&partial, Some(live.uid()), Some(live.gid()));
                fs::rename(&partial, path)
            });
            let _ = written.inspect_err(|_| drop(fs::remove_file(&partial)));
        }
    }
}

impl Sink for Log {
    fn event(&mut self, event: &Event) {
        let at = format!("{:>9}", text::time(event.at));
        match &event.kind {
            EventKind::Started { name, .. } => self.start(name),
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
                self.finish();
            }
            EventKind::Finished { millis } => {
                self.line(None, format!("{at} done after {}", text::time(*millis)));
                self.finish();
            }
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.finish();
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

    #[test]
    fn a_killed_build_leaves_what_was_said() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::new(folder.path());
        recorded("cut.ndjson").iter().for_each(|event| log.event(event));
        // As SIGKILL does: nothing is dropped.
        std::mem::forget(log);
        let sorted = |text: &str| {
            let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with("== "));
            let mut lines: Vec<String> = lines.map(str::to_owned).collect();
            lines.sort();
            lines
        };
        let live = fs::read_to_string(folder.path().join("edge.log")).unwrap();
        assert_eq!(sorted(&live), sorted(&log_of("cut.ndjson")));
    }
}
