//! Declares the parameters as Pieman does: one after the other, each shown, the first wrong one ends it.

use std::collections::BTreeMap;

use super::dotenv::{self, Assignment};
use super::sheets::{Refused, Sheets};
use super::table::{Default, FORMER, Kind, Parameter, TABLE};
use crate::desk::Note;
use crate::node::Span;
use crate::shape::nearest;

/// What parameters are declared from. Whoever calls looks it up; nothing here does.
pub struct Given<'a> {
    pub environment: &'a BTreeMap<String, String>,
    /// The text of `./.env`, which wins over the environment.
    pub dotenv: Option<&'a str>,
    /// The working directory.
    pub folder: String,
    /// Whoever builds, as `uid:gid`.
    pub owner: String,
    /// A name that no other build has.
    pub project: String,
}

impl Given<'_> {
    /// Returns a parameter as it is said, right or wrong, for whoever must hear of a build even where its parameters are none. Nobody
    /// knows it where it stands behind what is no data.
    pub fn said(&self, name: &str) -> Option<String> {
        let (assignments, rest) = dotenv::read_before(self.dotenv.unwrap_or_default());
        if rest.contains(&format!("{name}=")) {
            return None;
        }
        let own = assignments.into_iter().rfind(|said| said.name == name).map(|said| said.value);
        own.or_else(|| self.environment.get(name).cloned())
    }
}

/// Whoever sees the parameters and is asked for secrets.
pub trait Person {
    /// Shows a line `+ NAME=value`.
    fn show(&mut self, line: &str);

    /// Asks for the value of a parameter that is `-`.
    fn ask(&mut self, name: &str) -> String;
}

/// A value and where it comes from.
#[derive(Clone)]
struct Value {
    text: String,
    span: Span,
    given: bool,
}

/// Every parameter with its value.
pub struct Parameters {
    values: BTreeMap<&'static str, Value>,
    pub(super) sheets: Sheets,
    pub(super) warnings: Vec<Note>,
    /// What `.env` says besides: variables of a pair's own files.
    pub(super) others: BTreeMap<String, String>,
}

/// Reads `.env`, then declares every parameter.
pub fn declare(given: &Given<'_>, person: &mut dyn Person) -> Result<Parameters, Refused> {
    let mut sheets = Sheets::new(given.dotenv.unwrap_or_default());
    let assignments = match dotenv::read(sheets.text(Sheets::DOTENV), Sheets::DOTENV) {
        Ok(assignments) => assignments,
        Err(note) => {
            // Nobody knows where a value ends, and whose it is.
            sheets.hide_values(Sheets::DOTENV);
            return Err(sheets.refuse("`.env` is not data", note));
        }
    };
    let others = assignments.iter().filter(|said| Parameter::find(&said.name).is_none());
    let others = others.map(|said| (said.name.clone(), said.value.clone())).collect();
    let mut parameters = Parameters { values: BTreeMap::new(), sheets, warnings: Vec::new(), others };
    // Before anything can be wrong: a mistake shows its whole line. A name that is no parameter may be a secret's with a slip.
    let secret = |said: &&Assignment| Parameter::find(&said.name).is_none_or(|known| known.kind.is_secret());
    assignments.iter().filter(secret).for_each(|said| parameters.sheets.hide(said.span));
    parameters.former(given, &assignments);
    for parameter in TABLE {
        parameters.one(parameter, given, &assignments, person)?;
    }
    Ok(parameters)
}

impl Parameters {
    fn one(
        &mut self,
        parameter: &'static Parameter,
        given: &Given<'_>,
        assignments: &[Assignment],
        person: &mut dyn Person,
    ) -> Result<(), Refused> {
        let mut value = self.value(parameter, given, assignments);
        if parameter.kind == Kind::Protected && value.given && value.text == "-" {
            value.text = person.ask(parameter.name);
        }
        if parameter.kind != Kind::Undeclared {
            let secret = parameter.kind == Kind::Protected || parameter.kind == Kind::Hidden && !value.text.is_empty();
            person.show(&format!("+ {}={}", parameter.name, if secret { "*****" } else { &value.text }));
        }
        self.right_type(parameter, &value)?;
        self.values.insert(parameter.name, value);
        Ok(())
    }

    /// Returns the last value in `.env`, else the environment's, else the default. Set to nothing counts as set.
    fn value(&mut self, parameter: &Parameter, given: &Given<'_>, assignments: &[Assignment]) -> Value {
        let secret = parameter.kind.is_secret();
        if let Some(said) = assignments.iter().rfind(|said| said.name == parameter.name) {
            return Value { text: said.value.clone(), span: said.span, given: true };
        }
        let environment = given.environment.get(parameter.name);
        let text = environment.cloned().unwrap_or_else(|| self.default(parameter, given));
        let sheet = if environment.is_some() { Sheets::ENVIRONMENT } else { Sheets::DEFAULTS };
        let shown = if secret { "*****" } else { &text };
        let span = self.sheets.line(sheet, parameter.name, shown);
        Value { text, span, given: environment.is_some() }
    }

