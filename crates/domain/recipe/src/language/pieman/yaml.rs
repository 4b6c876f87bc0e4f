//! YAML into the tree that recipes are read from. All scalars are text: a definition has no others that matter.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser};

use crate::desk::Note;
use crate::node::{Entry, Node, Span, Value};

/// Reads the first document of `text`, the file numbered `file`.
pub fn read(text: &str, file: usize) -> Result<Node, Note> {
    let mut builder = Builder { bytes: offsets(text), file, open: Vec::new(), anchors: HashMap::new(), done: None };
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => builder.event(event, span)?,
            Err(error) => {
                let at = builder.byte(error.marker().index());
                let span = Span { file, start: at.min(text.len().saturating_sub(1)), end: (at + 1).min(text.len()) };
                return Err(Note::error(span, "syntax", format!("this is not YAML: {}", error.info())));
            }
        }
    }
    Ok(builder.done.unwrap_or(Node { span: Span { file, start: 0, end: 0 }, value: Value::Table(Vec::new()) }))
}

/// Where characters begin, in bytes; the parser counts characters.
fn offsets(text: &str) -> Vec<usize> {
    text.char_indices().map(|(at, _)| at).chain([text.len()]).collect()
}

struct Builder {
    bytes: Vec<usize>,
    file: usize,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    done: Option<Node>,
}

/// A list or table that is not at its end.
struct Open {
    node: Node,
    anchor: usize,
    /// The key whose value comes next.
    key: Option<(String, Span)>,
}

impl Builder {
    fn byte(&self, index: usize) -> usize {
        self.bytes.get(index).or(self.bytes.last()).copied().unwrap_or(0)
    }

    fn span(&self, span: saphyr_parser::Span) -> Span {
        Span { file: self.file, start: self.byte(span.start.index()), end: self.byte(span.end.index()) }
    }

    fn event(&mut self, event: Event<'_>, span: saphyr_parser::Span) -> Result<(), Note> {
        let span = self.span(span);
        match event {
            Event::Scalar(text, _, anchor, _) => {
                self.value(Node { span, value: Value::Text(text.into_owned()) }, anchor)?
            }
            Event::SequenceStart(anchor, _) => self.start(span, Value::List(Vec::new()), anchor),
            Event::MappingStart(anchor, _) => self.start(span, Value::Table(Vec::new()), anchor),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(mut open) = self.open.pop() else { return Ok(()) };
                open.node.span.end = span.start.max(open.node.span.start);
                self.value(open.node, open.anchor)?;
            }
            Event::Alias(anchor) => {
                let unknown = || Note::error(span, "syntax", "no anchor before this has that name");
                let node = self.anchors.get(&anchor).cloned().ok_or_else(unknown)?;
                self.value(node, 0)?;
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn start(&mut self, span: Span, value: Value, anchor: usize) {
        self.open.push(Open { node: Node { span, value }, anchor, key: None });
    }

    fn value(&mut self, node: Node, anchor: usize) -> Result<(), Note> {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.done.get_or_insert(node);
            return Ok(());
        };
        match (&mut open.node.value, open.key.take()) {
            (Value::List(items), _) => items.push(node),
            (Value::Table(entries), Some((key, key_span))) => entries.push(Entry { key, key_span, node }),
            (_, _) => match node.value {
                Value::Text(key) => open.key = Some((key, node.span)),
                _ => return Err(Note::error(node.span, "syntax", "a key must be a word")),
            },
        }
        Ok(())
    }
}
