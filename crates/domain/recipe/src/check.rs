//! Checks a file's tree against the table of keys: every mistake is told, and what is wrong is put out of sight.

use crate::desk::{Desk, Note};
use crate::keys::ROOT;
use crate::node::{Entry, Node, Span, Value, get};
use crate::shape::{Needed, Shape, Table, Wrong, did_you_mean, nearest, one_of};

/// Checks the keys of one file or part of it.
pub fn table(desk: &Desk<'_>, table: &'static Table, entries: &mut [Entry]) {
    for entry in entries {
        match table.key(&entry.key) {
            Some(key) => {
                let path = format!("`{}`", entry.key);
                shape(desk, &key.shape, &path, &mut entry.node, Some(entry.key_span));
            }
            None => {
                desk.say(unknown_key(table, entry));
                entry.node.value = Value::Wrong;
            }
        }
    }
}

fn unknown_key(table: &'static Table, entry: &Entry) -> Note {
    let place = if table.name.is_empty() { "a recipe itself".into() } else { format!("`{}`", table.name) };
    let words: Vec<&str> = table.all().map(|key| key.name).collect();
    let hint = match (nearest(&entry.key, words.iter().copied()), elsewhere(&entry.key)) {
        (Some(word), _) => Some(format!("did you mean `{word}`?")),
        (None, Some(name)) => Some(format!("`{}` belongs in `{name}`", entry.key)),
        (None, None) => did_you_mean(&entry.key, words.iter().copied()),
    };
    Note::error(entry.key_span, "unknown-key", format!("unknown key `{}`", entry.key))
        .label(format!("not a key of {place}"))
        .maybe_hint(hint)
}

/// Returns the other table that has this key.
fn elsewhere(key: &str) -> Option<&'static str> {
    let sections = ROOT.all().filter_map(|section| section.shape.table());
    sections.filter(|table| !table.name.is_empty()).find(|table| table.key(key).is_some()).map(|table| table.name)
}

fn shape(desk: &Desk<'_>, wanted: &'static Shape, path: &str, node: &mut Node, key_span: Option<Span>) {
    let fits = match (wanted, &mut node.value) {
        (_, Value::Wrong) | (Shape::Bool, Value::Bool(_)) => true,
        (Shape::Integer { from, to }, Value::Integer(number)) => {
            let inside = (*from..=*to).contains(number);
            inside || refuse(desk, node, Wrong::new(format!("{path} must be from {from} to {to}")))
        }
        (Shape::Text(form), Value::Text(text)) => match (form.check)(text) {
            Ok(()) => true,
            Err(wrong) => refuse(desk, node, wrong),
        },
        (Shape::Word(words), Value::Text(text)) => {
            words.iter().any(|(word, _)| word == text) || {
                let wrong = unknown_word(path, text, words);
                refuse(desk, node, wrong)
            }
        }
        (Shape::List(of), Value::List(items)) => {
            items.iter_mut().for_each(|item| shape(desk, of, &format!("each of {path}"), item, None));
            true
        }
        (Shape::Table(of), Value::Table(entries)) => {
            table(desk, of, entries);
            needed(desk, of, entries, node.span, Needed::Here);
            true
        }
        (Shape::Tables(of), Value::List(items)) => {
            items.iter_mut().for_each(|item| item_table(desk, of, path, item));
            true
        }
        (Shape::Map(form, of), Value::Table(entries)) => {
            map(desk, form, of, entries);
            true
        }
        (Shape::Secret, Value::Table(entries)) => {
            table(desk, &crate::keys::SECRET_REFERENCE, entries);
            needed(desk, &crate::keys::SECRET_REFERENCE, entries, node.span, Needed::Here);
            true
        }
        (Shape::Secret, Value::Text(_)) => {
            let span = key_span.unwrap_or(node.span);
            desk.hide(node.span);
            desk.say(clear_password(span, path));
            node.value = Value::Wrong;
            true
        }
        (Shape::Either(shapes), value) => match shapes.iter().find(|shape| same_type(shape, value)) {
            Some(of) => return shape(desk, of, path, node, key_span),
            None => false,
        },
        _ => false,
    };
    if !fits {
        let found = node.value.kind();
        let hint = text_form(wanted).and_then(|form| form.hint).map(str::to_owned);
        let hint = hint.or_else(|| as_wanted(wanted, node));
        let note = Note::error(node.span, "wrong-type", format!("{path} must be {}", wanted.wanted()));
        desk.say(note.label(format!("this is {found}")).maybe_hint(hint));
        node.value = Value::Wrong;
    }
}

