//! Loads a recipe: the file, what it includes, the profiles and settings of the command line, all laid over each other.

use std::collections::BTreeMap;
use std::string::FromUtf8Error;

use crate::check;
use crate::complete::Written;
use crate::desk::{Desk, Note};
use crate::keys::{BODY, EDITION, ROOT};
use crate::language;
use crate::merge::merge;
use crate::node::{Entry, Node, Span, Value, get};
use crate::path;
use crate::shape::did_you_mean;

/// Profiles by name, put together from all files.
type Profiles = BTreeMap<String, Vec<Entry>>;

/// Loads the recipe at `path`; what is wrong is said at the desk.
pub fn load(desk: &Desk<'_>, path: &str) -> Vec<Entry> {
    let mut loader = Loader { desk, profiles: Profiles::new(), trail: Vec::new() };
    let mut recipe = match desk.sources.read_bytes(path) {
        Ok(bytes) => loader.bytes(path, bytes, true),
        Err(error) => {
            let file = desk.open(path, "");
            let message = format!("cannot read `{path}`: {error}");
            desk.say(Note::error(Span { file, start: 0, end: 0 }, "unreadable", message));
            desk.set_broken();
            return Vec::new();
        }
    };
    loader.apply_profiles(&mut recipe);
    loader.apply_overrides(&mut recipe);
    recipe
}

/// Takes a recipe that was read from another language, and lays the settings of the command line over it.
pub fn written(desk: &Desk<'_>, written: &Written) -> Vec<Entry> {
    written.sheets.lay_on(desk);
    let mut recipe = written.entries.clone();
    check::table(desk, &BODY, &mut recipe);
    let loader = Loader { desk, profiles: Profiles::new(), trail: Vec::new() };
    loader.apply_profiles(&mut recipe);
    loader.apply_overrides(&mut recipe);
    recipe
}

struct Loader<'a, 'b> {
    desk: &'a Desk<'b>,
    profiles: Profiles,
    /// The files that led here, each including the next.
    trail: Vec<String>,
}

impl Loader<'_, '_> {
    fn bytes(&mut self, path: &str, bytes: Vec<u8>, first: bool) -> Vec<Entry> {
        match String::from_utf8(bytes) {
            Ok(text) => self.file(path, &text, first),
            Err(error) => {
                not_utf8(self.desk, path, &error);
                Vec::new()
            }
        }
    }

    /// Returns what a file says laid over what it includes.
    fn file(&mut self, path: &str, text: &str, first: bool) -> Vec<Entry> {
        let number = self.desk.open(path, text);
        let mut entries = self.read(text, number);
        self.edition(&entries, number, first);
        check::table(self.desk, &ROOT, &mut entries);
        self.trail.push(path::join("", path));
        let mut whole = self.includes(&entries);
        self.trail.pop();
        self.keep_profiles(&mut entries);
        entries.retain(|entry| !matches!(entry.key.as_str(), "edition" | "include" | "profile"));
        merge(&mut whole, entries, &BODY);
        whole
    }

    fn read(&self, text: &str, file: usize) -> Vec<Entry> {
        let read = language::toml::read(text, file);
        if !read.mistakes.is_empty() {
            self.desk.set_broken();
        }
        if let Some(from) = read.doubtful {
            self.desk.doubt(file, from);
        }
        for mistake in read.mistakes {
            self.desk.say(Note::error(mistake.span, "syntax", mistake.message).maybe_hint(mistake.hint));
        }
        read.entries
    }

    /// The first file must say its edition; an included one may.
    fn edition(&self, entries: &[Entry], file: usize, first: bool) {
        let write = format!("write at its top: edition = {EDITION}");
        let Some(entry) = get(entries, "edition") else {
            if first && !self.desk.broken() {
                let note =
                    Note::error(Span { file, start: 0, end: 0 }, "edition", "the recipe does not say its edition");
                self.desk.say(note.hint(write));
            }
            return;
        };
        if let Value::Integer(number) = entry.node.value {
            if number != EDITION {
                let note = Note::error(entry.node.span, "edition", format!("this kiln does not read edition {number}"));
                let newer = number > EDITION;
                self.desk
                    .say(note.label(if newer { "a newer kiln may" } else { "there is no such edition" }).hint(write));
            }
            self.edition_first(entries, entry);
        }
    }

