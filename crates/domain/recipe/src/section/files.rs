//! `[[file]]`: files, links and folders put into the image.

use kiln_model::GuestPath;

use super::secrets::Secrets;
use crate::Local;
use crate::desk::{Desk, Note};
use crate::forms::{GROUP, GUEST_PATH, LINE, LOCAL_PATH, MODE, NAME, SHA256, TEXT, URL, USER};
use crate::shape::{Shape, Table, key};
use crate::spec::{FileContent, FileSpec, LocalFile};
use crate::view::{Said, View};

pub static KEYS: Table = Table {
    name: "[[file]]",
    doc: "A file of the image, put there after packages and users. Exactly one of `text`, `source`, `url`, `secret`, `symlink` \
          and `directory` says what it is.",
    keys: &[
        key("path", Shape::Text(&GUEST_PATH), "Where it is in the image.").here().example("\"/etc/motd\""),
        key("text", Shape::Text(&TEXT), "Its content.").example("\"\"\"\\nWelcome.\\n\"\"\""),
        key("source", Shape::Text(&LOCAL_PATH), "A file or folder to copy, from this file's folder.")
            .example("\"files/motd\""),
        key(
            "url",
            Shape::Text(&URL),
            "Where to download it from. The lock pins what was there; `kiln lock --update` looks anew.",
        )
        .example("\"https://example.org/firmware/start4.elf\""),
        key("sha256", Shape::Text(&SHA256), "With `url`: the digest that the download must have.")
            .default("as the lock has it"),
        key("secret", Shape::Text(&NAME), "A secret that is its content."),
        key("symlink", Shape::Text(&LINE), "What the symbolic link points to.").example("\"../run/motd\""),
        key("directory", Shape::Bool, "`true`: an empty folder."),
        key("mode", Shape::Text(&MODE), "Its mode in octal, as text.")
            .default("\"0644\"; \"0600\" for secrets, \"0755\" for folders and for what is executable on disk")
            .example("\"0600\""),
        key("owner", Shape::Text(&USER), "The user it belongs to.").default("\"root\""),
        key("group", Shape::Text(&GROUP), "The group it belongs to.").default("\"root\""),
    ],
    more: None,
};

static KINDS: [&str; 6] = ["text", "source", "url", "secret", "symlink", "directory"];

pub fn read(root: View<'_>, secrets: &Secrets<'_>, desk: &Desk<'_>) -> Vec<FileSpec> {
    let mut files: Vec<FileSpec> = Vec::new();
    let mut paths: Vec<(GuestPath, Said<&str>)> = Vec::new();
    let mut addresses: Vec<(&str, Said<&str>)> = Vec::new();
    for view in root.tables("file") {
        let said = view.text("path");
        let path = said.and_then(|said| GuestPath::new(said.value).ok());
        if let (Some(said), Some(path)) = (said, &path) {
            if let Some((_, first)) = paths.iter().find(|(other, _)| other == path) {
                let message = format!("`{path}` is made twice");
                desk.say(Note::error(said.span, "duplicate", message).also(first.span, "first here"));
            }
            paths.push((path.clone(), said));
        }
        of_one_address(view, &mut addresses, desk);
        let content = content(view, said, secrets, desk);
        files.extend(path.zip(content).map(|(path, (content, usual))| one(view, path, content, usual)));
    }
    files
}

/// Tells when an address is to give two different things.
fn of_one_address<'a>(view: View<'a>, known: &mut Vec<(&'a str, Said<&'a str>)>, desk: &Desk<'_>) {
    let (Some(url), Some(digest)) = (view.text("url"), view.text("sha256")) else { return };
    match known.iter().find(|(other, _)| *other == url.value) {
        Some((_, first)) if !first.value.eq_ignore_ascii_case(digest.value) => {
            let note = Note::error(digest.span, "contradiction", "one address cannot give two different files");
            desk.say(note.also(first.span, "another digest of it"));
        }
        Some(_) => {}
        None => known.push((url.value, digest)),
    }
}

