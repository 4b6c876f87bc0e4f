//! Where parameters are written: `.env`, the environment and Pieman's defaults, as texts that a mistake can point into.

use crate::desk::{Desk, Note};
use crate::diagnostic::{Diagnostic, Files};
use crate::node::Span;
use crate::options::{Local, Options, Sources};
use crate::render::{Look, render};

/// The texts, and what must not be shown of them.
#[derive(Clone, Debug, Default)]
pub struct Sheets {
    files: Vec<(String, String)>,
    hidden: Vec<Span>,
}

/// What Pieman says first, and then what is wrong and where.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Pieman's message as it is, where Pieman has one.
    pub fatal: String,
    pub diagnostics: Vec<Diagnostic>,
    pub files: Files,
}

impl Refused {
    /// Returns the explanation as text for people.
    pub fn render(&self, look: Look) -> String {
        render(&self.diagnostics, &self.files, look)
    }
}

impl Sheets {
    pub const DOTENV: usize = 0;
    pub const ENVIRONMENT: usize = 1;
    pub const DEFAULTS: usize = 2;

    pub fn new(dotenv: &str) -> Self {
        let files = [(".env", dotenv), ("environment", ""), ("defaults", "")];
        let files = files.map(|(name, text)| (name.to_owned(), text.to_owned()));
        Self { files: files.into(), hidden: Vec::new() }
    }

    /// Adds a file and returns its number.
    pub fn open(&mut self, name: &str, text: &str) -> usize {
        self.files.push((name.to_owned(), text.to_owned()));
        self.files.len() - 1
    }

    pub fn text(&self, sheet: usize) -> &str {
        &self.files[sheet].1
    }

    /// Returns what is written at a place.
    pub fn written(&self, span: Span) -> &str {
        self.files.get(span.file).and_then(|(_, text)| text.get(span.start..span.end)).unwrap_or_default()
    }

    /// Writes `NAME=value` on a sheet and returns where the value is.
    pub fn line(&mut self, sheet: usize, name: &str, value: &str) -> Span {
        let text = &mut self.files[sheet].1;
        *text += &format!("{name}={value}\n");
        let end = text.len() - 1;
        Span { file: sheet, start: end - value.len(), end }
    }

    pub fn hide(&mut self, span: Span) {
        self.hidden.push(span);
    }

    /// Hides all that lines say after their names, and lines without a name.
    pub fn hide_values(&mut self, sheet: usize) {
        let mut start = 0;
        for line in self.files[sheet].1.split_inclusive('\n') {
            let end = start + line.trim_end_matches(['\r', '\n']).len();
            let value = line.find('=').map_or(start, |sign| start + sign + 1);
            if !line.trim_start().starts_with('#') && value < end {
                self.hidden.push(Span { file: sheet, start: value, end });
            }
            start += line.len();
        }
    }

    /// Returns the refusal with one explanation.
    pub fn refuse(&self, fatal: impl Into<String>, note: Note) -> Refused {
        self.told(fatal.into(), vec![note])
    }

    pub fn told(&self, fatal: String, notes: Vec<Note>) -> Refused {
        let options = Options::new(kiln_model::Arch::Amd64);
        let desk = Desk::new(&Nothing, &options, String::new());
        self.lay_on(&desk);
        notes.into_iter().for_each(|note| desk.say(note));
        Refused { fatal, diagnostics: desk.diagnostics(), files: desk.files() }
    }

    /// Opens the texts at a desk that has none yet, so that their numbers hold there.
    pub fn lay_on(&self, desk: &Desk<'_>) {
        for (name, text) in &self.files {
            desk.open(name, text);
        }
        self.hidden.iter().for_each(|span| desk.hide(*span));
    }
}

/// Parameters name no files.
struct Nothing;

impl Sources for Nothing {
    fn read(&self, _path: &str) -> std::io::Result<String> {
        Err(std::io::ErrorKind::NotFound.into())
    }

    fn digest(&self, _path: &str) -> std::io::Result<Local> {
        Err(std::io::ErrorKind::NotFound.into())
    }
}