    fn edition_first(&self, entries: &[Entry], edition: &Entry) {
        if let Some(before) = entries.iter().find(|entry| entry.key_span < edition.key_span) {
            let note = Note::error(edition.key_span, "edition", "`edition` stands at the top of a recipe");
            self.desk.say(note.also(before.key_span, "this stands before it"));
        }
    }

    fn includes(&mut self, entries: &[Entry]) -> Vec<Entry> {
        let mut whole = Vec::new();
        let Some(Entry { node: Node { value: Value::List(items), .. }, .. }) = get(entries, "include") else {
            return whole;
        };
        for item in items {
            let Value::Text(written) = &item.value else { continue };
            let included = self.include(item.span, written);
            merge(&mut whole, included, &BODY);
        }
        whole
    }

    fn include(&mut self, span: Span, written: &str) -> Vec<Entry> {
        let path = self.desk.host_path(span, written);
        if let Some(at) = self.trail.iter().position(|before| *before == path) {
            let mut circle: Vec<String> = self.trail[at..].iter().map(|file| format!("`{file}`")).collect();
            circle.push(format!("`{path}`"));
            let message = format!("`{path}` includes itself");
            self.desk.say(Note::error(span, "include-cycle", message).label(circle.join(" → ")));
            return Vec::new();
        }
        match self.desk.sources.read_bytes(&path) {
            Ok(bytes) => self.bytes(&path, bytes, false),
            Err(error) => {
                let message = format!("cannot read `{written}`");
                let note = Note::error(span, "unreadable", message).label(error.to_string());
                self.desk.say(if path == written { note } else { note.hint(format!("looked for `{path}`")) });
                Vec::new()
            }
        }
    }

    fn keep_profiles(&mut self, entries: &mut [Entry]) {
        let Some(entry) = entries.iter_mut().find(|entry| entry.key == "profile") else { return };
        let Value::Table(profiles) = std::mem::replace(&mut entry.node.value, Value::Wrong) else { return };
        for profile in profiles {
            if let Value::Table(entries) = profile.node.value {
                merge(self.profiles.entry(profile.key).or_default(), entries, &BODY);
            }
        }
    }

    fn apply_profiles(&self, recipe: &mut Vec<Entry>) {
        for name in &self.desk.options.profiles {
            match self.profiles.get(name) {
                Some(profile) => merge(recipe, profile.clone(), &BODY),
                None => self.unknown_profile(name),
            }
        }
    }

    fn unknown_profile(&self, name: &str) {
        let text = format!("--profile {name}");
        let span = Span { file: self.desk.open("--profile", &text), start: text.len() - name.len(), end: text.len() };
        let message = format!("the recipe has no profile `{name}`");
        let hint = did_you_mean(name, self.profiles.keys().map(String::as_str));
        self.desk.say(Note::error(span, "unknown-profile", message).maybe_hint(hint));
    }

    /// A setting is a line of TOML; a value that is none is text.
    fn apply_overrides(&self, recipe: &mut Vec<Entry>) {
        for (key, value) in &self.desk.options.overrides {
            let plain = format!("{key} = {value}");
            let quoted = || format!("{key} = {}", toml::Value::String(value.clone()));
            let text = if language::toml::read(&plain, 0).mistakes.is_empty() { plain } else { quoted() };
            let number = self.desk.open(&format!("--set {key}"), &text);
            let mut entries = self.read(&text, number);
            check::table(self.desk, &BODY, &mut entries);
            merge(recipe, entries, &BODY);
        }
    }
}

/// Points at the first byte that is no part of a character.
fn not_utf8(desk: &Desk<'_>, path: &str, error: &FromUtf8Error) {
    let (bytes, start) = (error.as_bytes(), error.utf8_error().valid_up_to());
    let file = desk.open(path, &String::from_utf8_lossy(bytes));
    let wide = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    let encoding = if wide { "UTF-16" } else { "ISO-8859-1" };
    let hint = format!("save it as UTF-8; where it is {encoding}: `iconv -f {encoding} -t UTF-8 {path}`");
    let end = start + char::REPLACEMENT_CHARACTER.len_utf8();
    let note = Note::error(Span { file, start, end }, "syntax", format!("`{path}` is not UTF-8"));
    desk.say(note.label(format!("byte 0x{:02x}", bytes[start])).hint(hint));
    desk.set_broken();
}