fn one(view: View<'_>, path: GuestPath, content: FileContent, usual: Option<u32>) -> FileSpec {
    let mode = view.string("mode").and_then(|mode| u32::from_str_radix(&mode, 8).ok());
    FileSpec {
        path,
        content,
        mode: mode.or(usual),
        user: view.string("owner").unwrap_or_else(|| "root".into()),
        group: view.string("group").unwrap_or_else(|| "root".into()),
    }
}

/// Returns what a file is, and the mode it has when none is said.
fn content(
    view: View<'_>,
    path: Option<Said<&str>>,
    secrets: &Secrets<'_>,
    desk: &Desk<'_>,
) -> Option<(FileContent, Option<u32>)> {
    exactly_one(view, &KINDS, path, desk)?;
    if let (Some(link), Some(mode)) = (view.key_span("symlink"), view.key_span("mode")) {
        let note = Note::error(mode, "contradiction", "a symbolic link has no mode of its own");
        desk.say(note.also(link, "a link"));
    }
    if let (Some(span), Some(false)) = (view.key_span("directory"), view.bool("directory")) {
        let note = Note::error(span, "contradiction", "`directory = false` does not say what is there");
        desk.say(note.hint("use `text`, `source`, `url`, `secret` or `symlink`"));
        return None;
    }
    if let Some(said) = view.text("source") {
        let (local, found) = local(said, desk)?;
        let usual = if found.executable { 0o755 } else { 0o644 };
        return Some((FileContent::Local(local), (!found.folder).then_some(usual)));
    }
    if let (Some(span), None) = (view.key_span("sha256"), view.key_span("url")) {
        let note = Note::error(span, "contradiction", "`sha256` is the digest of a download, and this is none");
        desk.say(note.hint("files beside the recipe are pinned by what they hold"));
    }
    if let Some(url) = view.string("url") {
        let sha256 = view.string("sha256").and_then(|digest| digest.parse().ok());
        return Some((FileContent::Download { url, sha256 }, None));
    }
    if let Some(said) = view.text("secret") {
        return Some((FileContent::Secret(secrets.used(said, desk)), Some(0o600)));
    }
    let text = view.string("text").map(FileContent::Text);
    let other = text.or_else(|| view.string("symlink").map(FileContent::Symlink));
    other.or_else(|| view.bool("directory").map(|_| FileContent::Directory)).map(|content| (content, None))
}

/// Tells when none or several of `kinds` are said; `path` names the thing.
pub fn exactly_one(view: View<'_>, kinds: &[&str], path: Option<Said<&str>>, desk: &Desk<'_>) -> Option<()> {
    let said: Vec<_> = kinds.iter().filter_map(|kind| Some((*kind, view.key_span(kind)?))).collect();
    let all: Vec<String> = kinds.iter().map(|kind| format!("`{kind}`")).collect();
    match said.as_slice() {
        [_] => Some(()),
        [] => {
            let what = path.map_or("this".into(), |path| format!("`{}`", path.value));
            let message = format!("{what} says nothing about its content");
            let span = path.map_or(view.span, |path| path.span);
            desk.say(Note::error(span, "missing-key", message).hint(format!("one of {}", all.join(", "))));
            None
        }
        [(first, at), (second, span), ..] => {
            let message = format!("`{first}` and `{second}` cannot both be");
            desk.say(Note::error(*span, "contradiction", message).also(*at, "said here"));
            None
        }
    }
}

/// Returns a file or folder beside the recipe, and what was found there.
pub fn local(said: Said<&str>, desk: &Desk<'_>) -> Option<(LocalFile, Local)> {
    let host = desk.host_path(said.span, said.value);
    match desk.sources.digest(&host) {
        Ok(found) => Some((LocalFile { path: desk.spec_path(&host), digest: found.digest }, found)),
        Err(error) => {
            let message = format!("cannot read `{}`", said.value);
            let note = Note::error(said.span, "unreadable", message).label(error.to_string());
            desk.say(if host == said.value { note } else { note.hint(format!("looked for `{host}`")) });
            None
        }
    }
}
