//! Packages into the tree: unpacked natively as they arrive, then configured by dpkg in the sandbox.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use kiln_family::deb::install::hold::{Hold, holds};
use kiln_family::deb::install::{Phase, configure, extended};
use kiln_family::deb::package::Control;
use kiln_model::action::PackageRef;
use kiln_model::fault::OrFault as _;
use kiln_model::{Action, Arch, Fault, GuestPath, StageKind, Unit};
use kiln_plan::context::path;
use kiln_sandbox::Command;

use super::Run;
use crate::target::{Ids, Target};
use crate::unpack::{self, Arrival, Unpacked};

/// Where archives wait that dpkg unpacks itself.
const WAITING: &str = "/var/cache/apt/archives/kiln";

impl Run<'_> {
    /// Unpacks packages in the order in which they arrive.
    ///
    /// Bare ones may be wanted for some of their files only.
    pub fn unpack(
        &self,
        stage: StageKind,
        packages: &[PackageRef],
        (bare, only): (bool, &[GuestPath]),
        target: &Target,
    ) -> Result<(), Fault> {
        let arrivals = self.state.downloads.of(packages).map(|(package, path)| Ok(Arrival { package, path }));
        let options = unpack::Options {
            threads: self.kiln.config.jobs,
            epoch: self.plan.epoch,
            bare,
            only: only.to_vec(),
            base: stage == StageKind::Bootstrap,
            arch: if bare { Arch::host() } else { self.plan.arch },
            merged_usr: self.merged_usr(bare),
        };
        let (done, total) = (AtomicU64::new(0), packages.len() as u64);
        let told = |_: &PackageRef| {
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            self.events.progress(Some(stage), "unpack", Unit::Packages, done, Some(total));
        };
        let unpacked = unpack::unpack(arrivals, target.root(), &options, &told)?;
        let got = done.load(Ordering::Relaxed);
        if got < total {
            let missing = || Fault::upstream(format!("{} of {total} packages did not arrive", total - got));
            return Err(self.state.downloads.fault().unwrap_or_else(missing));
        }
        if let Some(missing) = only.iter().find(|wanted| !target.exists(wanted)) {
            let names: Vec<_> = packages.iter().map(|package| package.name.as_str()).collect();
            return Err(Fault::upstream(format!("no file `{missing}` in {}", names.join(", "))));
        }
        *self.state.unpacked.lock().expect("no holder panics") = Some(unpacked);
        Ok(())
    }

    fn merged_usr(&self, bare: bool) -> Vec<(GuestPath, String)> {
        if bare {
            return unpack::usr_merge(Arch::host());
        }
        let links = &self.loaded.completed.spec.base.merged_usr;
        links.iter().map(|(link, target)| (path(link), target.clone())).collect()
    }

    /// Runs what is left after unpacking: preinst scripts, dpkg's own unpacking, `dpkg --configure`.
    pub fn configure(
        &self,
        stage: StageKind,
        hold: &[String],
        env: &BTreeMap<String, String>,
        target: &Target,
    ) -> Result<(), Fault> {
        let unpacked = self.state.unpacked.lock().expect("no holder panics").take();
        let unpacked = unpacked.ok_or_else(|| Fault::farm("packages are configured before they are unpacked"))?;
        let phase = if stage == StageKind::Bootstrap { Phase::Base } else { Phase::Further };
        let held = Held::place(holds(hold), target)?;
        let real = place_real(&unpacked, target)?;
        let controls: Vec<&Control> = unpacked.packages.iter().collect();
        let waiting: Vec<(&Control, GuestPath)> =
            unpacked.real.iter().zip(&real).map(|((control, _), path)| (control, path.clone())).collect();
        let steps = configure::steps(&controls, &waiting, phase, env);
        std::thread::scope(|scope| {
            scope.spawn(|| self.depmod_early(stage, target));
            steps.into_iter().try_for_each(|step| {
                let mut command = Command::new(target.root(), step.argv);
                command.env.extend(step.env);
                self.command(stage, &step.name, command)
            })
        })?;
        target.remove(&path(WAITING)).farm(|| "remove archives from the tree".into())?;
        held.release(target)?;
        self.mark_automatic(&unpacked, target)
    }

    /// Tells the target's apt which packages nobody asked for, so that `apt autoremove` may take them one day.
    fn mark_automatic(&self, unpacked: &Unpacked, target: &Target) -> Result<(), Fault> {
        if !target.exists(&path("/var/lib/apt")) {
            return Ok(());
        }
        // As the plan says, which the stage's name covers; the lock says it too, but changes under a stage that is kept.
        let stages = self.plan.pipelines.iter().flat_map(|pipeline| &pipeline.stages);
        let listed = stages.flat_map(|stage| &stage.actions).filter_map(|action| match action {
            // Bare ones are of the tools.
            Action::Unpack { packages, bare: false, .. } => Some(packages),
            _ => None,
        });
        let asked = listed.flatten().filter(|package| !package.automatic);
        let asked: BTreeSet<(&str, &str)> =
            asked.map(|package| (package.name.as_str(), package.architecture.as_str())).collect();
        let controls = unpacked.packages.iter().chain(unpacked.real.iter().map(|(control, _)| control));
        let names = controls.map(|control| (control.name(), control.architecture()));
        self.mark(names, &asked, target)
    }

    /// Tells the target's apt that somebody asked for packages that it has.
    pub fn mark_manual(&self, packages: &[String], target: &Target) -> Result<(), Fault> {
        let asked: BTreeSet<(&str, &str)> = packages.iter().filter_map(|package| package.split_once(':')).collect();
        self.mark(asked.iter().copied(), &asked, target)
    }

    fn mark<'p>(
        &self,
        names: impl IntoIterator<Item = (&'p str, &'p str)>,
        asked: &BTreeSet<(&str, &str)>,
        target: &Target,
    ) -> Result<(), Fault> {
        let states = path("/var/lib/apt/extended_states");
        let existing = target.text(&states).farm(|| format!("read `{states}`"))?;
        let text =
            extended::states(&existing, names, asked, self.plan.arch.debian()).farm(|| format!("read `{states}`"))?;
        if text == existing {
            return Ok(());
        }
        target.write(&states, 0o644, Ids::default(), text.as_bytes()).farm(|| format!("write `{states}`"))
    }
}

