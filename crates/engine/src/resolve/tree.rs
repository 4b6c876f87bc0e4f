//! The tree that a recipe builds upon: what dpkg says of it, as a repository.

use std::collections::BTreeSet;

use kiln_family::deb::deb822;
use kiln_family::deb::install::status::{self, Installed};
use kiln_family::deb::package::Stanza;
use kiln_family::deb::solve::{Pin, Repository, Solution, Source, Why};
use kiln_family::deb::version::Version;
use kiln_family::deb::{Index, pin};
use kiln_family::lock::Locked;
use kiln_model::fault::OrFault as _;
use kiln_model::{Digest, Fault, FaultKind};
use kiln_recipe::Spec;
use kiln_recipe::spec::Base;

use super::solve::bare;
use crate::load::Loaded;
use crate::target::Target;
use crate::upon;

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
        let target = Target::open(&folder).fault(FaultKind::Recipe, doing)?;
        let text = |file: &str| target.text(&kiln_plan::context::path(file)).fault(FaultKind::Recipe, doing);
        let (states, release) = (text("/var/lib/apt/extended_states")?, text("/etc/os-release")?);
        let text = text(upon::STATUS)?;
        let mut packages = status::parse(&text).fault(FaultKind::Recipe, doing)?;
        packages.retain(Installed::is_unpacked);
        if let Some(fault) = unfit(&packages, &release, &loaded.completed.spec.base) {
            return Err(fault.doing(doing()));
        }
        let stanzas = deb822::parse(&states).fault(FaultKind::Recipe, doing)?;
        let automatic = stanzas.iter().map(Stanza::from).filter_map(|stanza| {
            let automatic = stanza.get("Auto-Installed") == Some("1");
            automatic.then(|| Some((stanza.get("Package")?.to_owned(), stanza.get("Architecture")?.to_owned())))?
        });
        Ok(Some(Self { packages, automatic: automatic.collect(), doing: doing() }))
    }

    /// Returns them as an archive that has nothing else. It counts as much as the others, so that the newest version is taken and
    /// none goes backwards.
    pub fn source(&self) -> Result<Source, Fault> {
        let text: Vec<String> = self.packages.iter().map(stanza).collect();
        let index = Index::parse(text.join("\n")).fault(FaultKind::Recipe, || self.doing.clone())?;
        let repository =
            Repository { name: NAME.into(), suite: NAME.into(), codename: NAME.into(), priority: pin::DEFAULT };
        Ok(Source { repository, index })
    }

    /// Whether a version of an older lock is no older than what the tree has.
    pub fn leads_forward(&self, pin: &Pin) -> bool {
        let mut own = self.packages.iter().filter(|installed| installed.name() == pin.name);
        own.all(|installed| Version::raw(installed.version()) <= Version::raw(&pin.version))
    }

    /// Returns the words that ask for each of them, in whatever version, but for those that the recipe has an own word for.
    pub fn words(&self, spec: &Spec) -> Result<Vec<String>, Fault> {
        let excluded = |installed: &&Installed| spec.packages.exclude.iter().any(|name| name == installed.name());
        if let Some(installed) = self.packages.iter().find(excluded) {
            let fault = Fault::recipe(format!("`{}` is excluded, and the tree has it", installed.name()));
            return Err(fault.hint("remove it from the tree, or leave it out of `exclude`"));
        }
        Ok(self.packages.iter().filter(|installed| !is_asked(spec, installed.name())).map(word).collect())
    }

    /// Says of what nobody but the tree asked for that it was there before.
    pub fn tell_why(&self, solution: &mut Solution, spec: &Spec) {
        for chosen in &mut solution.packages {
            let ours =
                |asked: &String| !is_asked(spec, bare(asked)) && self.packages.iter().any(|one| word(one) == *asked);
            if matches!(&chosen.why, Why::Asked(asked) if ours(asked)) {
                chosen.why = Why::Installed;
            }
        }
    }

    /// Returns the answer with what is in the tree already, and with what was asked for when it was made.
    pub fn mark(&self, mut packages: Vec<Locked>, spec: &Spec) -> Vec<Locked> {
        for locked in &mut packages {
            let Some(installed) = self.packages.iter().find(|installed| is(installed, locked)) else { continue };
            locked.in_tree = installed.version() == locked.version;
            let native =
                if locked.architecture == "all" { spec.base.architecture.debian() } else { &locked.architecture };
            let came_along = self.automatic.contains(&(locked.name.clone(), native.to_owned()));
            // One in another version is installed anew, and marked with the others then.
            locked.promoted = locked.in_tree && locked.manual && came_along;
            locked.manual |= !came_along;
        }
        packages
    }
}

