//! Diagnostics: what is wrong with a recipe and where, as data; [`crate::render`] shows them to people.

use kiln_model::Fault;
use serde::{Deserialize, Serialize};

use crate::render::{self, Look};

/// One thing to say about a recipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    pub severity: Severity,
    /// A word for programs, as in `unknown-key`; each is explained in docs/reference/recipe.md.
    pub code: String,
    /// Lowercase, without a full stop, objects in backticks.
    pub message: String,
    #[serde(flatten)]
    pub place: Place,
    /// What stands under the underlined text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Other places that have to do with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Label>,
}

/// Whether it stops the build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Error,
    Warning,
}

/// A stretch of a recipe file.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// As it was given or as `include` leads to it; `--set` for settings of the command line.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// From 0, in bytes.
    pub offset: usize,
    /// In bytes.
    pub len: usize,
}

/// A further place and what is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    #[serde(flatten)]
    pub place: Place,
    pub text: String,
}

/// The text of every file that a recipe consists of, to show diagnostics with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files(pub Vec<SourceText>);

/// A file's name and text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceText {
    pub path: String,
    pub text: String,
}

impl Files {
    /// Returns the text of the file called `path`.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.0.iter().find(|file| file.path == path).map(|file| file.text.as_str())
    }
}

/// A recipe that cannot be built: everything that is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// At least one error, in the order of files and lines; warnings among them.
    pub diagnostics: Vec<Diagnostic>,
    pub files: Files,
}

impl Rejected {
    /// Returns the number of errors.
    pub fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count()
    }

    /// Returns all diagnostics as text for people.
    pub fn render(&self, look: Look) -> String {
        render::render(&self.diagnostics, &self.files, look)
    }

    /// Returns the fault, with the diagnostics as its detail.
    pub fn fault(&self, look: Look) -> Fault {
        Fault::recipe(self.to_string()).detail(self.render(look))
    }
}

impl std::fmt::Display for Rejected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let file = self.diagnostics.first().map_or("recipe", |first| first.place.file.as_str());
        match self.errors() {
            1 => write!(f, "check `{file}`: one mistake"),
            many => write!(f, "check `{file}`: {many} mistakes"),
        }
    }
}

impl std::error::Error for Rejected {}

impl From<Rejected> for Fault {
    fn from(rejected: Rejected) -> Self {
        rejected.fault(Look::PLAIN)
    }
}