fn item_table(desk: &Desk<'_>, of: &'static Table, path: &str, node: &mut Node) {
    if let Value::Table(entries) = &mut node.value {
        table(desk, of, entries);
        return needed(desk, of, entries, node.span, Needed::Here);
    }
    let message = format!("each of {path} must be a table");
    desk.say(Note::error(node.span, "wrong-type", message).label(format!("this is {}", node.value.kind())));
    node.value = Value::Wrong;
}

/// Says what is wrong with the value and puts it out of sight; the type was right, so nothing more is to be said.
fn refuse(desk: &Desk<'_>, node: &mut Node, wrong: Wrong) -> bool {
    desk.say(wrong.at(node.span));
    node.value = Value::Wrong;
    true
}

fn unknown_word(path: &str, text: &str, words: &[(&'static str, &'static str)]) -> Wrong {
    let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    Wrong::new(format!("{path} cannot be `{text}`"))
        .code("unknown-word")
        .label(format!("expected {}", one_of(&names)))
        .maybe_hint(nearest(text, names).map(|word| format!("did you mean `{word}`?")))
}

fn clear_password(span: Span, path: &str) -> Note {
    Note::error(span, "password-in-clear", format!("{path} stands in the recipe in clear text"))
        .label("everyone who reads the recipe can read it")
        .hint(
            "write `{ secret = \"NAME\" }` and say under `[secrets]` where NAME comes from: \
             `NAME = { env = \"VARIABLE\" }` or `NAME = { file = \"…\" }`",
        )
}

fn map(desk: &Desk<'_>, form: &crate::shape::Form, of: &'static Shape, entries: &mut [Entry]) {
    for entry in entries {
        if let Err(wrong) = (form.check)(&entry.key) {
            desk.say(wrong.at(entry.key_span));
        }
        shape(desk, of, &format!("`{}`", entry.key), &mut entry.node, Some(entry.key_span));
    }
}

/// Tells the keys that are missing; those that are there but wrong were told already.
pub fn needed(desk: &Desk<'_>, of: &'static Table, entries: &[Entry], span: Span, when: Needed) {
    for key in of.all().filter(|key| key.needed == when && get(entries, key.name).is_none()) {
        let hint = match key.shape {
            Shape::Table(table) | Shape::Tables(table) => Some(format!("add a part headed `{}`", table.name)),
            _ => (!key.example.is_empty()).then(|| format!("for example: {} = {}", key.name, key.example)),
        };
        let place = if of.name.is_empty() { "the recipe".to_owned() } else { format!("`{}`", of.name) };
        desk.say(Note::error(span, "missing-key", format!("{place} does not say `{}`", key.name)).maybe_hint(hint));
    }
}

fn same_type(shape: &Shape, value: &Value) -> bool {
    match (shape, value) {
        (Shape::Either(shapes), value) => shapes.iter().any(|shape| same_type(shape, value)),
        (Shape::Bool, Value::Bool(_))
        | (Shape::Integer { .. }, Value::Integer(_))
        | (Shape::Text(_) | Shape::Word(_) | Shape::Secret, Value::Text(_))
        | (Shape::List(_) | Shape::Tables(_), Value::List(_))
        | (Shape::Table(_) | Shape::Map(..) | Shape::Secret, Value::Table(_)) => true,
        _ => false,
    }
}

fn text_form(shape: &Shape) -> Option<&'static crate::shape::Form> {
    match shape {
        Shape::Text(form) => Some(form),
        Shape::Either(shapes) => shapes.iter().find_map(text_form),
        _ => None,
    }
}

/// Returns what was probably meant: a lone text where a list is wanted, a lone table where several are, a quoted number.
fn as_wanted(wanted: &Shape, node: &Node) -> Option<String> {
    match (wanted, &node.value) {
        (Shape::List(_), Value::Text(text)) => Some(format!("write it as a list: [\"{text}\"]")),
        (Shape::Tables(table), Value::Table(_)) => Some(format!("head it `{}`, with two brackets", table.name)),
        (Shape::Bool, Value::Text(text)) if matches!(text.as_str(), "true" | "false") => {
            Some(format!("without quotes: {text}"))
        }
        (Shape::Integer { .. }, Value::Text(text)) if text.parse::<i64>().is_ok() => {
            Some(format!("without quotes: {text}"))
        }
        (Shape::Text(_) | Shape::Word(_), Value::Integer(number)) => Some(format!("with quotes: \"{number}\"")),
        (Shape::Text(_), Value::Float(number)) => Some(format!("with quotes: \"{number}\"")),
        _ => None,
    }
}