fn is_asked(spec: &Spec, name: &str) -> bool {
    spec.packages.include.iter().any(|wanted| bare(&wanted.package) == name)
}

/// Returns what no build can start from: a package that is half there, and a system for another machine.
fn unfit(packages: &[Installed], os_release: &str, base: &Base) -> Option<Fault> {
    let state = |installed: &Installed| installed.stanza.get("Status").unwrap_or_default().to_owned();
    if let Some(broken) = packages.iter().find(|installed| !state(installed).ends_with(" ok installed")) {
        let fault = Fault::recipe(format!("`{}` is `{}`", broken.name(), state(broken)));
        return Some(fault.hint("repair it there: `dpkg --configure -a`"));
    }
    let Some(dpkg) = packages.iter().find(|installed| installed.name() == "dpkg") else {
        return Some(Fault::recipe("it has no `dpkg`").hint("name the root folder of a whole system"));
    };
    if dpkg.architecture() != base.architecture.debian() {
        let message = format!("it is of architecture `{}`, not `{}`", dpkg.architecture(), base.architecture);
        let hint = format!("say `architecture = \"{}\"` under `[base]`", dpkg.architecture());
        return Some(Fault::recipe(message).hint(hint));
    }
    // Releases that are never done have the name of the next one, or none.
    let codename = os_release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let codename =
        codename.map(|name| name.trim_matches('"')).filter(|_| base.release.starts_with(|c: char| c.is_ascii_digit()));
    codename.filter(|name| *name != base.codename).map(|name| {
        let fault = Fault::recipe(format!("it is a `{name}`, not a `{}`", base.codename));
        fault.hint("name its own release under `[base]`: kiln upgrades within a release")
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

#[cfg(test)]
mod tests {
    use kiln_recipe::spec::Base;

    use super::*;

    fn package(name: &str, version: &str, architecture: &str, status: &str) -> String {
        format!("Package: {name}\nStatus: install ok {status}\nArchitecture: {architecture}\nVersion: {version}\n\n")
    }

    fn installed(text: &str) -> Vec<Installed> {
        status::parse(text).unwrap()
    }

    fn base() -> Base {
        crate::load::empty(&crate::resolve::tests::config(std::path::Path::new("."))).unwrap().completed.spec.base
    }

    #[test]
    fn what_cannot_be_built_upon_says_what_to_do() {
        let base =
            Base { architecture: kiln_model::Arch::Amd64, release: "13".into(), codename: "trixie".into(), ..base() };
        let dpkg = package("dpkg", "1.22", "amd64", "installed");
        let told = |text: &str, release: &str| {
            unfit(&installed(text), release, &base)
                .map(|fault| format!("{}; {}", fault.chain(), fault.hint_text().unwrap_or_default()))
        };
        let broken = dpkg.clone() + &package("vim", "1", "amd64", "half-configured");
        let foreign = package("dpkg", "1.22", "armhf", "installed");
        for (text, release, wanted) in [
            (&*broken, "", "`vim` is `install ok half-configured`; repair it there"),
            ("", "", "it has no `dpkg`; name the root folder"),
            (&foreign, "", "it is of architecture `armhf`, not `amd64`; say `architecture = \"armhf\"`"),
            (
                &dpkg,
                "ID=debian\nVERSION_CODENAME=bookworm\n",
                "it is a `bookworm`, not a `trixie`; name its own release",
            ),
        ] {
            let told = told(text, release).unwrap();
            assert!(told.starts_with(wanted), "{told}");
        }
        assert_eq!(told(&dpkg, "VERSION_CODENAME=trixie\n"), None);
        assert_eq!(told(&dpkg, ""), None);
    }

    #[test]
    fn nothing_goes_backwards() {
        let packages = installed(&package("demo", "2.0-1", "amd64", "installed"));
        let tree = Existing { packages, automatic: BTreeSet::new(), doing: String::new() };
        let pin = |name: &str, version: &str| Pin {
            name: name.into(),
            architecture: "amd64".into(),
            version: version.into(),
        };
        let forward = |name, version| tree.leads_forward(&pin(name, version));
        assert_eq!(
            [forward("demo", "1.9"), forward("demo", "2.0-1"), forward("demo", "2.1"), forward("other", "0")],
            [false, true, true, true]
        );
        let source = tree.source().unwrap();
        assert_eq!(source.repository.priority, pin::DEFAULT, "the newest version is taken, wherever it is");
        let stanza = source.index.stanza(0);
        assert_eq!((stanza.name(), stanza.version(), stanza.get("Status")), ("demo", "2.0-1", None));
    }
}
