//! Packages that a recipe's settings need, each with the reason; what the recipe excludes all the same is a contradiction.

use std::cell::RefCell;

use crate::desk::{Desk, Note};
use crate::node::Span;
use crate::section::base::Ground;
use crate::spec::Wanted;
use crate::view::Said;

/// The list of what is needed, filled while sections are read.
#[derive(Default)]
pub struct Needs(RefCell<Vec<Need>>);

struct Need {
    what: What,
    why: String,
    /// The setting that needs it.
    span: Span,
}

enum What {
    /// A word in `[features]` of the release.
    Feature(&'static str),
    Package(String),
}

impl Needs {
    pub fn feature(&self, name: &'static str, why: impl Into<String>, span: Span) {
        self.0.borrow_mut().push(Need { what: What::Feature(name), why: why.into(), span });
    }

    pub fn package(&self, name: &str, why: impl Into<String>, span: Span) {
        self.0.borrow_mut().push(Need { what: What::Package(name.to_owned()), why: why.into(), span });
    }

    /// Returns what is to be added to `asked`, each package once with its first reason.
    pub fn wanted(&self, ground: &Ground, asked: &[String], excluded: &[Said<&str>], desk: &Desk<'_>) -> Vec<Wanted> {
        let mut wanted: Vec<Wanted> = Vec::new();
        for need in self.0.borrow().iter() {
            for package in packages(need, ground, desk) {
                if let Some(excluded) = excluded.iter().find(|excluded| excluded.value == package) {
                    desk.say(clash(&package, need, excluded.span));
                } else if !asked.contains(&package) && !wanted.iter().any(|wanted| wanted.package == package) {
                    wanted.push(Wanted { package, why: need.why.clone() });
                }
            }
        }
        wanted
    }
}

fn packages(need: &Need, ground: &Ground, desk: &Desk<'_>) -> Vec<String> {
    match &need.what {
        What::Package(name) => vec![name.clone()],
        What::Feature(name) => match ground.release.feature(name) {
            Some(packages) => packages.to_vec(),
            None => {
                let message = format!("{} has nothing for {}", ground.release.title, need.why);
                let note = Note::error(need.span, "contradiction", message);
                desk.say(note.label(format!("needs what the catalogue calls `{name}`")));
                Vec::new()
            }
        },
    }
}

fn clash(package: &str, need: &Need, excluded: Span) -> Note {
    Note::error(excluded, "needed-but-excluded", format!("`{package}` is excluded, but {} needs it", need.why))
        .label("excluded here")
        .also(need.span, "needed here")
}
