//! Whether a recipe with mistakes still says where its packages come from: else they only seem to be missing.

use crate::desk::Desk;
use crate::node::{Entry, Node, Span, Value, get};
use crate::section;
use crate::shape::{Table, nearest};

/// Keys that decide which packages there are.
const DECIDING: &[(&str, &Table, &[&str])] = &[
    (
        "base",
        &section::base::KEYS,
        &[
            "distribution",
            "release",
            "architecture",
            "components",
            "snapshot",
            "security",
            "updates",
            "backports",
            "repository",
        ],
    ),
    ("packages", &section::packages::KEYS, &["files", "foreign"]),
];

/// Whether nothing is wrong with any key that decides which packages there are, nor with one that may be meant for it.
pub fn is_firm(recipe: &[Entry], desk: &Desk<'_>) -> bool {
    DECIDING.iter().all(|(name, table, keys)| {
        let Some(Entry { node, .. }) = get(recipe, name) else { return true };
        let Value::Table(entries) = &node.value else { return false };
        let names = || table.all().map(|key| key.name);
        // Where no architecture is said, it is the board's.
        let by_board = *name == "base" && get(entries, "architecture").is_none();
        let among = |key: &str| keys.contains(&key) || by_board && key == "board";
        let decides = |entry: &&Entry| nearest(&entry.key, names()).is_some_and(among);
        entries.iter().filter(decides).all(|entry| !desk.blames(&spans(entry)))
    })
}

/// Returns where an entry and everything in it stands.
fn spans(entry: &Entry) -> Vec<Span> {
    let mut spans = vec![entry.key_span];
    add(&entry.node, &mut spans);
    spans
}

fn add(node: &Node, spans: &mut Vec<Span>) {
    spans.push(node.span);
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| add(item, spans)),
        Value::Table(entries) => entries.iter().for_each(|entry| {
            spans.push(entry.key_span);
            add(&entry.node, spans);
        }),
        _ => {}
    }
}
