//! `${NAME}` in a definition: scalars met before, the name of the table around, the environment.

use std::collections::HashMap;

use crate::desk::Note;
use crate::node::{Entry, Node, Span, Value};

/// References within references; one that leads to itself goes deeper than any other.
const DEEPEST: usize = 64;

/// Why a file cannot be used: Pieman's message and the explanation.
pub type Wrong = (String, Note);

/// Replaces every reference in a file.
pub fn preprocess(file: &mut Node, environment: &dyn Fn(&str) -> Option<String>) -> Result<(), Wrong> {
    Preprocessor { met: HashMap::new(), environment }.node(file, "")
}

struct Preprocessor<'a> {
    /// Scalars as they are written, by their keys; the last one counts.
    met: HashMap<String, String>,
    environment: &'a dyn Fn(&str) -> Option<String>,
}

impl Preprocessor<'_> {
    fn node(&mut self, node: &mut Node, parent: &str) -> Result<(), Wrong> {
        let span = node.span;
        match &mut node.value {
            Value::Text(text) => *text = self.resolved(text, parent, span, 0)?,
            Value::List(items) => items.iter_mut().try_for_each(|item| self.node(item, parent))?,
            Value::Table(entries) => entries.iter_mut().try_for_each(|entry| self.entry(entry, parent))?,
            _ => {}
        }
        Ok(())
    }

    fn entry(&mut self, entry: &mut Entry, parent: &str) -> Result<(), Wrong> {
        if let Value::Text(text) = &entry.node.value {
            self.met.insert(entry.key.clone(), text.clone());
            return self.node(&mut entry.node, parent);
        }
        let name = entry.key.clone();
        self.node(&mut entry.node, &name)
    }

    /// What a reference brings in is resolved where it is used.
    fn resolved(&self, text: &str, parent: &str, span: Span, depth: usize) -> Result<String, Wrong> {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, name, after)) = reference(rest) {
            out += before;
            let value = self.value(name, parent).ok_or_else(|| undefined(name, span))?;
            if depth == DEEPEST {
                let note = Note::error(span, "parameter", format!("`{name}` leads back to itself"));
                return Err((format!("The variable '{name}' refers to itself"), note));
            }
            out += &self.resolved(&value, parent, span, depth + 1)?;
            rest = after;
        }
        Ok(out + rest)
    }

    fn value(&self, name: &str, parent: &str) -> Option<String> {
        let built_in = || (name == "parent_node_name").then(|| parent.to_owned());
        self.met.get(name).cloned().or_else(built_in).or_else(|| (self.environment)(name))
    }
}

/// Returns the first `${NAME}` with what stands before and after it.
fn reference(text: &str) -> Option<(&str, &str, &str)> {
    let word = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    text.match_indices("${").find_map(|(at, _)| {
        let (name, after) = text[at + 2..].split_once('}')?;
        word(name).then_some((&text[..at], name, after))
    })
}

fn undefined(name: &str, span: Span) -> Wrong {
    let note =
        Note::error(span, "parameter", format!("nothing before this is called `{name}`, nor an environment variable"));
    (format!("The variable '{name}' is undefined"), note)
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;
    use crate::node::get;

    fn run(text: &str, variables: &[(&str, &str)]) -> Result<Node, Wrong> {
        let mut file = yaml::read(text, 0).unwrap();
        let environment =
            |name: &str| variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| value.to_string());
        preprocess(&mut file, &environment).map(|()| file)
    }

    /// Writes a tree as the reference does: `{a: x, b: [y]}`.
    fn flow(node: &Node) -> String {
        match &node.value {
            Value::Text(text) => text.clone(),
            Value::List(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
            Value::Table(entries) => {
                let one = |entry: &Entry| format!("{}: {}", entry.key, flow(&entry.node));
                format!("{{{}}}", entries.iter().map(one).collect::<Vec<_>>().join(", "))
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn references_are_resolved_where_they_are_used() {
        let text = "one:\n  v: hello\ntwo:\n  w: ${v}-${parent_node_name}\n  l: ['${parent_node_name}', [a, '${v}']]\n  \
                    n: {z: '${w}/${HOME}'}\n  bool: true\n  num: 3.12\n";
        let file = run(text, &[("HOME", "/root")]).unwrap();
        let Value::Table(roots) = &file.value else { panic!("a table") };
        let two = flow(&get(roots, "two").unwrap().node);
        assert_eq!(two, "{w: hello-two, l: [l, [a, hello]], n: {z: hello-n//root}, bool: true, num: 3.12}");
    }

    #[test]
    fn a_nested_table_sees_its_own_name() {
        let text = "toolset:\n  apk:\n    armhf:\n      arch: ${parent_node_name}\n      version: '3.13'\n      \
                    dst: ${TOOLSET_DIR}/apk/${version}/apk-${parent_node_name}.static\n";
        let file = run(text, &[("TOOLSET_DIR", "path/to/toolset")]).unwrap();
        let wanted = "{arch: armhf, version: 3.13, dst: path/to/toolset/apk/3.13/apk-armhf.static}";
        assert!(flow(&file).contains(wanted), "{}", flow(&file));
    }

    #[test]
    fn what_cannot_be_resolved_is_told() {
        assert_eq!(run("a:\n  b: ${NOBODY}\n", &[]).unwrap_err().0, "The variable 'NOBODY' is undefined");
        assert_eq!(run("a:\n  b: x${b}\n", &[]).unwrap_err().0, "The variable 'b' refers to itself");
        assert!(run("a:\n  b: ${b\n  c: $b ${}\n", &[]).is_ok());
    }
}
