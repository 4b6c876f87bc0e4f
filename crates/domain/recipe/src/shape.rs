//! The table that says what a recipe may hold: the check, the JSON Schema and the reference are all read from it.

use crate::desk::Note;
use crate::node::Span;

/// A table of keys.
pub struct Table {
    /// As it is written: `[system]`, `[[user]]`.
    pub name: &'static str,
    /// Sentences for the reference.
    pub doc: &'static str,
    pub keys: &'static [Key],
    /// Further keys that this table shares with another.
    pub more: Option<&'static Table>,
}

/// One key.
pub struct Key {
    pub name: &'static str,
    pub shape: Shape,
    pub doc: &'static str,
    pub needed: Needed,
    /// What holds when the key is absent, in words or as it would be written.
    pub default: &'static str,
    /// A value as it is written.
    pub example: &'static str,
    /// Whether a later file or profile replaces a list instead of adding to it.
    pub replaces: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Needed {
    No,
    /// In the same table.
    Here,
    /// Once all files and profiles are put together.
    InTheEnd,
}

/// What a value must be.
pub enum Shape {
    Bool,
    Integer {
        from: i64,
        to: i64,
    },
    Text(&'static Form),
    /// One of these words, each explained.
    Word(&'static [(&'static str, &'static str)]),
    List(&'static Shape),
    Table(&'static Table),
    /// `[[name]]`: a list of tables.
    Tables(&'static Table),
    /// A table whose keys the recipe chooses: their form, and what they hold.
    Map(&'static Form, &'static Shape),
    /// `{ secret = "NAME" }`, and never the secret itself.
    Secret,
    /// The first whose type fits.
    Either(&'static [Shape]),
}

/// What a text must look like.
pub struct Form {
    /// With its article: `a host name`.
    pub what: &'static str,
    /// A regular expression for the schema, where one says it well.
    pub pattern: Option<&'static str>,
    /// Returns what is wrong with the text.
    pub check: fn(&str) -> Result<(), Wrong>,
    /// What to write instead when the type is wrong.
    pub hint: Option<&'static str>,
}

/// Why a text does not have its form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wrong {
    pub code: &'static str,
    pub message: String,
    pub label: Option<String>,
    pub hint: Option<String>,
}

impl Wrong {
    pub fn new(message: impl Into<String>) -> Self {
        Self { code: "bad-value", message: message.into(), label: None, hint: None }
    }

    pub fn code(mut self, code: &'static str) -> Self {
        self.code = code;
        self
    }

    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }

    /// Puts it at its place.
    pub fn at(self, span: Span) -> Note {
        let note = Note::error(span, self.code, self.message).maybe_hint(self.hint);
        if let Some(label) = self.label { note.label(label) } else { note }
    }
}

/// A key that may be absent.
pub const fn key(name: &'static str, shape: Shape, doc: &'static str) -> Key {
    Key { name, shape, doc, needed: Needed::No, default: "", example: "", replaces: false }
}

impl Key {
    pub const fn here(mut self) -> Self {
        self.needed = Needed::Here;
        self
    }

    pub const fn in_the_end(mut self) -> Self {
        self.needed = Needed::InTheEnd;
        self
    }

    pub const fn default(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    pub const fn example(mut self, example: &'static str) -> Self {
        self.example = example;
        self
    }

    pub const fn replaces(mut self) -> Self {
        self.replaces = true;
        self
    }
}

impl Table {
    /// Returns every key, the table's own first.
    pub fn all(&self) -> impl Iterator<Item = &'static Key> {
        self.keys.iter().chain(self.more.iter().flat_map(|more| more.keys.iter()))
    }

    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.all().find(|key| key.name == name)
    }
}

impl Shape {
    /// Returns the table in it, if it is one or a list of them.
    pub fn table(&self) -> Option<&'static Table> {
        match self {
            Self::Table(table) | Self::Tables(table) => Some(table),
            Self::Map(_, shape) => shape.table(),
            Self::Either(shapes) => shapes.iter().find_map(Self::table),
            _ => None,
        }
    }

    /// Returns what is wanted, in words with their article.
    pub fn wanted(&self) -> String {
        match self {
            Self::Bool => "`true` or `false`".into(),
            Self::Integer { .. } => "an integer".into(),
            Self::Text(form) => form.what.into(),
            Self::Word(words) => one_of(&words.iter().map(|(word, _)| *word).collect::<Vec<_>>()),
            Self::List(of) => format!("a list, each {}", of.wanted()),
            Self::Table(_) | Self::Map(..) => "a table".into(),
            Self::Tables(table) => format!("a list of tables, each headed `{}`", table.name),
            Self::Secret => "`{ secret = \"NAME\" }`".into(),
            Self::Either(shapes) => shapes.iter().map(Self::wanted).collect::<Vec<_>>().join(", or "),
        }
    }
}

/// Returns `one of "a", "b"`.
pub fn one_of(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    if let [only] = words.as_slice() { only.clone() } else { format!("one of {}", words.join(", ")) }
}

/// Returns the word nearest to `given`, when one is near enough to be what was meant.
pub fn nearest<'a>(given: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = given.to_lowercase();
    let scored = words.into_iter().map(|word| (strsim::damerau_levenshtein(&lower, &word.to_lowercase()), word));
    let (distance, word) = scored.min_by_key(|(distance, _)| *distance)?;
    let near = distance <= given.chars().count().max(word.chars().count()) / 3;
    (near || (given.len() >= 3 && word.to_lowercase().starts_with(&lower))).then_some(word)
}

/// Returns the hint for a misspelt word: the nearest, else all when they are few.
pub fn did_you_mean<'a>(given: &str, words: impl IntoIterator<Item = &'a str> + Clone) -> Option<String> {
    if let Some(word) = nearest(given, words.clone()) {
        return Some(format!("did you mean `{word}`?"));
    }
    let all: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    (!all.is_empty() && all.len() <= 24).then(|| format!("possible here: {}", all.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_near() {
        let words = ["hostname", "locale", "timezone"];
        assert_eq!(nearest("hostnam", words), Some("hostname"));
        assert_eq!(nearest("Time-zone", words), Some("timezone"));
        assert_eq!(nearest("kernel", words), None);
        assert_eq!(did_you_mean("x", ["a", "b"]), Some("possible here: `a`, `b`".into()));
    }
}
