//! Parameters → recipe: the tree that kiln.toml would be read into, each value with the place of its parameter.

mod base;
mod image;
mod mender;
mod network;
mod own_board;
mod packages;
mod users;

use std::collections::BTreeMap;

use super::declare::Parameters;
use super::pair::{Pair, PairFiles};
use super::rules::EXCLUSIONS;
use super::sheets::Refused;
use super::system::Target;
use super::tree::Tree;
use super::{hooks, pair, system, table};
use crate::complete::Written;
use crate::desk::Note;
use crate::forms;
use crate::spec::Family;

/// What lies beside the parameters, and how strict to be.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The user's own pair for `DEVICE` and `OS`.
    pub pair: Option<PairFiles>,
    /// The files in `keys/<distribution>`.
    pub keys: Vec<String>,
    /// Whether `secret` is a password.
    pub insecure_defaults: bool,
}

/// What a build by parameters is.
#[derive(Clone, Debug)]
pub struct Order {
    pub recipe: Written,
    /// The values of the recipe's secrets, by the variables that it names.
    pub secrets: BTreeMap<String, String>,
    pub place: Place,
    pub warnings: Refused,
}

/// Where a build's result goes and what is said then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The folder of the artifacts.
    pub folder: String,
    /// The result's path.
    pub result: String,
    pub made: Made,
}

/// What a build makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// An image for a memory card.
    Image,
    /// The tree alone, as a folder.
    Chroot,
    /// An update by Mender.
    Artifact,
}

/// A recipe in the making.
struct Work<'a> {
    parameters: &'a Parameters,
    target: Target,
    pair: Option<&'a Pair>,
    surroundings: &'a Surroundings,
    tree: Tree,
    secrets: BTreeMap<String, String>,
    warnings: Vec<Note>,
}

/// Returns the build that the parameters ask for; the first thing that cannot be ends it, in Pieman's order.
pub fn order(parameters: &mut Parameters, surroundings: &Surroundings) -> Result<Order, Refused> {
    let pair = surroundings.pair.as_ref().map(|files| pair::read(parameters, files)).transpose()?;
    let target = system::target(parameters, pair.as_ref())?;
    if let Some(pair) = &pair {
        switches(parameters, pair)?;
    }
    let (secrets, warnings) = (BTreeMap::new(), parameters.warnings.clone());
    let pair = pair.as_ref();
    let mut work = Work { parameters, target, pair, surroundings, tree: Tree::default(), secrets, warnings };
    work.recipe()?;
    Ok(work.finish())
}

/// Switches on what the definition asks for, unless the user chose something else that excludes it.
fn switches(parameters: &mut Parameters, pair: &Pair) -> Result<(), Refused> {
    for word in &pair.params {
        let known = table::Parameter::find(&word.text).filter(|known| known.kind == table::Kind::Switch);
        let Some(known) = known else {
            let note = Note::error(word.span, "parameter", format!("`{}` is no switch of Pieman's", word.text));
            return Err(parameters.sheets.refuse(format!("unknown parameter {}", word.text), note));
        };
        let group = EXCLUSIONS.iter().find(|group| group.contains(&known.name));
        let other = |name: &&&str| **name != known.name && !matches!(parameters.text(name), "" | "false");
        if group.and_then(|group| group.iter().find(other)).is_none() {
            parameters.switch_on(known.name, word.span);
        }
    }
    Ok(())
}

impl Work<'_> {
    /// The recipe's parts, in the order in which they are written.
    fn recipe(&mut self) -> Result<(), Refused> {
        self.name()?;
        self.base()?;
        self.packages();
        self.system()?;
        if !self.parameters.is_on("CREATE_ONLY_CHROOT") {
            // For the tools alone nobody has to log in.
            if !self.parameters.is_on("PREPARE_ONLY_TOOLSET") {
                self.users()?;
            }
            self.network();
        }
        self.mender()?;
        if let (Some(files), Some(pair)) = (&self.surroundings.pair, self.pair) {
            let family = self.target.release.family;
            hooks::write(&mut self.tree, self.parameters, family, files, pair.kernel.span);
            self.boot_of(pair)?;
        }
        self.image();
        Ok(())
    }

    /// The name is part of paths, so it is held against its form before anything is made of it.
    fn name(&mut self) -> Result<(), Refused> {
        let (name, span) = (self.parameters.text("PROJECT_NAME"), self.parameters.span("PROJECT_NAME"));
        if let Err(wrong) = (forms::NAME.check)(name) {
            return Err(self.parameters.sheets.refuse(format!("PROJECT_NAME cannot be {name}"), wrong.at(span)));
        }
        self.tree.set("name", name, span);
        Ok(())
    }

    fn system(&mut self) -> Result<(), Refused> {
        let (locale, span) = (self.parameters.text("LOCALE"), self.parameters.span("LOCALE"));
        if let Err(wrong) = (forms::LOCALE.check)(locale) {
            return Err(self.parameters.sheets.refuse(format!("could not find locale {locale}"), wrong.at(span)));
        }
        self.copy("HOST_NAME", "system.hostname");
        // On Alpine it has no effect, as with Pieman: musl has no locales.
        let deb = self.target.release.family == Family::Deb;
        if !deb && self.parameters.is_on("XFCE4") {
            let note = Note::error(
                self.parameters.span("XFCE4"),
                "contradiction",
                format!("{} has no packages of these names", self.target.release.title),
            );
            let note =
                note.hint("leave `XFCE4` out and name what you want in `INCLUDES`, as in `INCLUDES=xfce4,lightdm`");
            return Err(self.parameters.sheets.refuse("Cannot create image with XFCE4. Check support OS.", note));
        }
        if deb {
            self.copy("LOCALE", "system.locale");
        }
        self.copy("TIME_ZONE", "system.timezone");
        if deb && self.parameters.is_on("XFCE4") {
            let span = self.parameters.span("XFCE4");
            self.tree.set("system.keyboard", "us", span);
            // The login screen has no session of its own choice.
            let mut script = Tree::default();
            script.set("after", "packages", span);
            script.set("name", "xfce4", span);
            script.set("text", "sed -i 's|^#* *session=.*|session=/usr/bin/startxfce4|' /etc/lxdm/lxdm.conf\n", span);
            self.tree.add("script", script, span);
        }
        Ok(())
    }

    /// Puts a parameter's value under a key.
    fn copy(&mut self, name: &str, key: &str) {
        self.tree.set(key, self.parameters.text(name), self.parameters.span(name));
    }

    fn finish(self) -> Order {
        let place = self.place();
        let sheets = self.parameters.sheets.clone();
        let warnings = sheets.told(String::new(), self.warnings);
        let name = self.parameters.text("PROJECT_NAME").to_owned();
        let recipe = Written { name, entries: self.tree.0, sheets };
        Order { recipe, secrets: self.secrets, place, warnings }
    }
}
