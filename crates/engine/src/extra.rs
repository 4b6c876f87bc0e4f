//! Tools that do not decide an image's bytes: an emulator to boot it, a clock to disguise a build.
//!
//! They are resolved from the newest indexes, not from the image's lock, and kept for a week.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use kiln_family::Lock;
use kiln_family::lock::Locked;
use kiln_model::plan::Pipeline;
use kiln_model::{Action, Arch, Digest, Fault, FaultKind, GuestPath, Plan, Stage, StageKind};
use kiln_recipe::spec::{Family, Qemu};
use kiln_store::Doc;

use crate::boot::{Programs, version};
use crate::build::BuildOptions;
use crate::events::Events;
use crate::kiln::Kiln;
use crate::load::Loaded;
use crate::run::{Run, State, emulate, lend, verify};
use crate::secrets::Secrets;

/// How long a set of tools is used before the archive is asked for newer ones, in seconds.
const FRESH: i64 = 7 * 86_400;

impl Kiln {
    /// Returns the root of a tree with these packages and what they need, unpacked and not configured; where files are
    /// named, with these only.
    pub(crate) fn extra_tools(
        &self,
        loaded: &Loaded,
        wanted: &[&str],
        only: &[GuestPath],
        events: &Events,
    ) -> Result<PathBuf, Fault> {
        let lock = self.extra_lock(loaded, wanted, events)?;
        self.tools_tree(loaded, &lock, &format!("tools: {}", wanted.join(", ")), only, events)
    }

    /// Returns the root of a tree with the tools of a lock.
    pub(crate) fn tools_tree(
        &self,
        loaded: &Loaded,
        lock: &Lock,
        name: &str,
        only: &[GuestPath],
        events: &Events,
    ) -> Result<PathBuf, Fault> {
        let packages = lock.tools.iter().map(Locked::package_ref).collect();
        let unpack = Action::Unpack { packages, bare: true, only: only.to_vec() };
        let stages = vec![Stage { kind: StageKind::Tools, actions: vec![unpack] }];
        let pipelines = vec![Pipeline { name: "tools".into(), from: None, stages }];
        let nothing = Digest::of("");
        let (name, arch, epoch) = (name.to_owned(), Arch::host(), self.config.now);
        let plan = Plan { name, arch, epoch, spec: nothing, lock: nothing, pipelines };
        let (options, current) = (BuildOptions::default(), Mutex::new(None));
        let run = Run {
            kiln: self,
            loaded,
            lock,
            plan: &plan,
            secrets: &Secrets::default(),
            options: &options,
            events,
            state: State::default(),
            current: &current,
        };
        run.tools()
    }

    /// Locks what a build of `lock` takes besides: an emulator and native helpers where its architecture is not this machine's, QEMU where
    /// the image is booted. No sandbox is asked, so it may be more than this machine needs.
    pub(crate) fn helper_locks(&self, loaded: &Loaded, lock: &Lock, events: &Events) -> Result<Vec<Lock>, Fault> {
        let mut locks = vec![];
        if !Arch::host().runs(lock.architecture) {
            locks.push(self.extra_lock(loaded, &[emulate::PACKAGE], events)?);
            locks.extend(self.native_helpers(loaded, lock, events)?);
        }
        for board in verify::machines(loaded)? {
            let packages = Programs::packages(&board);
            // Whether a PC's QEMU is a sound one, it says itself, in a sandbox.
            let is_here = !version::is_pc(&board) && Programs::below(Path::new("/"), &board).is_some();
            if !packages.is_empty() && !is_here {
                locks.push(self.extra_lock(loaded, &packages, events)?);
            }
        }
        Ok(locks)
    }

    /// A build does without native helpers, and so does who fetches ahead of it.
    fn native_helpers(&self, loaded: &Loaded, lock: &Lock, events: &Events) -> Result<Option<Lock>, Fault> {
        if loaded.completed.spec.base.family != Family::Deb || !self.config.lend {
            return Ok(None);
        }
        match self.native_lock(loaded, &lend::wanted(lock), lock, events) {
            Ok(lock) => Ok(Some(lock)),
            Err(fault) if fault.kind() == FaultKind::Interrupted => Err(fault),
            Err(fault) => {
                events.log(None, "native helpers", format!("none are lent: {}", fault.chain()));
                Ok(None)
            }
        }
    }

    /// Returns QEMU and its firmware for the recipe's board: the host's where it is sound, else kiln's own.
    pub fn boot_programs(&self, loaded: &Loaded, board: &Qemu, events: &Events) -> Result<Programs, Fault> {
        let host = Programs::below(Path::new("/"), board);
        if let Some(programs) = host
            && version::is_sound(&programs, board, self.sandbox()?)?
        {
            return Ok(programs);
        }
        let packages = Programs::packages(board);
        let tools = if packages.is_empty() { None } else { Some(self.extra_tools(loaded, &packages, &[], events)?) };
        let own = tools.as_deref().and_then(|root| Programs::below(root, board));
        own.map_or_else(|| Programs::find(board, None), Ok)
    }

    fn extra_lock(&self, loaded: &Loaded, wanted: &[&str], events: &Events) -> Result<Lock, Fault> {
        let key = format!("tools {}", wanted.join(" "));
        self.kept_lock(&key, || self.lock_tools(&loaded.completed.spec, wanted, events))
    }

    /// Locks packages of the recipe's own repositories for this machine, in the versions that `like` has, where they exist.
    pub(crate) fn native_lock(
        &self,
        loaded: &Loaded,
        wanted: &[&str],
        like: &Lock,
        events: &Events,
    ) -> Result<Lock, Fault> {
        let versions = like.packages.iter().filter(|locked| wanted.contains(&locked.name.as_str()));
        let versions: Vec<String> = versions.map(|locked| format!("{}={}", locked.name, locked.version)).collect();
        let repositories =
            like.repositories.iter().map(|repository| format!("{} {}", repository.uri, repository.suite));
        let repositories = repositories.collect::<Vec<_>>().join(" ");
        let key = format!("native {} {repositories} {}", Arch::host(), versions.join(" "));
        self.kept_lock(&key, || self.lock_natives(&loaded.completed.spec, wanted, like, events))
    }

    /// Returns a lock that was made within the last week, or makes it.
    fn kept_lock(&self, key: &str, make: impl FnOnce() -> Result<Lock, Fault>) -> Result<Lock, Fault> {
        let known = self.store.document(Doc::Probe, key)?.and_then(|bytes| String::from_utf8(bytes).ok());
        let known = known.as_deref().and_then(|text| text.split_once('\n'));
        if let Some((made, text)) = known
            && made.parse().is_ok_and(|made: i64| (made..made + FRESH).contains(&self.config.now))
            && let Ok(lock) = Lock::read(text)
        {
            return Ok(lock);
        }
        let lock = make()?;
        let text = format!("{}\n{}", self.config.now, lock.write());
        self.store.put_document(Doc::Probe, key, text.as_bytes())?;
        Ok(lock)
    }
}
