//! `[services]`: units switched on, off, or off for good.

use crate::desk::{Desk, Note};
use crate::forms::{UNIT, full_unit};
use crate::shape::{Shape, Table, key};
use crate::spec::Services;
use crate::view::{Said, View};

pub static KEYS: Table = Table {
    name: "[services]",
    doc: "systemd's units; `ssh` is short for `ssh.service`.",
    keys: &[
        key("enable", Shape::List(&Shape::Text(&UNIT)), "Units that start at boot.").example("[\"ssh\"]"),
        key("disable", Shape::List(&Shape::Text(&UNIT)), "Units that do not, though their packages would have it."),
        key("mask", Shape::List(&Shape::Text(&UNIT)), "Units that cannot be started at all."),
    ],
    more: None,
};

pub fn read(view: View<'_>, desk: &Desk<'_>) -> Services {
    let lists = ["enable", "disable", "mask"].map(|key| (key, units(view, key)));
    for (at, (key, units)) in lists.iter().enumerate() {
        for (unit, said) in units {
            let before = lists[..at]
                .iter()
                .find_map(|(other, units)| Some((other, &units.iter().find(|(name, _)| name == unit)?.1)));
            if let Some((other, first)) = before.filter(|(other, _)| **other == "enable") {
                let message = format!("`{unit}` is in `{other}` and in `{key}`");
                desk.say(Note::error(said.span, "contradiction", message).also(first.span, "first here"));
            }
        }
    }
    let [enable, disable, mask] = lists.map(|(_, units)| units.into_iter().map(|(unit, _)| unit).collect());
    Services { enable, disable, mask }
}

/// Returns the units by their full names, each once.
fn units<'a>(view: View<'a>, key: &str) -> Vec<(String, Said<&'a str>)> {
    let mut found: Vec<(String, Said<&str>)> = Vec::new();
    for said in view.texts(key) {
        let unit = full_unit(said.value);
        if !found.iter().any(|(other, _)| *other == unit) {
            found.push((unit, said));
        }
    }
    found
}
