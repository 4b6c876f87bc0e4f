//! What people and programs see of a build: renderers over one event stream.

mod json;
mod label;
mod log;
mod plain;
mod terminal;
mod view;

use std::fs::File;
use std::io::{self, LineWriter};
use std::path::{Path, PathBuf};

use clap::Args;
use kiln_engine::events::{Events, Sink};
use kiln_model::Fault;
use kiln_model::fault::OrFault as _;

use crate::ending::Failure;
use crate::out;

/// How a build shall be shown.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Display")]
pub struct Display {
    /// Write the event stream as JSON lines to stdout, or to a file: `json`, `json:FILE`
    #[arg(long, value_name = "json[:FILE]", value_parser = target)]
    pub events: Option<Target>,
    /// Print one line per event, as when stderr is no terminal
    #[arg(long)]
    pub plain: bool,
}

/// Where the event stream goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Stdout,
    File(PathBuf),
}

fn target(text: &str) -> Result<Target, String> {
    match text.split_once(':') {
        None if text == "json" => Ok(Target::Stdout),
        Some(("json", file)) if !file.is_empty() => Ok(Target::File(file.into())),
        _ => Err(format!("`{text}` is neither `json` nor `json:FILE`")),
    }
}

impl Display {
    /// Starts an event stream with the renderers asked for; with `log`, the full log goes into that folder at the end.
    pub fn events(&self, log: Option<&Path>) -> Result<Events, Fault> {
        Ok(Events::new(self.sinks(log)?))
    }

    /// Returns the renderers asked for.
    pub fn sinks(&self, log: Option<&Path>) -> Result<Vec<Box<dyn Sink>>, Fault> {
        let mut sinks = vec![self.for_people()];
        sinks.extend(self.for_programs()?);
        if let Some(folder) = log {
            sinks.push(Box::new(log::Log::new(folder)));
        }
        Ok(sinks)
    }

    /// Refuses two things that both want stdout.
    pub fn beside(&self, json: bool) -> Result<(), Failure> {
        if json && self.takes_stdout() {
            let both = "`--json` and `--events json` both want stdout; `--events json:FILE` goes beside `--json`";
            return Err(Failure::usage(both));
        }
        Ok(())
    }

    /// Tells programs of a failure before the stream began: then this is all of the stream.
    pub fn refused(&self, failure: Failure) -> Failure {
        if let (Some(target), Some(event)) = (&self.events, failure.event()) {
            match open(target) {
                Ok(sink) => Events::new(vec![sink]).tell(event),
                Err(fault) => return fault.into(),
            }
        }
        failure
    }

    /// Whether stdout is taken by the event stream.
    pub fn takes_stdout(&self) -> bool {
        self.events == Some(Target::Stdout)
    }

    /// Returns the renderer of one task among several: every line begins with the task's name.
    pub fn of_task(name: &str) -> Box<dyn Sink> {
        Box::new(plain::Plain::new(label::Labelled::new(io::stderr(), name)))
    }

    /// Returns the stream for programs, where it is asked for.
    pub fn for_programs(&self) -> Result<Option<Box<dyn Sink>>, Fault> {
        self.events.as_ref().map(open).transpose()
    }

    /// Returns the renderer for people.
    pub fn for_people(&self) -> Box<dyn Sink> {
        if self.plain || !out::lively() {
            Box::new(plain::Plain::new(io::stderr()))
        } else {
            Box::new(terminal::Terminal::start(out::coloured()))
        }
    }
}

fn open(target: &Target) -> Result<Box<dyn Sink>, Fault> {
    Ok(match target {
        Target::Stdout => Box::new(json::Json::new(LineWriter::new(io::stdout()))),
        Target::File(path) => {
            let file = File::create(path).farm(|| format!("write the events to `{}`", path.display()))?;
            Box::new(json::Json::new(LineWriter::new(file)))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_model::Event;

    /// A recorded stream: one JSON event a line.
    pub fn recorded(name: &str) -> Vec<Event> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/events").join(name);
        let text = std::fs::read_to_string(path).expect("the recording is there");
        text.lines().map(|line| serde_json::from_str(line).expect("an event")).collect()
    }

    /// Compares with the file beside the recording; `KILN_BLESS=1` writes it.
    pub fn golden(name: &str, text: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/events").join(name);
        if std::env::var_os("KILN_BLESS").is_some() {
            std::fs::write(&path, text).expect("the golden file can be written");
        }
        assert_eq!(text, std::fs::read_to_string(&path).unwrap_or_default(), "{name}; KILN_BLESS=1 accepts");
    }

    #[test]
    fn event_targets() {
        assert_eq!(target("json"), Ok(Target::Stdout));
        assert_eq!(target("json:a:b"), Ok(Target::File("a:b".into())));
        ["", "xml", "json:"].iter().for_each(|text| assert!(target(text).is_err(), "{text}"));
    }
}
