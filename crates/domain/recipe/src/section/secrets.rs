//! `[secrets]`: where secrets come from; who uses which.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::desk::{Desk, Note};
use crate::forms::{LOCAL_PATH, VARIABLE};
use crate::node::{Entry, Span, Value};
use crate::shape::{Shape, Table, did_you_mean, key};
use crate::spec::SecretSource;
use crate::view::{Said, View};

pub static KEYS: Table = Table {
    name: "[secrets]",
    doc: "One secret.",
    keys: &[
        key("env", Shape::Text(&VARIABLE), "The environment variable that holds it.").example("\"ADMIN_PASSWORD\""),
        key(
            "file",
            Shape::Text(&LOCAL_PATH),
            "The file that holds it, from this file's folder or absolute; one line end at its end is dropped.",
        )
        .example("\"secrets/admin\""),
    ],
    more: None,
};

/// The declared secrets, and which of them were used.
pub struct Secrets<'a> {
    declared: Vec<&'a Entry>,
    used: RefCell<BTreeSet<String>>,
}

impl<'a> Secrets<'a> {
    pub fn new(root: View<'a>) -> Self {
        Self { declared: root.map("secrets"), used: RefCell::default() }
    }

    /// Returns the secret's name after seeing that it is declared.
    pub fn used(&self, said: Said<&str>, desk: &Desk<'_>) -> String {
        if !self.declared.iter().any(|entry| entry.key == said.value) {
            let names = self.declared.iter().map(|entry| entry.key.as_str());
            let hint = did_you_mean(said.value, names);
            let hint = hint.unwrap_or_else(|| format!("add to `[secrets]`: {} = {{ env = \"VARIABLE\" }}", said.value));
            let message = format!("`[secrets]` does not say where `{}` comes from", said.value);
            desk.say(Note::error(said.span, "unknown-secret", message).hint(hint));
        }
        self.used.borrow_mut().insert(said.value.to_owned());
        said.value.to_owned()
    }

    /// Returns every secret that is used; tells those that are not.
    pub fn read(&self, desk: &Desk<'_>) -> BTreeMap<String, SecretSource> {
        let mut sources = BTreeMap::new();
        for entry in &self.declared {
            if !self.used.borrow().contains(&entry.key) {
                let message = format!("nothing uses the secret `{}`", entry.key);
                desk.say(Note::warning(entry.key_span, "unused-secret", message));
            }
            if let Some(source) = source(entry, desk) {
                sources.insert(entry.key.clone(), source);
            }
        }
        sources
    }
}

fn source(entry: &Entry, desk: &Desk<'_>) -> Option<SecretSource> {
    let Value::Table(entries) = &entry.node.value else { return None };
    let view = View::new(&KEYS, entries, entry.node.span);
    let both = (view.key_span("env"), view.key_span("file"));
    if let (Some(env), Some(file)) = both {
        let message = format!("the secret `{}` comes from two places", entry.key);
        desk.say(Note::error(file, "contradiction", message).also(env, "the other"));
    } else if both == (None, None) {
        let message = format!("the secret `{}` comes from nowhere", entry.key);
        let span: Span = entry.key_span;
        desk.say(Note::error(span, "missing-key", message).hint("say `env = \"VARIABLE\"` or `file = \"…\"`"));
    }
    let env = view.string("env").map(SecretSource::Environment);
    env.or_else(|| {
        let file = view.text("file")?;
        Some(SecretSource::File(desk.spec_path(&desk.host_path(file.span, file.value))))
    })
}
