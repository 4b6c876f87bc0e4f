//! Lays one tree over another: tables key by key, lists one after the other, everything else as the later one says.

use crate::node::{Entry, Value};
use crate::shape::{Key, Shape, Table};

/// Lays `over` over `base`; `keys` tells which tables go together and which lists are replaced.
pub fn merge(base: &mut Vec<Entry>, over: Vec<Entry>, keys: &'static Table) {
    for entry in over {
        let key = keys.key(&entry.key);
        match base.iter_mut().find(|other| other.key == entry.key) {
            Some(other) => lay(other, entry, key),
            None => base.push(entry),
        }
    }
}

fn lay(base: &mut Entry, over: Entry, key: Option<&'static Key>) {
    let shape = key.filter(|key| !key.replaces).map(|key| &key.shape);
    match (shape, &mut base.node.value, over.node.value) {
        (Some(Shape::Map(..)), Value::Table(entries), Value::Table(later)) => return by_name(entries, later),
        (Some(_), Value::List(items), Value::List(later)) => return items.extend(later),
        (Some(Shape::Table(table)), Value::Table(entries), Value::Table(later)) => merge(entries, later, table),
        (_, value, later) => *value = later,
    }
    base.node.span = over.node.span;
    base.key_span = over.key_span;
}

/// In a table whose keys the recipe chooses, each is taken whole.
fn by_name(entries: &mut Vec<Entry>, later: Vec<Entry>) {
    for entry in later {
        entries.retain(|other| other.key != entry.key);
        entries.push(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::BODY;
    use crate::language::toml::read;
    use crate::node::get;

    fn shown(entries: &[Entry]) -> String {
        let value = |value: &Value| match value {
            Value::Text(text) => text.clone(),
            Value::List(items) => items.iter().map(|item| shown_value(&item.value)).collect::<Vec<_>>().join(","),
            Value::Table(entries) => format!("{{{}}}", shown(entries)),
            other => format!("{other:?}"),
        };
        entries.iter().map(|entry| format!("{}={}", entry.key, value(&entry.node.value))).collect::<Vec<_>>().join(" ")
    }

    fn shown_value(value: &Value) -> String {
        match value {
            Value::Text(text) => text.clone(),
            Value::Table(entries) => format!("{{{}}}", shown(entries)),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn the_rule_of_laying_over() {
        let rows = [
            ("name = 'a'", "name = 'b'", "name=b"),
            ("packages.include = ['a']", "packages.include = ['b']", "packages={include=a,b}"),
            ("base.components = ['a']", "base.components = ['b']", "base={components=b}"),
            ("base.release = '12'", "base.board = 'x'", "base={release=12 board=x}"),
            ("[[user]]\nname = 'a'", "[[user]]\nname = 'b'", "user={name=a},{name=b}"),
            ("secrets.a.env = 'X'", "secrets.a.file = 'y'", "secrets={a={file=y}}"),
            (
                "system.keyboard = {layout = 'de', variant = 'x'}",
                "system.keyboard = {layout = 'us'}",
                "system={keyboard={layout=us}}",
            ),
            ("disk.size = '1GiB'", "disk.size = {free = '1MiB'}", "disk={size={free=1MiB}}"),
        ];
        for (base, over, wanted) in rows {
            let mut entries = read(base, 0).entries;
            merge(&mut entries, read(over, 1).entries, &BODY);
            assert_eq!(shown(&entries), wanted, "{base} | {over}");
            assert!(get(&entries, entries[0].key.as_str()).is_some());
        }
    }
}
