//! Alpine's packages into the tree: scripts in the sandbox, files natively, what apk would have written about them, triggers.
//!
//! apk does one package after the other, and a script may need what an earlier package's script made (a user, the links of
//! busybox); so does this. Reading the archives, which takes most of the time, is done by all processors beforehand.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use kiln_family::apk::install::conflicts::{self, Owners};
use kiln_family::apk::install::{Record, database, triggers};
use kiln_family::apk::{Limits, Package};
use kiln_model::action::PackageRef;
use kiln_model::fault::OrFault as _;
use kiln_model::{Digest, Fault, StageKind, Unit};
use kiln_plan::accounts::id_of;
use kiln_plan::context::path;
use kiln_sandbox::Command;

use super::Run;
use super::place::{Placed, dressers};
use crate::target::{Ids, Target};

/// Where scripts lie while they run, as with apk.
pub const EXEC: &str = "/lib/apk/exec";

/// What an installation is of.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    pub packages: &'a [PackageRef],
    /// How many of them the tree has.
    pub installed: usize,
    pub world: &'a [String],
    pub env: &'a BTreeMap<String, String>,
}

impl Run<'_> {
    /// Installs all packages that the tree does not have, in their order.
    pub fn install(&self, stage: StageKind, wanted: Wanted<'_>, target: &Target) -> Result<(), Fault> {
        let archives = self.archives(wanted.packages)?;
        let records = self.records(wanted.packages, &archives)?;
        let owners = conflicts::owners(&records, &|path| target.link(path))?;
        let dressers = dressers(&records);
        let total = (records.len() - wanted.installed) as u64;
        for at in wanted.installed..records.len() {
            if kiln_sandbox::interrupted() {
                return Err(Fault::interrupted());
            }
            let record = &records[at];
            let versions = [record.info.version.clone()];
            self.script(stage, record, "pre-install", &versions, wanted.env, target)?;
            Placed::new(target, &records, &owners, &dressers, at)?.all_of(&archives[at])?;
            self.script(stage, record, "post-install", &versions, wanted.env, target)?;
            let done = (at + 1 - wanted.installed) as u64;
            self.events.progress(Some(stage), "install", Unit::Packages, done, Some(total));
        }
        shut(target)?;
        self.tell_apk(wanted.world, &records, &owners, false, target)?;
        for fired in triggers::fired(&records, wanted.installed, &triggers::directories(&records[..wanted.installed])) {
            self.script(stage, &records[fired.package], "trigger", &fired.directories, wanted.env, target)?;
        }
        target.remove(&path(EXEC)).farm(|| format!("remove `{EXEC}` from the tree"))
    }

    /// Waits for all packages, and returns where they are.
    pub fn archives(&self, packages: &[PackageRef]) -> Result<Vec<PathBuf>, Fault> {
        let arrived: HashMap<Digest, PathBuf> =
            self.state.downloads.of(packages).map(|(package, path)| (package.sha256, path)).collect();
        let find = |package: &PackageRef| match arrived.get(&package.sha256) {
            Some(path) => Ok(path.clone()),
            None => Err(self.missing(package)),
        };
        packages.iter().map(find).collect()
    }

    fn missing(&self, package: &PackageRef) -> Fault {
        let missing = || Fault::upstream(format!("`{} {}` did not arrive", package.name, package.version));
        self.state.downloads.fault().unwrap_or_else(missing)
    }

    /// Reads what is in every package, several at once.
    pub fn records(&self, packages: &[PackageRef], archives: &[PathBuf]) -> Result<Vec<Record>, Fault> {
        let (next, found) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
        let work = || {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some((package, archive)) = packages.get(at).zip(archives.get(at)) else { break };
                let read = record(package, archive);
                found.lock().expect("no holder panics").insert(at, read);
            }
        };
        std::thread::scope(|scope| (0..self.kiln.config.jobs.max(1)).for_each(|_| drop(scope.spawn(work))));
        found.into_inner().expect("no holder panics").into_values().collect()
    }

    /// Runs a package's script of a kind, if it has one.
    pub fn script(
        &self,
        stage: StageKind,
        record: &Record,
        kind: &str,
        arguments: &[String],
        env: &BTreeMap<String, String>,
        target: &Target,
    ) -> Result<(), Fault> {
        let Some(script) = record.scripts.get(kind) else { return Ok(()) };
        let name = format!("{}.{kind}", record.info.full_name());
        let at = path(EXEC).join(&name).map_err(|error| Fault::package(format!("run `{name}`")).because(error))?;
        target.write(&at, 0o755, Ids::default(), &script.bytes).farm(|| format!("write `{at}`"))?;
        let argv = std::iter::once(at.to_string()).chain(arguments.iter().cloned());
        let mut command = Command::new(target.root(), argv);
        command.env.extend(env.clone());
        self.command(stage, &name, command)?;
        target.remove(&at).farm(|| format!("remove `{at}`"))
    }

    /// Writes apk's own database; where packages come from is another stage's to say.
    pub fn tell_apk(
        &self,
        world: &[String],
        records: &[Record],
        owners: &Owners,
        by_name: bool,
        target: &Target,
    ) -> Result<(), Fault> {
        let settings = database::Settings { world, sources: &[], arch: self.plan.arch.alpine(), by_name };
        let files = database::files(records, owners, &settings).map_err(|error| Fault::recipe(error.to_string()))?;
        let later = [path("/etc/apk/arch"), path("/etc/apk/repositories")];
        files.iter().filter(|file| !later.contains(&file.path)).try_for_each(|file| {
            let written = target.write(&file.path, file.mode, Ids::default(), &file.bytes);
            written.farm(|| format!("write `{}`", file.path))
        })
    }

    /// Adds services to runlevels, those of them that the tree has.
    pub fn runlevels(&self, levels: &BTreeMap<String, Vec<String>>, target: &Target) -> Result<(), Fault> {
        let all = levels.iter().flat_map(|(level, services)| services.iter().map(move |service| (level, service)));
        all.filter(|(_, service)| target.exists(&path(&format!("/etc/init.d/{service}"))))
            .try_for_each(|(level, service)| start(level, service, target))
    }
}