/// Copies the archives that dpkg unpacks itself into the tree; returns their paths there.
fn place_real(unpacked: &Unpacked, target: &Target) -> Result<Vec<GuestPath>, Fault> {
    let place = |(_, arrival): &(Control, Arrival)| {
        let at = path(&format!("{WAITING}/{}_{}.deb", arrival.package.name, arrival.package.architecture));
        let doing = || format!("copy `{}` into the tree", arrival.package.name);
        let mut from = std::fs::File::open(&arrival.path).farm(doing)?;
        let mut to = target.create(&at, 0o644, Ids::default()).farm(doing)?;
        std::io::copy(&mut from, &mut to.file).farm(doing)?;
        to.finish().farm(doing)?;
        Ok(at)
    };
    unpacked.real.iter().map(place).collect()
}

/// Stand-ins that are in place.
struct Held(Vec<Hold>);

impl Held {
    fn place(holds: Vec<Hold>, target: &Target) -> Result<Self, Fault> {
        for hold in &holds {
            let doing = || format!("hold back `{}`", hold.path);
            if let Some(aside) = hold.aside.as_ref().filter(|_| target.exists(&hold.path)) {
                target.rename(&hold.path, aside).farm(doing)?;
            }
            target.write(&hold.path, 0o755, Ids::default(), hold.script.as_bytes()).farm(doing)?;
        }
        Ok(Self(holds))
    }

    /// Puts the programs back; where a package brought a new one meanwhile, that stays.
    fn release(self, target: &Target) -> Result<(), Fault> {
        for hold in &self.0 {
            let doing = || format!("let go of `{}`", hold.path);
            let ours = target.read(&hold.path).farm(doing)?.is_some_and(|bytes| bytes == hold.script.as_bytes());
            let aside = hold.aside.as_ref().filter(|aside| target.exists(aside));
            match (ours, aside) {
                (true, Some(aside)) => target.rename(aside, &hold.path).farm(doing)?,
                (true, None) => target.remove(&hold.path).farm(doing)?,
                (false, Some(aside)) => target.remove(aside).farm(doing)?,
                (false, None) => {}
            }
        }
        Ok(())
    }
}
