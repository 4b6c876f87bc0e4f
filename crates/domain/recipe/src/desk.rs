//! The desk a recipe is read at: its files, what was found wrong so far, and what surrounds it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};

use kiln_model::Digest;

use crate::complete::SourceFile;
use crate::diagnostic::{Diagnostic, Files, Label, Place, Severity, SourceText};
use crate::node::Span;
use crate::options::{Options, Sources};
use crate::{codes, path};

/// Something found wrong, before its place is worked out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Note {
    severity: Severity,
    code: &'static str,
    span: Span,
    message: String,
    label: Option<String>,
    hint: Option<String>,
    also: Vec<(Span, String)>,
}

impl Note {
    pub fn error(span: Span, code: &'static str, message: impl Into<String>) -> Self {
        debug_assert!(codes::known(code), "`{code}` is not in the table of codes");
        let message = message.into();
        Self { severity: Severity::Error, code, span, message, label: None, hint: None, also: Vec::new() }
    }

    pub fn warning(span: Span, code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(span, code, message) }
    }

    #[cfg(test)]
    pub const fn span(&self) -> Span {
        self.span
    }

    /// Sets what stands under the underlined text.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Sets the way out.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }

    /// Adds another place that has to do with it.
    pub fn also(mut self, span: Span, text: impl Into<String>) -> Self {
        self.also.push((span, text.into()));
        self
    }
}

/// Everything at hand while a recipe is read.
pub struct Desk<'a> {
    pub sources: &'a dyn Sources,
    pub options: &'a Options,
    /// The recipe's folder: what paths in the spec are relative to.
    pub folder: String,
    files: RefCell<Vec<File>>,
    notes: RefCell<Vec<Note>>,
    /// The same, so that nothing is said twice.
    said: RefCell<HashSet<Note>>,
    packages: RefCell<BTreeMap<String, Span>>,
    /// Whether a file is not even of its language, so that what it holds is not to be trusted.
    broken: Cell<bool>,
}

struct File {
    path: String,
    text: String,
    /// Where lines begin, in bytes.
    lines: Vec<usize>,
    digest: Digest,
    /// From here on nothing is certain but that it is not of its language.
    doubtful_from: usize,
    /// Stretches that must not be shown.
    hidden: Vec<(usize, usize)>,
}

impl<'a> Desk<'a> {
    pub fn new(sources: &'a dyn Sources, options: &'a Options, folder: String) -> Self {
        Self {
            sources,
            options,
            folder,
            files: RefCell::default(),
            notes: RefCell::default(),
            said: RefCell::default(),
            packages: RefCell::default(),
            broken: Cell::new(false),
        }
    }

    /// Takes a file in and returns its number.
    pub fn open(&self, path: &str, text: &str) -> usize {
        let digest = Digest::of(text);
        let file = File {
            path: path.to_owned(),
            text: text.to_owned(),
            lines: std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect(),
            digest,
            doubtful_from: usize::MAX,
            hidden: Vec::new(),
        };
        self.files.borrow_mut().push(file);
        self.files.borrow().len() - 1
    }

    pub fn say(&self, note: Note) {
        if self.said.borrow_mut().insert(note.clone()) {
            self.notes.borrow_mut().push(note);
        }
    }

    pub fn set_broken(&self) {
        self.broken.set(true);
    }

    /// Says that a file is not to be trusted from a byte on.
    pub fn doubt(&self, file: usize, from: usize) {
        self.files.borrow_mut()[file].doubtful_from = from;
    }

    pub fn broken(&self) -> bool {
        self.broken.get()
    }

    /// Whether an error stands in one of `spans`.
    pub fn blames(&self, spans: &[Span]) -> bool {
        let inside = |a: Span, b: &Span| a.file == b.file && b.start <= a.start && a.end <= b.end;
        let notes = self.notes.borrow();
        let errors = notes.iter().filter(|note| note.severity == Severity::Error);
        errors.into_iter().any(|note| spans.iter().any(|span| inside(note.span, span)))
    }

