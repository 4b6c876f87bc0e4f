//! The Alpine that a recipe builds upon: what apk says of it, as a repository.

use kiln_family::apk::install::{Record, world};
use kiln_family::apk::{Index, Version, solve};
use kiln_family::deb::solve::Pin;
use kiln_model::fault::OrFault as _;
use kiln_model::{Arch, Fault, FaultKind};
use kiln_plan::context::path;
use kiln_recipe::Spec;
use kiln_recipe::spec::Base;

use super::tree::NAME;
use crate::installed::{self, Installed};
use crate::load::Loaded;
use crate::target::Target;

/// What a tree has installed.
pub struct Existing {
    installed: Installed,
    index: Index,
}

impl Existing {
    /// Reads what the recipe's tree says of itself; none where it builds upon none.
    pub fn of(loaded: &Loaded) -> Result<Option<Self>, Fault> {
        let base = &loaded.completed.spec.base;
        let Some(tree) = &base.tree else { return Ok(None) };
        let folder = loaded.folder.join(&tree.path);
        let doing = || format!("read the packages of the tree `{}`", folder.display());
        let target = Target::open(&folder).fault(FaultKind::Recipe, doing)?;
        let text = |file: &str| target.text(&path(file)).fault(FaultKind::Recipe, doing);
        let installed = installed::read(&target).map_err(|fault| fault.doing(doing()))?;
        let says = Says {
            arch: &text("/etc/apk/arch")?,
            alpine: &text("/etc/alpine-release")?,
            os: &text("/etc/os-release")?,
        };
        if let Some(fault) = unfit(&installed.records, &says, base) {
            return Err(fault.doing(doing()));
        }
        let listed: Vec<&str> = installed.records.iter().filter_map(|record| record.listed.as_deref()).collect();
        let index = Index::parse(listed.join("\n").as_bytes()).fault(FaultKind::Recipe, doing)?;
        Ok(Some(Self { installed, index }))
    }

    /// Returns them as a repository that has nothing else. It counts as much as the others, so that the newest version is taken and
    /// none goes backwards.
    pub fn repository(&self) -> solve::Repository {
        solve::Repository { name: NAME.into(), tag: None, index: self.index.clone() }
    }

    /// Returns the world: what the recipe asks for, and of the tree's own what the recipe does not speak of.
    pub fn world(&self, spec: &Spec) -> Vec<String> {
        world::merged(&self.installed.world, &kiln_plan::apk::world(spec))
    }

    /// Returns the lines by which the tree's database lists a package.
    pub fn listed(&self, name: &str) -> Option<&str> {
        self.installed.records.iter().find(|record| record.info.name == name)?.listed.as_deref()
    }

    /// Whether a version of an older lock is no older than what the tree has.
    pub fn leads_forward(&self, pin: &Pin) -> bool {
        let own = self.installed.records.iter().find(|record| record.info.name == pin.name);
        own.is_none_or(|own| Version::raw(&own.info.version) <= Version::raw(&pin.version))
    }
}

/// What a tree's files say of its system.
struct Says<'a> {
    arch: &'a str,
    alpine: &'a str,
    os: &'a str,
}

impl Says<'_> {
    /// Returns what `os-release` says of a key.
    fn os(&self, key: &str) -> Option<&str> {
        let said = self.os.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        said.map(|value| value.trim_matches(['"', '\''])).filter(|value| !value.is_empty())
    }

    /// Returns the release as kiln calls it: `3.22`, `edge`.
    fn release(&self) -> Option<String> {
        let version =
            Some(self.alpine.trim()).filter(|version| !version.is_empty()).or_else(|| self.os("VERSION_ID"))?;
        // What edge will be next: `3.24.0_alpha20260127`.
        if version.contains("_alpha") || self.os("PRETTY_NAME").is_some_and(|name| name.ends_with(" edge")) {
            return Some("edge".into());
        }
        Some(version.split(['.', '_']).take(2).collect::<Vec<_>>().join("."))
    }
}

