//! Spec → Lock: release files believed, indexes fetched, apt's answer found, everything pinned.

mod alpine_tree;
mod apk;
mod archive;
mod downloads;
mod elsewhere;
pub(crate) mod fits;
mod index;
mod release;
mod solve;
#[cfg(test)]
mod tests;
mod tree;
pub(crate) use tree::NAME as TREE;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use kiln_family::deb::solve::did_you_mean;
use kiln_family::lock::{EDITION, Lock, Locked, LockedRepository};
use kiln_model::fault::OrFault as _;
use kiln_model::{Arch, Digest, Fault, FaultKind};
use kiln_recipe::spec::{Family, Repository};
use kiln_recipe::{Diagnostic, Spec};

use crate::events::Events;
use crate::kiln::Kiln;
use crate::load::{Loaded, allows};

pub(crate) use archive::Archive;
pub(crate) use solve::{LOCAL, LOCAL_URI};

/// What a lock is made anew for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// Nothing, where the lock fits the recipe; versions stay where they still exist.
    Keep,
    /// Everything.
    All,
    /// These packages; others stay.
    Only(Vec<String>),
}

/// Name of the tools' repository in a lock.
pub(crate) const TOOLS: &str = "tools";

impl Kiln {
    /// Returns the lock beside the recipe; where it is missing, does not fit the recipe or shall be updated, makes and
    /// writes it.
    pub fn lock(&self, loaded: &Loaded, update: &Update, events: &Events) -> Result<Lock, Fault> {
        let old = self.read_lock(loaded)?;
        let lock = self.answer(loaded, old.as_ref(), update, events)?;
        if old.as_ref() != Some(&lock) || *update != Update::Keep {
            write(loaded, &lock)?;
        }
        Ok(lock)
    }

    /// Returns the lock that a build would use, and writes none.
    pub fn would_lock(&self, loaded: &Loaded, events: &Events) -> Result<Lock, Fault> {
        self.answer(loaded, self.read_lock(loaded)?.as_ref(), &Update::Keep, events)
    }

    fn answer(&self, loaded: &Loaded, old: Option<&Lock>, update: &Update, events: &Events) -> Result<Lock, Fault> {
        let asked = asked(&loaded.completed.spec);
        let whole = |lock: &&Lock| lock.spec == asked && downloads::are_all_in(&loaded.completed.spec, lock);
        if let Some(lock) = old.filter(|lock| *update == Update::Keep && whole(lock)) {
            return Ok(lock.clone());
        }
        let lock = self.resolve(loaded, asked, old, update, events)?;
        if let Update::Only(names) = update {
            known(names, old.into_iter().chain([&lock]))?;
        }
        Ok(lock)
    }

    /// Returns what is wrong with the packages that the recipe asks for; of a recipe that is not `sound`, only what is
    /// wrong with their names. A lock that fits answers at once.
    pub fn check(&self, loaded: &Loaded, sound: bool, events: &Events) -> Result<Vec<Diagnostic>, Fault> {
        let spec = &loaded.completed.spec;
        let lock = self.read_lock(loaded)?.filter(|lock| sound && lock.spec == asked(spec));
        let mut found = lock.as_ref().map(|lock| fits::diagnostics(loaded, lock)).unwrap_or_default();
        if lock.is_none() || !spec.packages.exclude.is_empty() {
            found.extend(self.check_packages(loaded, sound, lock.is_some(), events)?);
        }
        Ok(found)
    }

    fn check_packages(
        &self,
        loaded: &Loaded,
        sound: bool,
        locked: bool,
        events: &Events,
    ) -> Result<Vec<Diagnostic>, Fault> {
        let spec = &loaded.completed.spec;
        if spec.base.family == Family::Apk {
            return self.check_apk(loaded, sound, locked);
        }
        let tree = tree::Existing::of(loaded)?;
        let tree = tree.as_ref();
        let read = |kiln: &Self| {
            kiln.archives(&spec.base.repositories, spec.base.architecture, &spec.packages.foreign, events)
        };
        // What was fetched before answers at once; a check need not know this hour's versions.
        let offline = self.offline();
        match read(&offline) {
            // All that the lock leaves open are names that are excluded: not worth a download.
            Err(_) if locked => Ok(vec![]),
            Ok(archives) if locked => solve::vain(loaded, &archives, tree),
            // Nobody waits for an archive to be told of a slip.
            Err(fault) if !sound => Err(fault),
            Err(_) => solve::mistakes(loaded, &read(self)?, tree, sound, &|names| self.elsewhere(spec, names, events)),
            Ok(archives) => {
                let kiln = if sound { self } else { &offline };
                solve::mistakes(loaded, &archives, tree, sound, &|names| kiln.elsewhere(spec, names, events))
            }
        }
    }

