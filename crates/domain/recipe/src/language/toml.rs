//! Recipes in TOML.

use std::ops::Range;

use toml::de::{DeInteger, DeTable, DeValue};

use super::{Mistake, Read};
use crate::node::{Entry, Node, Span, Value};

/// Reads `text`, the file numbered `file`; goes on after a mistake as well as it can.
pub fn read(text: &str, file: usize) -> Read {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader { file, mistakes: Vec::new() };
    let entries = reader.table(table.get_ref());
    if errors.is_empty() {
        return Read { entries, mistakes: reader.mistakes, doubtful: None };
    }
    let mut mistakes: Vec<Mistake> = errors.iter().map(|error| mistake(text, file, error)).collect();
    let open = mistakes.iter().position(|mistake| is_open(&mistake.message));
    if let (Some(first), true) = (open, mistakes.iter().any(|mistake| mistake.message.starts_with("unclosed array"))) {
        // A list without its end swallows what follows; every line of it would be a mistake.
        mistakes.truncate(first + 1);
        mistakes[first].hint = Some("is a `]` missing before this?".into());
    }
    let doubtful = open.map(|first| mistakes[first].span.start);
    Read { entries, mistakes, doubtful }
}

/// Whether the mistake leaves open where the next line belongs.
fn is_open(message: &str) -> bool {
    ["unclosed", "array", "inline table", "missing comma"].iter().any(|word| message.contains(word))
}

/// Words the parser's message as ours are, and points at a character where it points between two.
fn mistake(text: &str, file: usize, error: &toml::de::Error) -> Mistake {
    let Range { mut start, end } = error.span().unwrap_or(0..0);
    start = start.min(text.len());
    if start == text.len() && end <= start {
        start = text.trim_end().len().saturating_sub(1);
    }
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let one = text[start..].chars().next().map_or(0, char::len_utf8);
    let end = if end > start { end.min(text.len()) } else { start + one };
    let message = error.message().trim().to_owned();
    if message.contains("leading zero") {
        let length = text[start..].find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len() - start);
        let hint = Some(format!("write it as text: \"{}\"", &text[start..start + length]));
        let message = "a number does not begin with a zero".to_owned();
        return Mistake { span: Span { file, start, end: start + length }, message, hint };
    }
    let (message, hint) = match message.as_str() {
        text if text.starts_with("invalid basic string") => {
            ("this text does not end on its line".into(), Some("a `\"` is missing".into()))
        }
        text if text.starts_with("string values must be quoted") => ("text must stand in quotes".into(), None),
        _ => (message, None),
    };
    Mistake { span: Span { file, start, end }, message, hint }
}

struct Reader {
    file: usize,
    mistakes: Vec<Mistake>,
}

impl Reader {
    fn span(&self, range: Range<usize>) -> Span {
        Span { file: self.file, start: range.start, end: range.end }
    }

    /// Returns the entries in the order they are written; the parser's own order is that of the names.
    fn table(&mut self, table: &DeTable<'_>) -> Vec<Entry> {
        let mut entries: Vec<Entry> = table
            .iter()
            .map(|(key, value)| Entry {
                key: key.get_ref().to_string(),
                key_span: self.span(key.span()),
                node: self.node(value.get_ref(), value.span()),
            })
            .collect();
        entries.sort_by_key(|entry| entry.key_span);
        entries
    }

    fn node(&mut self, value: &DeValue<'_>, range: Range<usize>) -> Node {
        let span = self.span(range);
        let value = match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(integer) => self.integer(integer, span),
            DeValue::Float(float) => Value::Float(float.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(yes) => Value::Bool(*yes),
            DeValue::Datetime(date) => Value::Date(date.to_string()),
            DeValue::Array(list) => {
                Value::List(list.iter().map(|item| self.node(item.get_ref(), item.span())).collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        Node { span, value }
    }

    fn integer(&mut self, integer: &DeInteger<'_>, span: Span) -> Value {
        match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => {
                let message = "an integer of more than 64 bits".to_owned();
                self.mistakes.push(Mistake { span, message, hint: None });
                Value::Wrong
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::get;

    #[test]
    fn values_keep_their_places() {
        let text = "a = \"x\"\n[b]\nc = 0x1f\nd = [true, 1979-05-27]\n";
        let read = read(text, 3);
        assert!(read.mistakes.is_empty(), "{:?}", read.mistakes);
        let a = get(&read.entries, "a").unwrap();
        assert_eq!(&text[a.node.span.start..a.node.span.end], "\"x\"");
        let Value::Table(b) = &get(&read.entries, "b").unwrap().node.value else { panic!("a table") };
        assert_eq!(get(b, "c").unwrap().node.value, Value::Integer(31));
        let Value::List(d) = &get(b, "d").unwrap().node.value else { panic!("a list") };
        assert_eq!((&d[0].value, &d[1].value), (&Value::Bool(true), &Value::Date("1979-05-27".into())));
        assert_eq!(d[1].span.file, 3);
    }

    #[test]
    fn every_mistake_is_told_and_points_into_the_text() {
        let texts = [
            "a = \n b = 2\nc = = 3\n",
            "a = \"x",
            "[a\nb=1\n",
            "mode = 0644\n",
            "é = ",
            "n = 99999999999999999999",
            "\u{feff}=\0",
        ];
        for text in texts {
            let read = read(text, 0);
            assert!(!read.mistakes.is_empty(), "{text:?}");
            for mistake in read.mistakes {
                assert!(text.get(mistake.span.start..mistake.span.end).is_some(), "{text:?} {mistake:?}");
            }
        }
    }
}