/// Returns what no build can start from: a package that is half there, and a system for another machine.
fn unfit(records: &[Record], says: &Says<'_>, base: &Base) -> Option<Fault> {
    if let Some(broken) = records.iter().find(|record| record.flags().contains(['f', 's', 'x'])) {
        let fault = Fault::recipe(format!("apk says that `{}` is not installed as it should be", broken.info.name));
        return Some(fault.hint("repair it there: `apk fix`"));
    }
    if records.is_empty() {
        return Some(Fault::recipe("it has no packages").hint("name the root folder of a whole system"));
    }
    let own = records.iter().map(|record| record.info.arch.as_str()).find(|arch| !["", "noarch"].contains(arch));
    let arch = says.arch.split_ascii_whitespace().next().or(own);
    if let Some(arch) = arch.filter(|arch| *arch != base.architecture.alpine()) {
        let known = Arch::ALL.into_iter().find(|known| known.alpine() == arch);
        let message = format!("it is of architecture `{arch}`, not `{}`", base.architecture.alpine());
        let hint = known.map_or_else(
            || "kiln builds for no such machine".into(),
            |known| format!("say `architecture = \"{known}\"` under `[base]`"),
        );
        return Some(Fault::recipe(message).hint(hint));
    }
    if let Some(id) = says.os("ID").filter(|id| *id != base.distribution) {
        let fault = Fault::recipe(format!("it is `{id}`, not `{}`", base.distribution));
        return Some(fault.hint("name its own distribution under `[base]`"));
    }
    says.release().filter(|release| *release != base.release).map(|release| {
        let fault = Fault::recipe(format!("it is of release `{release}`, not `{}`", base.release));
        fault.hint("name its own release under `[base]`: kiln upgrades within a release")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Says<'_> = Says { arch: "", alpine: "", os: "" };

    fn package(name: &str, version: &str, more: &str) -> String {
        format!("C:Q12jmj7l5rSw0yVb/vlWAYkK/YBwk=\nP:{name}\nV:{version}\n{more}\n")
    }

    fn records(text: &str) -> Vec<Record> {
        kiln_family::apk::install::installed::parse(text.as_bytes()).unwrap()
    }

    fn base() -> Base {
        let base = crate::load::empty(&crate::resolve::tests::config(std::path::Path::new("."))).unwrap();
        Base {
            distribution: "alpine".into(),
            release: "3.22".into(),
            architecture: Arch::Armhf,
            ..base.completed.spec.base
        }
    }

    #[test]
    fn what_cannot_be_built_upon_says_what_to_do() {
        let good = package("keys", "1", "A:noarch\n") + &package("musl", "1", "A:armv7\n");
        let told = |text: &str, says: Says<'_>| {
            unfit(&records(text), &says, &base())
                .map(|fault| format!("{}; {}", fault.chain(), fault.hint_text().unwrap_or_default()))
        };
        let (broken, foreign) = (package("vim", "1", "f:s\n"), package("musl", "1", "A:x86_64\n"));
        let wolfi = "ID=wolfi\nVERSION_ID=3.22\n";
        for (text, says, wanted) in [
            (&*broken, NOTHING, "apk says that `vim` is not installed as it should be; repair it there: `apk fix`"),
            ("", NOTHING, "it has no packages; name the root folder"),
            (&foreign, NOTHING, "it is of architecture `x86_64`, not `armv7`; say `architecture = \"amd64\"`"),
            (
                &good,
                Says { arch: "s390x\n", ..NOTHING },
                "it is of architecture `s390x`, not `armv7`; kiln builds for no",
            ),
            (&good, Says { os: wolfi, ..NOTHING }, "it is `wolfi`, not `alpine`; name its own distribution"),
            (
                &good,
                Says { alpine: "3.21.4\n", ..NOTHING },
                "it is of release `3.21`, not `3.22`; name its own release",
            ),
            (&good, Says { alpine: "3.22.0_alpha20250108\n", ..NOTHING }, "it is of release `edge`, not `3.22`"),
            (&good, Says { os: "ID=alpine\nVERSION_ID=3.20.1\n", ..NOTHING }, "it is of release `3.20`, not `3.22`"),
        ] {
            let told = told(text, says).unwrap();
            assert!(told.starts_with(wanted), "{told}");
        }
        assert_eq!(told(&good, NOTHING), None);
        let os = "ID=alpine\nVERSION_ID=3.22.0_rc1\nPRETTY_NAME=\"Alpine Linux v3.22\"\n";
        assert_eq!(told(&good, Says { arch: "armv7\n", alpine: "", os }), None);
        assert_eq!(told(&(good + &package("a", "1", "f:S\n")), Says { alpine: "3.22.0_rc1\n", ..NOTHING }), None);
    }

    #[test]
    fn nothing_goes_backwards() {
        let text = package("demo", "2.0-r1", "");
        let installed = Installed { records: records(&text), world: vec![] };
        let tree = Existing { installed, index: Index::parse(text.as_bytes()).unwrap() };
        let forward = |name: &str, version: &str| {
            tree.leads_forward(&Pin { name: name.into(), architecture: String::new(), version: version.into() })
        };
        assert_eq!(
            [forward("demo", "1.9"), forward("demo", "2.0-r1"), forward("demo", "2.1"), forward("other", "0")],
            [false, true, true, true]
        );
    }
}