    /// Keeps a stretch of a file from being shown.
    pub fn hide(&self, span: Span) {
        self.files.borrow_mut()[span.file].hidden.push((span.start, span.end));
    }

    /// Remembers where a package is asked for or excluded, or a size is said; the first place counts.
    pub fn package(&self, name: &str, span: Span) {
        self.packages.borrow_mut().entry(name.to_owned()).or_insert(span);
    }

    /// Returns the host path of what is written as `written` in the file of `span`: relative to that file's folder.
    pub fn host_path(&self, span: Span, written: &str) -> String {
        let files = self.files.borrow();
        let file = &files[span.file].path;
        // A setting of the command line lies in no folder of its own.
        let folder = if file.starts_with("--") { self.folder.as_str() } else { path::folder(file) };
        path::join(folder, written)
    }

    /// Returns that path as the spec has it: relative to the recipe's folder.
    pub fn spec_path(&self, host_path: &str) -> String {
        path::relative(&self.folder, host_path)
    }

    pub fn place(&self, span: Span) -> Place {
        let files = self.files.borrow();
        files.get(span.file).map_or_else(Place::default, |file| file.place(span))
    }

    /// Returns everything said, in the order of files and lines.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let mut notes = self.notes.borrow().clone();
        notes.sort_by_key(|note| note.span);
        let slips = notes.iter().filter(|note| note.code == "syntax").map(|note| self.line(note.span));
        let slips: Vec<(usize, usize)> = slips.collect();
        notes.retain(|note| note.code == "syntax" || !self.doubtful(note.span, &slips));
        notes.iter().map(|note| self.diagnostic(note)).collect()
    }

    /// What a line that is not TOML seems to say is not worth a word.
    fn doubtful(&self, span: Span, slips: &[(usize, usize)]) -> bool {
        let from = self.files.borrow().get(span.file).map_or(usize::MAX, |file| file.doubtful_from);
        from <= span.start || slips.contains(&self.line(span))
    }

    fn line(&self, span: Span) -> (usize, usize) {
        let files = self.files.borrow();
        (span.file, files.get(span.file).map_or(0, |file| file.line(span.start)))
    }

    fn diagnostic(&self, note: &Note) -> Diagnostic {
        Diagnostic {
            severity: note.severity,
            code: note.code.to_owned(),
            message: note.message.clone(),
            place: self.place(note.span),
            label: note.label.clone(),
            hint: note.hint.clone(),
            also: note.also.iter().map(|(span, text)| Label { place: self.place(*span), text: text.clone() }).collect(),
        }
    }

    /// Returns the texts as they may be shown.
    pub fn files(&self) -> Files {
        let shown = |file: &File| SourceText { path: file.path.clone(), text: masked(&file.text, &file.hidden) };
        Files(self.files.borrow().iter().map(shown).collect())
    }

    pub fn source_files(&self) -> Vec<SourceFile> {
        let source = |file: &File| SourceFile { path: file.path.clone(), digest: file.digest };
        self.files.borrow().iter().map(source).collect()
    }

    pub fn packages(&self) -> BTreeMap<String, Place> {
        self.packages.borrow().iter().map(|(name, span)| (name.clone(), self.place(*span))).collect()
    }
}

impl File {
    /// Returns the number of the line a byte is in, from 0.
    fn line(&self, offset: usize) -> usize {
        self.lines.partition_point(|&start| start <= offset).saturating_sub(1)
    }

    fn place(&self, span: Span) -> Place {
        let mut start = span.start.min(self.text.len());
        while !self.text.is_char_boundary(start) {
            start -= 1;
        }
        let line = self.line(start);
        Place {
            file: self.path.clone(),
            line: line + 1,
            column: self.text[self.lines[line]..start].chars().count() + 1,
            offset: start,
            len: span.end.min(self.text.len()).saturating_sub(start),
        }
    }
}

/// Puts an asterisk for every hidden byte but line ends, so that all places stay where they are.
fn masked(text: &str, hidden: &[(usize, usize)]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for &(start, end) in hidden {
        bytes[start..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b'*');
    }
    String::from_utf8(bytes).unwrap_or_default()
}