    fn default(&self, parameter: &Parameter, given: &Given<'_>) -> String {
        match parameter.default {
            Default::Word(word) => word.to_owned(),
            // Boards of kiln's own have names that hosts cannot have.
            Default::HostName => format!("pieman-{}", self.text("DEVICE").replace('_', "-")),
            Default::Folder => given.folder.clone(),
            Default::Project => given.project.clone(),
            Default::Owner => given.owner.clone(),
            Default::Toolset => format!("{}/toolset", self.text("PIEMAN_DIR")),
        }
    }

    fn right_type(&self, parameter: &Parameter, value: &Value) -> Result<(), Refused> {
        let (name, text) = (parameter.name, value.text.as_str());
        let (fine, kind, hint) = match parameter.kind {
            Kind::Switch => (matches!(text, "true" | "false"), "a boolean", boolean(name, text)),
            Kind::Number => {
                (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()), "an integer", digits(name))
            }
            _ => return Ok(()),
        };
        if fine {
            return Ok(());
        }
        let note = Note::error(value.span, "parameter", format!("`{name}` cannot be `{text}`")).hint(hint);
        Err(self.sheets.refuse(format!("{name} must be {kind}"), note))
    }

    /// Says which names Pieman no longer has, and which it never had but for a slip.
    fn former(&mut self, given: &Given<'_>, assignments: &[Assignment]) {
        for (name, instead) in FORMER {
            let here = assignments.iter().find(|said| said.name == *name).map(|said| said.name_span);
            let value = given.environment.get(*name);
            let span = here.or_else(|| value.map(|value| self.sheets.line(Sheets::ENVIRONMENT, name, value)));
            if let Some(span) = span {
                let note = Note::warning(span, "without-effect", format!("`{name}` does nothing")).hint(*instead);
                self.warnings.push(note);
            }
        }
        let known = |name: &str| Parameter::find(name).is_some() || FORMER.iter().any(|(former, _)| *former == name);
        for said in assignments.iter().filter(|said| !known(&said.name)) {
            let names = TABLE.iter().map(|parameter| parameter.name);
            if let Some(near) = nearest(&said.name, names).filter(|_| said.name.len() > 2) {
                let note = Note::warning(said.name_span, "without-effect", format!("`{}` is no parameter", said.name));
                self.warnings.push(note.hint(format!("did you mean `{near}`?")));
            }
        }
    }

    /// Returns a parameter's value; those whose turn has not come are empty.
    pub fn text(&self, name: &str) -> &str {
        debug_assert!(Parameter::find(name).is_some(), "`{name}` is no parameter");
        self.values.get(name).map_or("", |value| value.text.as_str())
    }

    /// Whether a switch is on.
    pub fn is_on(&self, name: &str) -> bool {
        self.text(name) == "true"
    }

    /// Whether somebody said it, and not Pieman.
    pub fn is_given(&self, name: &str) -> bool {
        self.values.get(name).is_some_and(|value| value.given)
    }

    pub(super) fn span(&self, name: &str) -> Span {
        self.values.get(name).map(|value| value.span).unwrap_or_default()
    }

    /// Switches on what a pair's definition switches on.
    pub(super) fn switch_on(&mut self, name: &'static str, span: Span) {
        self.values.insert(name, Value { text: "true".into(), span, given: true });
    }

    /// Returns the parts of a list with their places; in a value with escapes they all stand where the value does.
    pub(super) fn parts(&self, name: &str, separators: &[char]) -> Vec<(String, Span)> {
        let Some(value) = self.values.get(name) else { return Vec::new() };
        let written = self.sheets.written(value.span);
        let start = written.find(&value.text).map(|at| value.span.start + at);
        let part = |part: &str| {
            let word = part.trim();
            let at = word.as_ptr() as usize - value.text.as_ptr() as usize;
            let place = |start| Span { start: start + at, end: start + at + word.len(), ..value.span };
            (word.to_owned(), start.map_or(value.span, place))
        };
        value.text.split(separators).map(part).filter(|(word, _)| !word.is_empty()).collect()
    }

    /// Returns every parameter that is no secret, for scripts.
    pub fn visible(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let kind = |name: &str| Parameter::find(name).map(|parameter| parameter.kind);
        let shown = move |(name, _): &(&&'static str, &Value)| kind(name).is_some_and(|kind| !kind.is_secret());
        self.values.iter().filter(shown).map(|(name, value)| (*name, value.text.as_str()))
    }

    /// Returns what is to be said though nothing is wrong, ready to be shown.
    pub fn warnings(&self) -> Refused {
        self.sheets.told(String::new(), self.warnings.clone())
    }
}

fn boolean(name: &str, text: &str) -> String {
    let word = match text.to_ascii_lowercase().as_str() {
        "yes" | "1" | "on" | "true" => "true",
        "no" | "0" | "off" | "false" => "false",
        _ => return format!("write `{name}=true` or `{name}=false`, or leave it out"),
    };
    format!("write `{name}={word}`: only `true` and `false` are booleans")
}

fn digits(name: &str) -> String {
    format!("digits and nothing else, as in `{name}=512`; or leave it out")
}