    fn check_apk(&self, loaded: &Loaded, sound: bool, locked: bool) -> Result<Vec<Diagnostic>, Fault> {
        if locked {
            return Ok(vec![]);
        }
        let lists = match self.offline().apk_lists(loaded) {
            Err(_) if sound => self.apk_lists(loaded)?,
            read => read?,
        };
        let found = apk::mistakes(loaded, &lists);
        // What was fetched before answers at once; where it says no, the archive may know better by now.
        if found.is_empty() || !sound { Ok(found) } else { Ok(apk::mistakes(loaded, &self.apk_lists(loaded)?)) }
    }

    fn read_lock(&self, loaded: &Loaded) -> Result<Option<Lock>, Fault> {
        let path = &loaded.lock_path;
        let read = allows(loaded.within.as_deref(), path).and_then(|()| fs::read_to_string(path));
        let text = match read {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Fault::farm(format!("read `{}`", path.display())).because(error)),
        };
        let lock = Lock::read(&text).map_err(|error| {
            let hint = format!("repair it, or remove it and build again: `rm {}`", path.display());
            Fault::recipe(format!("read the lock `{}`", path.display())).because(error).hint(hint)
        })?;
        if let Some(within) = &loaded.within {
            kept_within(loaded, within, &lock)?;
        }
        Ok(Some(lock))
    }

    fn resolve(
        &self,
        loaded: &Loaded,
        asked: Digest,
        old: Option<&Lock>,
        update: &Update,
        events: &Events,
    ) -> Result<Lock, Fault> {
        let spec = &loaded.completed.spec;
        let (own, packages) = match spec.base.family {
            Family::Deb => self.deb_packages(loaded, old, update, events)?,
            Family::Apk => {
                let lists = self.apk_lists(loaded)?;
                let packages = self.apk_packages(loaded, &lists, (old, update), events)?;
                (lists.locked, packages)
            }
        };
        let wanted = kiln_plan::tools::wanted(spec);
        let (tools, tools_repository) = self.tools_lock(spec, &wanted, old, update, events)?;
        let repositories = own.into_iter().chain(tools_repository);
        let repositories: Vec<_> = repositories.chain(solve::local_repositories(spec)).collect();
        let downloads = self.downloads(loaded, old, update, events)?;
        let architecture = spec.base.architecture;
        Ok(Lock { edition: EDITION, spec: asked, architecture, repositories, packages, tools, downloads })
    }

    fn deb_packages(
        &self,
        loaded: &Loaded,
        old: Option<&Lock>,
        update: &Update,
        events: &Events,
    ) -> Result<(Vec<LockedRepository>, Vec<Locked>), Fault> {
        let spec = &loaded.completed.spec;
        // Before anything is downloaded: it may be one that cannot be built upon.
        let tree = tree::Existing::of(loaded)?;
        let archives =
            self.archives(&spec.base.repositories, spec.base.architecture, &spec.packages.foreign, events)?;
        let elsewhere: solve::Elsewhere<'_> = &|names| self.elsewhere(spec, names, events);
        let packages = solve::image(loaded, &archives, tree.as_ref(), old, update, events, elsewhere)?;
        Ok((archives.into_iter().map(|archive| archive.locked).collect(), packages))
    }

    /// Resolves packages of the tools' own archive for this machine.
    fn tools_lock(
        &self,
        spec: &Spec,
        wanted: &[&str],
        old: Option<&Lock>,
        update: &Update,
        events: &Events,
    ) -> Result<(Vec<Locked>, Option<LockedRepository>), Fault> {
        if wanted.is_empty() {
            return Ok((vec![], None));
        }
        let repository = Repository { name: TOOLS.into(), ..spec.base.tools.clone() };
        let foreign = solve::foreign(wanted);
        let archives = self.archives(&[repository], Arch::host(), &foreign, events)?;
        let old = old.filter(|_| *update != Update::All).map(|lock| lock.tools.as_slice()).unwrap_or_default();
        let tools = solve::tools(&archives, wanted, old)?;
        Ok((tools, archives.into_iter().next().map(|archive| archive.locked)))
    }

    /// Locks tools that do not decide an image's bytes (an emulator to boot it), from the newest indexes.
    pub(crate) fn lock_tools(&self, spec: &Spec, wanted: &[&str], events: &Events) -> Result<Lock, Fault> {
        let (tools, repository) = self.tools_lock(spec, wanted, None, &Update::All, events)?;
        Ok(Lock::aside(Arch::host(), repository.into_iter().collect(), vec![], tools))
    }

    /// Locks packages of the spec's own repositories for this machine, in the versions that `like` has, where they exist.
    pub(crate) fn lock_natives(
        &self,
        spec: &Spec,
        wanted: &[&str],
        like: &Lock,
        events: &Events,
    ) -> Result<Lock, Fault> {
        let architecture = Arch::host();
        let archives = self.archives(&spec.base.repositories, architecture, &[], events)?;
        let here = |locked: &Locked| Locked { architecture: architecture.debian().to_owned(), ..locked.clone() };
        let like: Vec<Locked> = like.packages.iter().map(here).collect();
        let tools = solve::tools(&archives, wanted, &like)?;
        let repositories = archives.into_iter().map(|archive| archive.locked).collect();
        Ok(Lock::aside(architecture, repositories, vec![], tools))
    }

    /// Reads the indexes of repositories, several at once, in the given order.
    fn archives(
        &self,
        repositories: &[Repository],
        arch: Arch,
        foreign: &[Arch],
        events: &Events,
    ) -> Result<Vec<Archive>, Fault> {
        let architectures: Vec<Arch> = std::iter::once(arch).chain(foreign.iter().copied()).collect();
        let architectures = &architectures;
        std::thread::scope(|scope| {
            let read = |repository| scope.spawn(move || Archive::read(self, repository, architectures, events));
            let threads: Vec<_> = repositories.iter().map(read).collect();
            threads.into_iter().map(|thread| thread.join().expect("reading an archive does not panic")).collect()
        })
    }
}

