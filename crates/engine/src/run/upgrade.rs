//! The Alpine that is built upon, brought to what is wanted as apk would: packages go, come and are renewed with their scripts; what
//! somebody changed in `/etc` stays, and what is new lies beside it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use kiln_family::apk::install::change::{Change, Step};
use kiln_family::apk::install::conflicts::{self, Owners};
use kiln_family::apk::install::{Record, triggers, world};
use kiln_family::deb::package::Kind;
use kiln_model::action::PackageRef;
use kiln_model::fault::OrFault as _;
use kiln_model::{Fault, GuestPath, StageKind, Unit};
use kiln_plan::context::path;

use super::Run;
use super::install::{EXEC, shut};
use super::place::{Before, Placed, beside, content, dressers, is_protected};
use crate::installed::{self, SCRIPTS};
use crate::target::Target;

/// What a tree is brought to.
#[derive(Clone, Copy)]
pub struct Upgraded<'a> {
    /// What comes to it.
    pub packages: &'a [PackageRef],
    /// Everything that it has then.
    pub names: &'a [String],
    /// What the recipe asks for.
    pub world: &'a [String],
    pub env: &'a BTreeMap<String, String>,
}

/// An upgrade under way.
struct Upgrade<'a> {
    run: &'a Run<'a>,
    stage: StageKind,
    env: &'a BTreeMap<String, String>,
    target: &'a Target,
    change: &'a Change,
    owners: &'a Owners,
    before: &'a Before<'a>,
    dressers: &'a HashMap<&'a GuestPath, usize>,
    archives: &'a [PathBuf],
}

impl Run<'_> {
    /// Removes, renews and adds packages until the tree has those that are wanted.
    pub fn upgrade(&self, stage: StageKind, wanted: Upgraded<'_>, target: &Target) -> Result<(), Fault> {
        let installed = installed::read(target)?;
        let archives = self.archives(wanted.packages)?;
        let fresh = self.records(wanted.packages, &archives)?;
        let change = Change::new(installed.records, fresh, wanted.names);
        let tree = conflicts::Tree { kept: change.kept, gone: &change.gone };
        let owners = conflicts::owners_upon(&change.records, tree, &|path| target.link(path))?;
        let before = Before::new(change.records[..change.kept].iter().chain(&change.gone), &owners);
        let upgrade = Upgrade {
            run: self,
            stage,
            env: wanted.env,
            target,
            change: &change,
            owners: &owners,
            before: &before,
            dressers: &dressers(&change.records),
            archives: &archives,
        };
        upgrade.all()?;
        shut(target)?;
        let world = world::merged(&installed.world, wanted.world);
        self.tell_apk(&world, &change.records, &owners, true, target)?;
        let [_, packed] = SCRIPTS;
        target.remove(&path(packed)).farm(|| format!("remove `{packed}` from the tree"))?;
        upgrade.triggers(wanted.names)?;
        match owners.has_folder(&path(EXEC)) {
            true => Ok(()),
            false => target.remove(&path(EXEC)).farm(|| format!("remove `{EXEC}` from the tree")),
        }
    }
}

impl Upgrade<'_> {
    fn all(&self) -> Result<(), Fault> {
        let total = self.change.steps.len() as u64;
        for (done, step) in (1..).zip(&self.change.steps) {
            if kiln_sandbox::interrupted() {
                return Err(Fault::interrupted());
            }
            match *step {
                Step::Come { new, old } => self.come(new, old.map(|old| &self.change.gone[old]))?,
                Step::Go { old } => self.go(&self.change.gone[old])?,
            }
            self.run.events.progress(Some(self.stage), "install", Unit::Packages, done, Some(total));
        }
        Ok(())
    }

    fn script(&self, record: &Record, kind: &str, arguments: &[String]) -> Result<(), Fault> {
        self.run.script(self.stage, record, kind, arguments, self.env, self.target)
    }

    fn come(&self, at: usize, old: Option<&Record>) -> Result<(), Fault> {
        let record = &self.change.records[at];
        let versions: Vec<String> =
            [Some(record), old].into_iter().flatten().map(|one| one.info.version.clone()).collect();
        let [first, last] = match old {
            None => ["pre-install", "post-install"],
            Some(_) => ["pre-upgrade", "post-upgrade"],
        };
        self.script(record, first, &versions)?;
        let placed = Placed::new(self.target, &self.change.records, self.owners, self.dressers, at)?;
        placed.upon(self.before).all_of(&self.archives[at - self.change.kept])?;
        old.map_or(Ok(()), |old| self.clear(old))?;
        self.script(record, last, &versions)
    }

    fn go(&self, old: &Record) -> Result<(), Fault> {
        let version = [old.info.version.clone()];
        self.script(old, "pre-deinstall", &version)?;
        self.clear(old)?;
        self.script(old, "post-deinstall", &version)
    }

    /// Removes the files that nobody has any more, and then the directories; in `/etc` not those that somebody changed.
    fn clear(&self, old: &Record) -> Result<(), Fault> {
        let doing = |path: &GuestPath| format!("remove `{path}` from the tree");
        let files = old.files.iter().filter(|file| file.member.kind != Kind::Dir);
        for file in files.filter(|file| self.owners.of(&file.member.path).is_none()) {
            let path = &file.member.path;
            let protected = is_protected(path);
            if !protected {
                self.target.unlink(path).farm(|| doing(path))?;
                continue;
            }
            let known = content(path, self.target).farm(|| doing(path))?;
            if known.is_some_and(|bytes| old.is_content(file, &bytes)) {
                self.target.unlink(path).farm(|| doing(path))?;
            }
            self.target.unlink(&beside(path)?).farm(|| doing(path))?;
        }
        let folders: BTreeSet<GuestPath> = old.folders().filter(|folder| !self.owners.has_folder(folder)).collect();
        folders.iter().rev().try_for_each(|folder| self.target.remove_empty(folder).farm(|| doing(folder)))
    }

    /// Runs the triggers, in the order of the answer.
    fn triggers(&self, names: &[String]) -> Result<(), Fault> {
        let (records, kept) = (&self.change.records, self.change.kept);
        let mut changed = triggers::directories(&records[kept..]);
        changed.extend(triggers::directories(&self.change.gone));
        let mut fired = triggers::fired_by(records, kept, &changed, &triggers::directories(&records[..kept]));
        let places: HashMap<&str, usize> = names.iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
        fired.sort_by_key(|fired| places.get(records[fired.package].info.name.as_str()));
        fired.iter().try_for_each(|fired| self.script(&records[fired.package], "trigger", &fired.directories))
    }
}
