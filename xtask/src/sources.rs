//! Rust sources read roughly, for the mirror: where functions begin and end, what stands in comments and strings.

use std::fs;
use std::path::{Path, PathBuf};

use crate::tool::root;

/// One file of the workspace.
pub struct Source {
    /// Relative to the workspace's root.
    pub path: String,
    pub text: String,
}

/// A function: its name, its line from one, how many lines it has.
#[derive(Debug, PartialEq)]
pub struct Function {
    pub name: String,
    pub line: usize,
    pub lines: usize,
}

/// Returns every Rust file of the workspace, in order of path.
pub fn all() -> Vec<Source> {
    let mut paths = vec![];
    ["crates", "xtask", "fuzz"].iter().for_each(|folder| collect(&root().join(folder), &mut paths));
    paths.sort();
    let source = |path: PathBuf| {
        let shown = path.strip_prefix(root()).unwrap_or(&path).display().to_string();
        Some(Source { path: shown, text: fs::read_to_string(path).ok()? })
    };
    paths.into_iter().filter_map(source).collect()
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && entry.file_name() != "target" {
            collect(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            into.push(path);
        }
    }
}

impl Source {
    /// Returns the number of lines that are not tests.
    pub fn lines(&self) -> usize {
        self.text.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).count()
    }

    /// Returns the functions; rustfmt puts a closing brace under the word its block began with, which is all this needs.
    pub fn functions(&self) -> Vec<Function> {
        let lines: Vec<&str> = self.text.lines().collect();
        let function = |(at, line): (usize, &&str)| {
            let indent = line.len() - line.trim_start().len();
            let name = function_name(line.trim_start())?;
            let close = format!("{}}}", " ".repeat(indent));
            let one_line = line.ends_with('}') || line.ends_with(';');
            let more = if one_line { 0 } else { lines[at..].iter().position(|line| **line == close)? };
            Some(Function { name, line: at + 1, lines: more + 1 })
        };
        lines.iter().enumerate().filter_map(function).collect()
    }

    /// Returns the lines, from one, that hold `word` outside of comments.
    pub fn lines_with(&self, word: &str) -> Vec<usize> {
        let holds = |line: &str| line.split("//").next().is_some_and(|code| code.contains(word));
        self.text.lines().enumerate().filter(|(_, line)| holds(line)).map(|(at, _)| at + 1).collect()
    }
}

fn function_name(line: &str) -> Option<String> {
    const BEFORE: &[&str] = &["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe", "extern", "\"C\""];
    let mut words = line.split_whitespace().skip_while(|word| BEFORE.contains(word));
    if words.next() != Some("fn") {
        return None;
    }
    let name: String = words.next()?.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_found_with_their_length() {
        let text = "fn one() {\n    1;\n}\n\nimpl X {\n    pub(crate) const fn two(&self) -> u8 {\n        2\n    }\n}\n// fn no() {\n";
        let source = Source { path: "x.rs".into(), text: text.into() };
        let wanted = [("one", 1, 3), ("two", 6, 3)];
        let wanted = wanted.map(|(name, line, lines)| Function { name: name.into(), line, lines });
        assert_eq!(source.functions(), wanted);
    }

    #[test]
    fn comments_do_not_count() {
        let source = Source { path: "x.rs".into(), text: "// unsafe {\nlet x = unsafe { y };\n".into() };
        assert_eq!(source.lines_with("unsafe {"), [2]);
    }
}
