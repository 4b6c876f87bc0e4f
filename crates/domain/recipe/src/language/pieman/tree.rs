//! Builds a recipe's tree key by key.

use crate::node::{Entry, Node, Span, Value};

/// A table in the making.
#[derive(Clone, Debug, Default)]
pub struct Tree(pub Vec<Entry>);

impl Tree {
    /// Sets a dotted key; tables on the way are made.
    pub fn set(&mut self, key: &str, value: impl Into<Value>, span: Span) {
        self.put(key, Node { span, value: value.into() }, span);
    }

    /// Adds a table to the list under a dotted key.
    pub fn add(&mut self, key: &str, table: Self, span: Span) {
        self.item(key, Value::Table(table.0), span);
    }

    /// Adds an item to the list under a dotted key.
    pub fn item(&mut self, key: &str, value: impl Into<Value>, span: Span) {
        let node = Node { span, value: value.into() };
        match self.find(key) {
            Some(Node { value: Value::List(items), .. }) => items.push(node),
            _ => self.put(key, Node { span, value: Value::List(vec![node]) }, span),
        }
    }

    fn find(&mut self, key: &str) -> Option<&mut Node> {
        let (first, rest) = key.split_once('.').map_or((key, None), |(first, rest)| (first, Some(rest)));
        let mut node = self.0.iter_mut().find(|entry| entry.key == first).map(|entry| &mut entry.node)?;
        for name in rest.into_iter().flat_map(|rest| rest.split('.')) {
            let Value::Table(entries) = &mut node.value else { return None };
            node = entries.iter_mut().find(|entry| entry.key == name).map(|entry| &mut entry.node)?;
        }
        Some(node)
    }

    fn put(&mut self, key: &str, node: Node, span: Span) {
        let mut names: Vec<&str> = key.split('.').collect();
        let last = names.pop().expect("a key has a name");
        let mut entries = &mut self.0;
        for name in names {
            let at = entries.iter().position(|entry| entry.key == name).unwrap_or_else(|| {
                let node = Node { span, value: Value::Table(Vec::new()) };
                entries.push(Entry { key: name.to_owned(), key_span: span, node });
                entries.len() - 1
            });
            let Value::Table(inner) = &mut entries[at].node.value else {
                unreachable!("`{key}` leads through a value")
            };
            entries = inner;
        }
        entries.push(Entry { key: last.to_owned(), key_span: span, node });
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Self {
        Self::Bool(yes)
    }
}
