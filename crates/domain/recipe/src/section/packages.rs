//! `[packages]`: what is installed.

use std::collections::HashMap;

use kiln_model::Arch;

use super::base::Ground;
use crate::desk::{Desk, Note};
use crate::forms::{LOCAL_PATH, PACKAGE, PACKAGE_NAME, split};
use crate::needs::Needs;
use crate::shape::{Shape, Table, key};
use crate::spec::{BaseSet, Family, LocalFile, Packages, Wanted};
use crate::view::{Said, View};

pub static KEYS: Table = Table {
    name: "[packages]",
    doc: "What is installed besides what the board and other settings need.",
    keys: &[
        key("base", Shape::Word(BASES), "The set to start from.").default("\"minbase\"").example("\"minbase\""),
        key(
            "include",
            Shape::List(&Shape::Text(&PACKAGE)),
            "Packages to install: `name`, `name=version`, `name/suite`, `name:arch`, `task^`.",
        )
        .example("[\"openssh-server\", \"vim\"]"),
        key(
            "exclude",
            Shape::List(&Shape::Text(&PACKAGE_NAME)),
            "Packages that must not be installed, whoever depends on or recommends them. A name that no repository has is \
             told as a warning.",
        ),
        key("recommends", Shape::Bool, "Whether recommended packages come along.").default("false"),
        key("files", Shape::List(&Shape::Text(&LOCAL_PATH)), "Package files (`.deb`) from this file's folder.")
            .example("[\"debs/agent_1.2_amd64.deb\"]"),
        key("foreign", Shape::List(&Shape::Word(FOREIGN)), "Further architectures whose packages may be installed.")
            .example("[\"i386\"]"),
    ],
    more: None,
};

static BASES: &[(&str, &str)] = &[
    ("essential", "packages marked `Essential: yes`, and what they depend on"),
    ("minbase", "and those of priority `required`, and apt"),
    ("important", "and those of priority `important`: what debootstrap installs"),
    ("standard", "and those of priority `standard`"),
];

static FOREIGN: &[(&str, &str)] =
    &[("amd64", ""), ("arm64", ""), ("armhf", ""), ("i386", ""), ("ppc64el", ""), ("riscv64", "")];

/// Returns the foreign architectures.
pub fn foreign(view: View<'_>, ground: &Ground, desk: &Desk<'_>) -> Vec<Arch> {
    let mut found = Vec::new();
    for said in view.texts("foreign") {
        let Ok(arch) = said.value.parse::<Arch>() else { continue };
        if arch == ground.architecture || found.contains(&arch) {
            let message = format!("`{arch}` is not foreign: its packages are installed already");
            desk.say(Note::error(said.span, "contradiction", message));
        }
        found.push(arch);
    }
    found
}

pub fn read(view: View<'_>, ground: &Ground, needs: &Needs, desk: &Desk<'_>) -> Packages {
    let include = include(view, desk);
    if ground.release.family == Family::Apk {
        only_of_deb(view, &include, desk);
    }
    let exclude = view.texts("exclude");
    exclude.iter().for_each(|said| desk.package(said.value, said.span));
    contradictions(&include, &exclude, desk);
    let base = base(view);
    if base != BaseSet::Essential {
        needs.package(&ground.release.keyring_package, "the archive's keys in the image", ground.span);
    }
    let names: Vec<String> = include.iter().map(|said| split(said.value).0.to_owned()).collect();
    let asked = include.iter().map(|said| Wanted { package: said.value.to_owned(), why: "recipe".into() });
    Packages {
        base,
        set: ground.release.base_set(base),
        include: asked.chain(needs.wanted(ground, &names, &exclude, desk)).collect(),
        exclude: exclude.iter().map(|said| said.value.to_owned()).collect(),
        recommends: view.bool("recommends").unwrap_or(false),
        files: view
            .texts("files")
            .into_iter()
            .filter(|_| ground.release.family == Family::Deb)
            .filter_map(|said| file(said, desk))
            .collect(),
        foreign: foreign(view, ground, desk),
    }
}

/// Says what there is for Debian's packages alone.
fn only_of_deb(view: View<'_>, include: &[Said<&str>], desk: &Desk<'_>) {
    for said in include.iter().filter(|said| said.value.contains(['/', ':', '^'])) {
        let message = "apk knows neither suites nor foreign architectures nor tasks";
        let name = split(said.value).0;
        desk.say(Note::error(said.span, "contradiction", message).hint(format!("`{name}`, or `{name}=1.2-r3`")));
    }
    for (key, what) in [("files", "package files beside a recipe"), ("foreign", "foreign architectures")] {
        if let Some(span) = view.key_span(key) {
            let message = format!("{what} are for Debian's family only");
            let hint =
                if key == "files" { "put them into a repository: `[[base.repository]]`" } else { "leave it out" };
            desk.say(Note::error(span, "contradiction", message).hint(hint));
        }
    }
}

fn base(view: View<'_>) -> BaseSet {
    match view.text("base").map(|said| said.value) {
        Some("essential") => BaseSet::Essential,
        Some("important") => BaseSet::Important,
        Some("standard") => BaseSet::Standard,
        _ => BaseSet::Minbase,
    }
}

/// Files and profiles may ask for the same package; the first counts. Two versions of one package cannot both be.
fn include<'a>(view: View<'a>, desk: &Desk<'_>) -> Vec<Said<&'a str>> {
    let (mut found, mut first) = (Vec::new(), HashMap::new());
    for said in view.texts("include") {
        desk.package(split(said.value).0, said.span);
        desk.package(said.value, said.span);
        match *first.entry(package(said.value)).or_insert(said) {
            first if first == said => found.push(said),
            first if first.value == said.value => {}
            first => {
                let message = format!("`{}` and `{}` cannot both be", first.value, said.value);
                desk.say(Note::error(said.span, "contradiction", message).also(first.span, "first here"));
            }
        }
    }
    found
}

/// Returns which package a request is for, whatever version: its name, its architecture, whether it is a task.
fn package(request: &str) -> (&str, Option<&str>, bool) {
    let (name, rest) = split(request);
    let arch = rest.strip_prefix(':').map(|rest| rest.split(['=', '/']).next().unwrap_or(""));
    (name, arch, rest.ends_with('^'))
}

fn contradictions(include: &[Said<&str>], exclude: &[Said<&str>], desk: &Desk<'_>) {
    let mut asked = HashMap::new();
    for said in include.iter().filter(|said| !said.value.ends_with('^')) {
        asked.entry(split(said.value).0).or_insert(said);
    }
    for excluded in exclude {
        if let Some(asked) = asked.get(excluded.value) {
            let message = format!("`{}` is both included and excluded", excluded.value);
            let note = Note::error(excluded.span, "contradiction", message).label("excluded here");
            desk.say(note.also(asked.span, "included here"));
        }
    }
}

fn file(said: Said<&str>, desk: &Desk<'_>) -> Option<LocalFile> {
    if !said.value.ends_with(".deb") {
        let note = Note::error(said.span, "bad-value", format!("`{}` is not a package file", said.value));
        desk.say(note.label("expected a name that ends in `.deb`"));
        return None;
    }
    super::files::local(said, desk).map(|(local, _)| local)
}
