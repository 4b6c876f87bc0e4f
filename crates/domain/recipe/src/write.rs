//! Writes a recipe's tree as TOML, for people who move on from another language.

use crate::keys::EDITION;
use crate::node::{Entry, Node, Value};

/// Returns the recipe as a file says it: first what stands by itself, then a part for each section.
pub fn toml(entries: &[Entry]) -> String {
    let mut text = format!("edition = {EDITION}\n");
    lines(entries, &mut text);
    for entry in entries {
        section(&entry.key, &entry.node, &mut text);
    }
    text
}

fn lines(entries: &[Entry], text: &mut String) {
    for entry in entries.iter().filter(|entry| !is_section(&entry.key, &entry.node)) {
        *text += &format!("{} = {}\n", key(&entry.key), value(&entry.node));
    }
}

/// Whether a value has a part of its own: a list of tables, or a table that is no more than a value.
fn is_section(key: &str, node: &Node) -> bool {
    match &node.value {
        Value::List(items) => matches!(items.first().map(|item| &item.value), Some(Value::Table(_))),
        Value::Table(_) => !matches!(key, "password" | "psk" | "size"),
        _ => false,
    }
}

fn section(path: &str, node: &Node, text: &mut String) {
    match &node.value {
        Value::Table(entries) if path == "secrets" => {
            *text += "\n[secrets]\n";
            let one = |entry: &Entry| format!("{} = {}\n", key(&entry.key), value(&entry.node));
            *text += &entries.iter().map(one).collect::<String>();
        }
        Value::Table(entries) if is_section(path, node) => part(path, &format!("[{path}]"), entries, text),
        Value::List(items) if is_section(path, node) => {
            for item in items {
                let Value::Table(entries) = &item.value else { continue };
                part(path, &format!("[[{path}]]"), entries, text);
            }
        }
        _ => {}
    }
}

/// Writes a section; one that holds nothing but others needs no heading.
fn part(path: &str, heading: &str, entries: &[Entry], text: &mut String) {
    let only_others = entries.iter().all(|entry| is_section(&entry.key, &entry.node));
    if heading.starts_with("[[") || !only_others {
        *text += &format!("\n{heading}\n");
        lines(entries, text);
    }
    for entry in entries.iter().filter(|entry| is_section(&entry.key, &entry.node)) {
        section(&format!("{path}.{}", key(&entry.key)), &entry.node, text);
    }
}

fn key(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !name.is_empty() && name.chars().all(plain) { name.to_owned() } else { quoted(name) }
}

fn value(node: &Node) -> String {
    match &node.value {
        Value::Text(text) if text.contains('\n') => lines_of_text(text),
        Value::Text(text) | Value::Date(text) => quoted(text),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Bool(yes) => yes.to_string(),
        Value::List(items) => format!("[{}]", items.iter().map(value).collect::<Vec<_>>().join(", ")),
        Value::Table(entries) => {
            let one = |entry: &Entry| format!("{} = {}", key(&entry.key), value(&entry.node));
            format!("{{ {} }}", entries.iter().map(one).collect::<Vec<_>>().join(", "))
        }
        Value::Wrong => "\"\"".into(),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text).replace('"', "\\\""))
}

/// Escapes all but quotes.
fn escaped(text: &str) -> String {
    let one = |c: char| match c {
        '\\' => "\\\\".to_owned(),
        c if c.is_control() => format!("\\u{:04X}", c as u32),
        c => c.to_string(),
    };
    text.chars().map(one).collect()
}

/// A program is read more easily with its own lines.
fn lines_of_text(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(escaped).collect();
    format!("\"\"\"\n{}\"\"\"", lines.join("\n").replace("\"\"\"", "\"\"\\\""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::language::toml::read;
    use crate::node::Span;

    fn bare(entries: &[Entry]) -> Vec<(String, String)> {
        entries.iter().map(|entry| (entry.key.clone(), value(&entry.node))).collect()
    }

    proptest! {
        #[test]
        fn any_text_comes_back(words in "[ -~\n\t\"\\\\é]*") {
            let node = Node { span: Span::default(), value: Value::Text(words.clone()) };
            let text = format!("a = {}\n", value(&node));
            let back = read(&text, 0);
            prop_assert!(back.mistakes.is_empty(), "{text}");
            prop_assert_eq!(&back.entries[0].node.value, &Value::Text(words));
        }
    }

    #[test]
    fn a_recipe_comes_back() {
        let text = "edition = 1\nname = \"x\"\n\n[base]\nrelease = \"13\"\ncomponents = [\"main\", \"contrib\"]\n\n\
                    [[base.repository]]\nname = \"v\"\n\n[[user]]\nname = \"root\"\npassword = { secret = \"P\" }\n\n\
                    [secrets]\nP = { env = \"P\" }\n";
        let mut entries = read(text, 0).entries;
        entries.retain(|entry| entry.key != "edition");
        assert_eq!(toml(&entries), text);
        assert_eq!(bare(&read(&toml(&entries), 0).entries[1..]), bare(&entries));
    }
}
