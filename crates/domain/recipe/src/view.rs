//! Reads a checked table: what is absent and what was refused look alike, and nothing has the wrong type any more.

use crate::node::{Entry, Node, Span, Value, get};
use crate::shape::{Shape, Table};

/// A table of the recipe together with the keys it may have.
#[derive(Clone, Copy)]
pub struct View<'a> {
    keys: &'static Table,
    entries: &'a [Entry],
    pub span: Span,
}

/// A value and where it is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said<T> {
    pub value: T,
    pub span: Span,
}

impl<'a> View<'a> {
    pub fn new(keys: &'static Table, entries: &'a [Entry], span: Span) -> Self {
        Self { keys, entries, span }
    }

    /// Returns a key's value; only keys of the table may be asked for, so the table cannot fall behind.
    pub fn node(&self, key: &str) -> Option<&'a Node> {
        debug_assert!(self.keys.key(key).is_some(), "`{key}` is not in the table of `{}`", self.keys.name);
        #[cfg(test)]
        crate::keys::tests::record(self.keys.name, key);
        get(self.entries, key).map(|entry| &entry.node).filter(|node| node.value != Value::Wrong)
    }

    /// Returns where a key stands, refused or not.
    pub fn key_span(&self, key: &str) -> Option<Span> {
        get(self.entries, key).map(|entry| entry.key_span)
    }

    pub fn has(&self, key: &str) -> bool {
        get(self.entries, key).is_some()
    }

    pub fn text(&self, key: &str) -> Option<Said<&'a str>> {
        self.node(key).and_then(text)
    }

    pub fn string(&self, key: &str) -> Option<String> {
        self.text(key).map(|said| said.value.to_owned())
    }

    pub fn bool(&self, key: &str) -> Option<bool> {
        self.node(key).and_then(|node| if let Value::Bool(yes) = node.value { Some(yes) } else { None })
    }

    pub fn integer(&self, key: &str) -> Option<Said<i64>> {
        let node = self.node(key)?;
        if let Value::Integer(value) = node.value { Some(Said { value, span: node.span }) } else { None }
    }

    /// Returns the texts of a list; a lone text is a list of one.
    pub fn texts(&self, key: &str) -> Vec<Said<&'a str>> {
        match self.node(key) {
            Some(Node { value: Value::List(items), .. }) => items.iter().filter_map(text).collect(),
            Some(node) => text(node).into_iter().collect(),
            None => Vec::new(),
        }
    }

    pub fn strings(&self, key: &str) -> Vec<String> {
        self.texts(key).iter().map(|said| said.value.to_owned()).collect()
    }

    /// Returns the table under a key, empty when it is absent.
    pub fn section(&self, key: &str) -> View<'a> {
        let keys = self.keys.key(key).and_then(|key| key.shape.table()).expect("a section has a table");
        self.table(key).unwrap_or(View { keys, entries: &[], span: self.span })
    }

    pub fn table(&self, key: &str) -> Option<View<'a>> {
        let node = self.node(key)?;
        let keys = match &self.keys.key(key)?.shape {
            Shape::Secret => &crate::keys::SECRET_REFERENCE,
            shape => shape.table()?,
        };
        if let Value::Table(entries) = &node.value { Some(View { keys, entries, span: node.span }) } else { None }
    }

    /// Returns the tables of `[[key]]`.
    pub fn tables(&self, key: &str) -> Vec<View<'a>> {
        let keys = self.keys.key(key).and_then(|key| key.shape.table());
        let (Some(keys), Some(Node { value: Value::List(items), .. })) = (keys, self.node(key)) else {
            return Vec::new();
        };
        let table = |node: &'a Node| match &node.value {
            Value::Table(entries) => Some(View { keys, entries, span: node.span }),
            _ => None,
        };
        items.iter().filter_map(table).collect()
    }

    /// Returns the entries of a table whose keys the recipe chooses.
    pub fn map(&self, key: &str) -> Vec<&'a Entry> {
        match self.node(key) {
            Some(Node { value: Value::Table(entries), .. }) => {
                entries.iter().filter(|entry| entry.node.value != Value::Wrong).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Returns the name in `key = { secret = "NAME" }`.
    pub fn secret(&self, key: &str) -> Option<Said<&'a str>> {
        self.table(key)?.text("secret")
    }
}

fn text(node: &Node) -> Option<Said<&str>> {
    if let Value::Text(value) = &node.value { Some(Said { value, span: node.span }) } else { None }
}