/// Returns the digest of what a lock answers: the archives, the packages, the tools, the addresses; not the hostname. A lock made through
/// one mirror holds for another: mirrors are in no document.
fn asked(spec: &Spec) -> Digest {
    let mut base = spec.base.clone();
    base.epoch = None;
    if let Some(board) = &mut base.board {
        board.kernel_arguments.clear();
    }
    let packages = (base, &spec.packages, kiln_plan::tools::wanted(spec));
    match downloads::wanted(spec) {
        none if none.is_empty() => kiln_plan::image::digest(&packages),
        some => kiln_plan::image::digest(&(packages, some)),
    }
}

/// Refuses to update what no lock of the recipe has: a slip must not look like an update.
fn known<'a>(names: &[String], locks: impl Iterator<Item = &'a Lock>) -> Result<(), Fault> {
    let named = |lock: &'a Lock| {
        let packages = lock.packages.iter().chain(&lock.tools).map(|package| package.name.as_str());
        packages.chain(lock.downloads.iter().map(|download| download.url.as_str()))
    };
    let known: BTreeSet<&str> = locks.flat_map(named).collect();
    let Some(name) = names.iter().find(|name| !known.contains(name.as_str())) else { return Ok(()) };
    let fault = Fault::recipe(format!("update `{name}`: the lock has no package or address of this name"));
    Err(match did_you_mean(name, known.into_iter()) {
        Some(hint) => fault.hint(hint),
        None => fault.hint("`kiln lock --json` prints the packages; `--update` without a name updates all"),
    })
}

/// Refuses a lock that leads out of the one folder that may be read.
fn kept_within(loaded: &Loaded, within: &Path, lock: &Lock) -> Result<(), Fault> {
    let here = |archive: &LockedRepository| archive.uri == LOCAL_URI;
    if let Some(archive) = lock.repositories.iter().find(|one| one.uri.starts_with("file:") && !here(one)) {
        return Err(Fault::recipe(format!("the lock's archive `{}` lies on the machine that builds", archive.name)));
    }
    if let Some(file) = lock.downloads.iter().find(|file| !file.url.starts_with("http")) {
        let fault = Fault::recipe(format!("the lock's file `{}` lies on the machine that builds", file.url));
        return Err(fault.hint("a file beside the recipe is named by `source`"));
    }
    let local: BTreeSet<&str> = lock.repositories.iter().filter(|one| here(one)).map(|one| one.name.as_str()).collect();
    let packages = lock.packages.iter().chain(&lock.tools);
    for package in packages.filter(|package| local.contains(package.repository.as_str()) && !package.in_tree) {
        let read = allows(Some(within), &loaded.folder.join(&package.filename));
        read.fault(FaultKind::Recipe, || format!("read the lock's package `{}`", package.filename))?;
    }
    Ok(())
}

/// Writes the lock beside its place and renames it there.
fn write(loaded: &Loaded, lock: &Lock) -> Result<(), Fault> {
    let path = &loaded.lock_path;
    let beside = path.with_extension(format!("lock.{}", std::process::id()));
    // Not through a link that somebody put there; what a kiln that was killed left is made anew.
    let _ = fs::remove_file(&beside);
    let fresh = || fs::File::options().write(true).create_new(true).open(&beside);
    let put = |mut file: fs::File| std::io::Write::write_all(&mut file, lock.write().as_bytes());
    let written = fresh().and_then(put).and_then(|()| fs::rename(&beside, path));
    written.inspect_err(|_| drop(fs::remove_file(&beside))).farm(|| format!("write the lock `{}`", path.display()))
}
