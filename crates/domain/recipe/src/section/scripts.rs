//! `[[script]]`: programs run in the image while it is made.

use std::collections::BTreeMap;

use super::base::Ground;
use super::files::{exactly_one, local};
use super::secrets::Secrets;
use crate::desk::{Desk, Note};
use crate::forms::{LINE, LOCAL_PATH, NAME, TEXT, VARIABLE};
use crate::shape::{Shape, Table, key};
use crate::spec::{Family, LocalFile, Point, Script};
use crate::view::{Said, View};

pub static KEYS: Table = Table {
    name: "[[script]]",
    doc: "A program run inside the image while it is built, without network. It is run by its `#!` line, else by `/bin/sh -eu`. \
          Scripts of one point run in the order they are written.",
    keys: &[
        key("after", Shape::Word(POINTS), "The step it follows.").here().example("\"packages\""),
        key("text", Shape::Text(&TEXT), "The program.")
            .example("\"\"\"\\nupdate-alternatives --set editor /usr/bin/vim.basic\\n\"\"\""),
        key("source", Shape::Text(&LOCAL_PATH), "A file with the program, from this file's folder.")
            .example("\"scripts/setup.sh\""),
        key("name", Shape::Text(&LINE), "Its name in logs and messages.").default("the source's name, else its number"),
        key(
            "secrets",
            Shape::Map(&VARIABLE, &Shape::Text(&NAME)),
            "Secrets for its environment: variable and name in `[secrets]`.",
        )
        .example("{ TOKEN = \"vendor\" }"),
        key(
            "files",
            Shape::Text(&LOCAL_PATH),
            "A folder, from this file's folder, whose files the program sees at `/run/kiln/files`; it cannot change them.",
        )
        .example("\"scripts/files\""),
    ],
    more: None,
};

static POINTS: &[(&str, &str)] = &[
    (
        "start",
        "nothing is there yet: the program runs among Debian's bash, coreutils, findutils, grep, sed, tar, gzip and mawk, and finds the \
         empty image at `/target`",
    ),
    (
        "unpack",
        "the base set is unpacked and not configured yet; not for Alpine, whose packages are installed one by one",
    ),
    ("bootstrap", "the base set is installed"),
    ("packages", "all packages are installed"),
    ("kernel", "module indexes and initrd are made"),
    ("network", "host name and interfaces are written"),
    ("users", "users and files are there, services are switched"),
    ("cleanup", "all is cleaned up: the last thing before the image is made"),
];

pub fn read(root: View<'_>, ground: &Ground, secrets: &Secrets<'_>, desk: &Desk<'_>) -> Vec<Script> {
    let tables = root.tables("script");
    tables.iter().filter_map(|view| view.text("after")).for_each(|after| too_early(root, after, ground, desk));
    tables.into_iter().enumerate().filter_map(|(at, view)| one(at + 1, view, secrets, desk)).collect()
}

/// Refuses a point that this image's making does not come by.
fn too_early(root: View<'_>, after: Said<&str>, ground: &Ground, desk: &Desk<'_>) {
    let refuse = |message: String, hint: &str| desk.say(Note::error(after.span, "contradiction", message).hint(hint));
    let alpine = ground.release.family == Family::Apk;
    match after.value {
        "start" | "unpack" if root.section("base").text("tree").is_some() => {
            let message = format!("what is built upon a tree does not come by `{}`", after.value);
            refuse(message, "the tree is there at once: say `after = \"bootstrap\"`");
        }
        "unpack" if alpine => {
            let message = format!("{} does not come by `unpack`", ground.release.title);
            refuse(message, "its packages are installed one by one: say `after = \"bootstrap\"`");
        }
        _ => {}
    }
}

fn one(number: usize, view: View<'_>, secrets: &Secrets<'_>, desk: &Desk<'_>) -> Option<Script> {
    let secrets = used(view, secrets, desk);
    exactly_one(view, &["text", "source"], view.text("name"), desk)?;
    let source = view.text("source");
    let text = match source {
        Some(source) => program(source, desk)?,
        None => view.string("text")?,
    };
    let file = source.map(|said| said.value.rsplit('/').next().unwrap_or(said.value).to_owned());
    let name = view.string("name").or(file).unwrap_or_else(|| format!("script {number}"));
    let files = match view.text("files") {
        Some(said) => Some(folder(said, desk)?),
        None => None,
    };
    Some(Script { after: point(view.text("after")?.value)?, name, text, secrets, files })
}

fn folder(said: Said<&str>, desk: &Desk<'_>) -> Option<LocalFile> {
    let (local, found) = local(said, desk)?;
    if !found.folder {
        let note = Note::error(said.span, "wrong-type", format!("`{}` is no folder", said.value));
        desk.say(note.hint("name the folder that it lies in"));
    }
    Some(local)
}

fn program(source: Said<&str>, desk: &Desk<'_>) -> Option<String> {
    let host = desk.host_path(source.span, source.value);
    desk.sources
        .read(&host)
        .map_err(|error| {
            let message = format!("cannot read the script `{}`", source.value);
            let note = Note::error(source.span, "unreadable", message).label(error.to_string());
            desk.say(if host == source.value { note } else { note.hint(format!("looked for `{host}`")) });
        })
        .ok()
}

fn used(view: View<'_>, secrets: &Secrets<'_>, desk: &Desk<'_>) -> BTreeMap<String, String> {
    let pair = |entry: &&crate::node::Entry| {
        let crate::node::Value::Text(name) = &entry.node.value else { return None };
        let name = secrets.used(Said { value: name, span: entry.node.span }, desk);
        Some((entry.key.clone(), name))
    };
    view.map("secrets").iter().filter_map(pair).collect()
}

fn point(word: &str) -> Option<Point> {
    Some(match word {
        "start" => Point::Start,
        "unpack" => Point::Unpack,
        "bootstrap" => Point::Bootstrap,
        "packages" => Point::Packages,
        "kernel" => Point::Kernel,
        "network" => Point::Network,
        "users" => Point::Users,
        "cleanup" => Point::Cleanup,
        _ => return None,
    })
}
