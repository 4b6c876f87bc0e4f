//! A user's own pair: `devices/<DEVICE>/<OS>/pieman.yml`, read as Pieman reads it.

use super::declare::Parameters;
use super::preprocess::preprocess;
use super::sheets::Refused;
use super::table::Parameter;
use super::yaml;
use crate::desk::Note;
use crate::node::{Entry, Node, Span, Value, get};

/// The files of a pair. Whoever calls reads them; nothing here does.
#[derive(Clone, Debug, Default)]
pub struct PairFiles {
    /// The path of `pieman.yml`, from the working directory.
    pub path: String,
    /// Its text.
    pub definition: String,
    /// Hooks: folder, file name and text, in the order of their names.
    pub hooks: Vec<HookFile>,
    /// The environment, for `${NAME}`.
    pub environment: std::collections::BTreeMap<String, String>,
}

impl PairFiles {
    /// Returns the folder of all of them, from the working directory.
    pub fn folder(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(folder, _)| folder)
    }
}

/// A script of a pair.
#[derive(Clone, Debug)]
pub struct HookFile {
    /// `post-install`.
    pub hook: String,
    pub file: String,
    pub text: String,
}

/// A word and where it stands.
#[derive(Clone, Debug)]
pub struct Word {
    pub text: String,
    pub span: Span,
}

/// What a definition says.
#[derive(Clone, Debug)]
pub struct Pair {
    pub repos: Vec<Word>,
    pub codename: Option<Word>,
    pub base: Vec<Word>,
    pub includes: Vec<Word>,
    pub boot: Vec<Word>,
    pub spl_bin: Option<Word>,
    pub params: Vec<Word>,
    pub kernel: Word,
}

/// Returns where a pair's files are, from `PIEMAN_DIR`.
pub fn folder(parameters: &Parameters) -> String {
    format!("devices/{}/{}", parameters.text("DEVICE"), parameters.text("OS"))
}

/// Reads a definition; it becomes one of the texts that mistakes can point into.
pub fn read(parameters: &mut Parameters, files: &PairFiles) -> Result<Pair, Refused> {
    let name = files.path.clone();
    let number = parameters.sheets.open(&name, &files.definition);
    let parameters = &*parameters;
    let mut file = yaml::read(&files.definition, number)
        .map_err(|note| parameters.sheets.refuse(format!("{name} is not YAML"), note))?;
    let environment = |variable: &str| match variable {
        "UBOOT_VER" => Some("2019.01".to_owned()),
        name if Parameter::find(name).is_some_and(|known| !known.kind.is_secret()) => {
            Some(parameters.text(name).to_owned())
        }
        name => parameters.others.get(name).or_else(|| files.environment.get(name)).cloned(),
    };
    preprocess(&mut file, &environment).map_err(|(fatal, note)| parameters.sheets.refuse(fatal, note))?;
    Definition { parameters, name, entries: root(parameters, &file)? }.pair()
}

fn root<'a>(parameters: &Parameters, file: &'a Node) -> Result<&'a [Entry], Refused> {
    let os = parameters.text("OS");
    let roots: &[Entry] = if let Value::Table(roots) = &file.value { roots } else { &[] };
    match get(roots, os).map(|entry| &entry.node.value) {
        Some(Value::Table(entries)) => Ok(entries),
        _ => {
            let span = roots.first().map_or(file.span, |entry| entry.key_span);
            let note = Note::error(span, "missing-key", format!("this file says nothing about `{os}`"))
                .also(parameters.span("OS"), "asked for here")
                .hint(format!("its first line must be `{os}:`"));
            Err(parameters.sheets.refuse(format!("The root name '{os}' could not be found"), note))
        }
    }
}

struct Definition<'a> {
    parameters: &'a Parameters,
    name: String,
    entries: &'a [Entry],
}

impl Definition<'_> {
    fn pair(&self) -> Result<Pair, Refused> {
        Ok(Pair {
            repos: self.needed("repos", self.words("repos"))?,
            codename: self.words("codename").pop(),
            base: self.words("base"),
            includes: self.words("includes"),
            boot: self.needed("boot", self.words("boot"))?,
            spl_bin: self.words("spl_bin").pop(),
            params: self.words("params"),
            kernel: self.kernel()?,
        })
    }

    fn kernel(&self) -> Result<Word, Refused> {
        let os = self.parameters.text("OS");
        match get(self.entries, "kernel").map(|entry| &entry.node.value) {
            Some(Value::Table(entries)) => get(entries, "package")
                .and_then(|entry| words(&entry.node).pop())
                .ok_or_else(|| self.missing("kernel", "package")),
            _ => Err(self.missing(os, "kernel")),
        }
    }

    fn words(&self, key: &str) -> Vec<Word> {
        get(self.entries, key).map(|entry| words(&entry.node)).unwrap_or_default()
    }

    fn needed(&self, key: &str, words: Vec<Word>) -> Result<Vec<Word>, Refused> {
        if words.is_empty() { Err(self.missing(self.parameters.text("OS"), key)) } else { Ok(words) }
    }

    fn missing(&self, parent: &str, key: &str) -> Refused {
        let file = &self.name;
        let fatal = format!(
            "while getting the specified attribute from {file} occurred the following error: {parent} does not have attribute {key}."
        );
        let span = self.entries.first().map(|entry| entry.key_span).unwrap_or_default();
        let note = Note::error(span, "missing-key", format!("`{parent}` does not say `{key}`"));
        self.parameters.sheets.refuse(fatal, note.hint("`repos`, `boot` and `kernel.package` must be there"))
    }
}

/// Returns a list's words; a lone word is a list of one.
fn words(node: &Node) -> Vec<Word> {
    match &node.value {
        Value::Text(text) => vec![Word { text: text.clone(), span: node.span }],
        Value::List(items) => items.iter().flat_map(words).collect(),
        _ => Vec::new(),
    }
}
