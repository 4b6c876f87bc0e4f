//! The tree that a recipe builds upon: what dpkg says of it, as a repository.

use std::collections::BTreeSet;

use kiln_family::deb::deb822;
use kiln_family::deb::install::status::{self, Installed};
use kiln_family::deb::package::Stanza;
use kiln_family::deb::solve::{Repository, Source};
use kiln_family::deb::{Index, pin};
use kiln_family::lock::Locked;
use kiln_model::fault::OrFault as _;
use kiln_model::{Arch, Digest, Fault, FaultKind};
use kiln_recipe::Spec;

use crate::load::Loaded;

/// Its name in a lock.
pub const NAME: &str = "tree";

/// What a tree has installed.
pub struct Existing {
    packages: Vec<Installed>,
    /// Name and architecture of those that only came along.
    automatic: BTreeSet<(String, String)>,
    doing: String,
}

impl Existing {
    /// Reads what the recipe's tree says of itself; none where it builds upon none.
    pub fn of(loaded: &Loaded) -> Result<Option<Self>, Fault> {
        let Some(tree) = &loaded.completed.spec.base.tree else { return Ok(None) };
        let folder = loaded.folder.join(&tree.path);
        let doing = || format!("read the packages of the tree `{}`", folder.display());
        let text = std::fs::read_to_string(folder.join("var/lib/dpkg/status")).fault(FaultKind::Recipe, doing)?;
        let states = std::fs::read_to_string(folder.join("var/lib/apt/extended_states")).unwrap_or_default();
        let mut packages = status::parse(&text).fault(FaultKind::Recipe, doing)?;
        packages.retain(Installed::is_unpacked);
        if let Some(fault) = unfit(&packages, loaded.completed.spec.base.architecture) {
            return Err(fault.doing(doing()));
        }
        let stanzas = deb822::parse(&states).fault(FaultKind::Recipe, doing)?;
        let automatic = stanzas.iter().map(Stanza::from).filter_map(|stanza| {
            let automatic = stanza.get("Auto-Installed") == Some("1");
            automatic.then(|| Some((stanza.get("Package")?.to_owned(), stanza.get("Architecture")?.to_owned())))?
        });
        Ok(Some(Self { packages, automatic: automatic.collect(), doing: doing() }))
    }

    /// Returns them as an archive that has nothing else.
    pub fn source(&self) -> Result<Source, Fault> {
        let text: Vec<String> = self.packages.iter().map(stanza).collect();
        let index = Index::parse(text.join("\n")).fault(FaultKind::Recipe, || self.doing.clone())?;
        let repository =
            Repository { name: NAME.into(), suite: NAME.into(), codename: NAME.into(), priority: pin::INSTALLED };
        Ok(Source { repository, index })
    }

    /// Returns the words that ask for each of them, in whatever version.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.packages.iter().map(word)
    }

    /// Returns the answer with what is in the tree already, and why it is there.
    pub fn told(&self, mut packages: Vec<Locked>, spec: &Spec) -> Vec<Locked> {
        for locked in &mut packages {
            let Some(installed) = self.packages.iter().find(|installed| is(installed, locked)) else { continue };
            locked.in_tree = installed.version() == locked.version;
            let asked = spec.packages.include.iter().any(|wanted| wanted.package == locked.name);
            if asked || !locked.why.ends_with(&format!(": {}", word(installed))) {
                continue;
            }
            let native =
                if locked.architecture == "all" { spec.base.architecture.debian() } else { &locked.architecture };
            locked.manual = !self.automatic.contains(&(locked.name.clone(), native.to_owned()));
            locked.why = "in the tree".into();
        }
        packages
    }
}

/// Returns what no build can start from: a package that is half there, and a system for another machine.
fn unfit(packages: &[Installed], architecture: Arch) -> Option<Fault> {
    let state = |installed: &Installed| installed.stanza.get("Status").unwrap_or_default().to_owned();
    if let Some(broken) = packages.iter().find(|installed| !state(installed).ends_with(" ok installed")) {
        let fault = Fault::recipe(format!("`{}` is `{}`", broken.name(), state(broken)));
        return Some(fault.hint("repair it there: `dpkg --configure -a`"));
    }
    let Some(dpkg) = packages.iter().find(|installed| installed.name() == "dpkg") else {
        return Some(Fault::recipe("it has no `dpkg`").hint("name the root folder of a whole system"));
    };
    let other = dpkg.architecture() != architecture.debian();
    other.then(|| {
        let fault = Fault::recipe(format!("it is of architecture `{}`, not `{architecture}`", dpkg.architecture()));
        fault.hint(format!("say `architecture = \"{}\"` under `[base]`", dpkg.architecture()))
    })
}

fn word(installed: &Installed) -> String {
    match installed.architecture() {
        "all" => installed.name().to_owned(),
        architecture => format!("{}:{architecture}", installed.name()),
    }
}

/// Whether both are one package, in whatever version.
fn is(installed: &Installed, locked: &Locked) -> bool {
    let one = installed.architecture() == locked.architecture;
    // Between versions a package may become one for all architectures, or cease to be one.
    let all = [installed.architecture(), &locked.architecture].contains(&"all");
    installed.name() == locked.name && (one || all)
}

/// Returns a package as an archive lists it. There is no file: the digest is of what dpkg says.
fn stanza(installed: &Installed) -> String {
    let fields = installed
        .stanza
        .0
        .iter()
        .filter(|(name, _)| !["Status", "Conffiles", "Filename", "Size", "SHA256"].contains(&name.as_str()));
    let fields: String = fields.map(|(name, value)| format!("{name}: {value}\n")).collect();
    format!("{fields}Filename: {NAME}\nSize: 0\nSHA256: {}\n", Digest::of(&fields))
}