/// Shuts the accounts that packages leave open: Alpine's root has no password, which is no password at all.
pub fn shut(target: &Target) -> Result<(), Fault> {
    let file = path("/etc/shadow");
    let before = target.text(&file).farm(|| format!("read `{file}` of the tree"))?;
    let lines = before.lines().map(|line| match line.split_once("::") {
        Some((name, rest)) if !name.contains(':') => format!("{name}:*:{rest}\n"),
        _ => format!("{line}\n"),
    });
    let after: String = lines.collect();
    if after == before {
        return Ok(());
    }
    let group = target.text(&path("/etc/group")).farm(|| "read `/etc/group` of the tree".into())?;
    let ids = Ids { uid: 0, gid: id_of(&group, "shadow").unwrap_or(0) };
    target.write(&file, 0o640, ids, after.as_bytes()).farm(|| format!("write `{file}`"))
}

/// Adds a service to a runlevel.
pub fn start(level: &str, service: &str, target: &Target) -> Result<(), Fault> {
    let link = path(&format!("/etc/runlevels/{level}/{service}"));
    let made = target.symlink(&link, format!("/etc/init.d/{service}").as_bytes(), Ids::default());
    made.farm(|| format!("link `{link}` in the tree"))
}

fn record(package: &PackageRef, archive: &PathBuf) -> Result<Record, Fault> {
    let doing = || format!("read `{} {}`", package.name, package.version);
    let bytes = std::fs::read(archive).farm(doing)?;
    if Digest::of(&bytes) != package.sha256 {
        let fault = Fault::upstream(doing()).because("its SHA-256 is not the locked one");
        return Err(fault.hint("run `kiln cache verify`, then build again"));
    }
    let opened = Package::open(&bytes, Limits::default()).map_err(|error| Fault::from(error).doing(doing()))?;
    let info = &opened.info;
    if (&info.name, &info.version) != (&package.name, &package.version) {
        let text = format!(
            "its control data says `{}`, the lock says `{}-{}`",
            info.full_name(),
            package.name,
            package.version
        );
        return Err(Fault::upstream(doing()).because(text).hint("run `kiln cache verify`, then build again"));
    }
    Record::of(&opened, bytes.len() as u64, None).map_err(|error| Fault::from(error).doing(doing()))
}
