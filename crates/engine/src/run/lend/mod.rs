//! Native helpers for trees of other architectures: an emulator takes ten times as long for the shells, the Perl and the small tools
//! that package scripts are made of.
//!
//! The tree stays as it is, for whoever reads or copies its programs; only to *execute* one of [`LENT`] starts the native build of the
//! same sources instead. The kernel recognises the program by its first bytes, and runs a [`shim`] that runs the native one, which
//! lies in `/run` together with its loader and finds its libraries where its own architecture has them.

mod elf;
mod shim;

use std::collections::{BTreeSet, HashMap};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_family::deb::install::lend::{LENT, PERL, is_perl, same_sources};
use kiln_family::lock::{Lock, Locked};
use kiln_model::fault::OrFault as _;
use kiln_model::{Arch, Fault, FaultKind, GuestPath, StageKind};
use kiln_plan::context::path;
use kiln_recipe::spec::Family;
use kiln_sandbox::{Command, Emulator, Scratch};

use super::Run;
use crate::target::Target;

/// Where the native programs are seen, below the paths that they have in a tree of their own.
const INSIDE: &str = "/run/kiln/native";
/// Where they look for what loads their libraries: `/lib64` would be a sign of a broken tree to some scripts.
const LOADER: &str = "/run/kiln/ld.so";

/// How many of a program's first bytes tell it from others; the kernel looks at 256, and a line to register holds 1920.
const HEAD: usize = 192;

/// Where programs lie.
const FOLDERS: [&str; 2] = ["/usr/bin", "/usr/sbin"];

/// What can be lent to the trees of a build.
pub(crate) struct Native {
    tree: PathBuf,
    /// Shims by the guest path of what they run.
    shims: HashMap<GuestPath, PathBuf>,
    scratch: Scratch,
}

impl Run<'_> {
    /// Lends a command in the tree the native helpers that fit it.
    pub fn lent(&self, stage: StageKind, mut command: Command) -> Result<Command, Fault> {
        // Without an emulator of its own the sandbox can register nothing else either, and on the host it is not to.
        if command.emulators.is_empty() || !self.lends()? {
            return Ok(command);
        }
        let Some(native) = self.native(stage)? else { return Ok(command) };
        let target = Target::open(&command.root).farm(|| "open the tree".into())?;
        let libraries = libraries();
        // Libraries of this machine that are part of the image are not hidden from it.
        if target.exists(&libraries) {
            return Ok(command);
        }
        command
            .emulators
            .extend(native.emulators(&target, self.plan.arch).farm(|| "look at the tree's programs".into())?);
        let loader = native.tree.join(loader());
        let loader = loader.canonicalize().farm(|| format!("find `{}`", loader.display()))?;
        Ok(command
            .bind(native.programs(), path(INSIDE), true)
            .bind(libraries.under(&native.tree), libraries, true)
            .bind(loader, path(LOADER), true))
    }

    /// Whether native helpers are lent at all: they stand in for programs in the sandbox, never on the whole machine.
    fn lends(&self) -> Result<bool, Fault> {
        // Alpine's shell and tools are one program with its own library, which no Debian build stands for.
        let deb = self.loaded.completed.spec.base.family == Family::Deb;
        Ok(deb && self.kiln.config.lend && !self.kiln.sandbox()?.foreign().on_host)
    }

    /// Whether a program of the tree, where it has it, does what it does on a machine of its own.
    pub fn is_sound(&self, stage: StageKind, program: &str, target: &Target) -> Result<bool, Fault> {
        let narrow = self.plan.arch.elf_magic().0[4] == 1 && !Arch::host().runs(self.plan.arch);
        if !narrow || !target.exists(&path(program)) {
            return Ok(true);
        }
        let lends = self.lends()? && !target.exists(&libraries());
        let native = if lends { self.native(stage)? } else { None };
        Ok(native.is_some_and(|native| native.shims.contains_key(&path(program))))
    }

    /// Returns what can be lent, made at the first call; what stands against it is told in the log.
    fn native(&self, stage: StageKind) -> Result<Option<Arc<Native>>, Fault> {
        let mut known = self.state.native.lock().expect("no holder panics");
        if let Some(native) = known.as_ref() {
            return Ok(native.clone());
        }
        let native = match self.make_native() {
            Ok(native) => native.map(Arc::new),
            Err(fault) if fault.kind() == FaultKind::Interrupted => return Err(fault),
            Err(fault) => {
                self.events.log(Some(stage), "native helpers", format!("none are lent: {}", fault.chain()));
                None
            }
        };
        Ok(known.insert(native).clone())
    }

    fn make_native(&self) -> Result<Option<Native>, Fault> {
        let lock = self.kiln.native_lock(self.loaded, &wanted(self.lock), self.lock, self.events)?;
        let fits = |name: &str| {
            of_tree(self.lock, name).zip(native_of(&lock, name)).is_some_and(|(one, other)| same_sources(one, other))
        };
        let perl = perl(self.lock).all(fits);
        let tree = self.kiln.tools_tree(self.loaded, &lock, "native helpers", &[], self.events)?;
        let lent = LENT.iter().filter(|(name, _)| fits(name)).flat_map(|(_, programs)| programs.iter().copied());
        let lent = lent.filter(|program| *program != PERL || perl);
        let mut native = Native { tree, shims: HashMap::new(), scratch: Scratch::new(&self.scratch_root(), "native")? };
        for program in lent {
            let added = places(program).iter().try_for_each(|at| native.add(at));
            added.farm(|| format!("make a native `{program}` ready"))?;
        }
        Ok(Some(native).filter(|native| !native.shims.is_empty()))
    }
}

/// Returns the packages whose native builds a lock's tree may be lent.
pub(crate) fn wanted(lock: &Lock) -> Vec<&str> {
    let programs = LENT.iter().map(|(name, _)| *name).filter(|name| of_tree(lock, name).is_some());
    let mut wanted: Vec<&str> = programs.chain(perl(lock)).collect();
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

fn of_tree<'l>(lock: &'l Lock, name: &str) -> Option<&'l Locked> {
    lock.packages.iter().find(|locked| locked.name == name && locked.architecture == lock.architecture.debian())
}

/// Returns the parts of Perl. What no archive has is not to be had for this machine.
fn perl(lock: &Lock) -> impl Iterator<Item = &str> {
    let of_archives = lock.packages.iter().filter(|locked| locked.repository != crate::resolve::TREE);
    let parts = of_archives.filter(|locked| is_perl(&locked.name) && locked.architecture != "all");
    parts.map(|locked| locked.name.as_str())
}

fn native_of<'l>(lock: &'l Lock, name: &str) -> Option<&'l Locked> {
    lock.tools.iter().find(|locked| locked.name == name)
}

/// Returns where a program of the table may be.
fn places(program: &str) -> Vec<GuestPath> {
    match program.starts_with('/') {
        true => vec![path(program)],
        false => FOLDERS.iter().map(|folder| path(&format!("{folder}/{program}"))).collect(),
    }
}

/// Returns where this machine's libraries are; a tree that has them itself is lent nothing.
fn libraries() -> GuestPath {
    path(&format!("/usr/lib/{}", Arch::host().multiarch()))
}

/// Returns where this machine's programs look for what loads their libraries.
fn loader() -> &'static str {
    match Arch::host() {
        Arch::Arm64 => "lib/ld-linux-aarch64.so.1",
        _ => "lib64/ld-linux-x86-64.so.2",
    }
}

impl Native {
    /// Returns the folder with the programs, ready to be seen at [`INSIDE`].
    fn programs(&self) -> PathBuf {
        self.scratch.path().join("programs")
    }

    /// Makes the program ready that the native tree has at a path, if it has one there.
    fn add(&mut self, at: &GuestPath) -> std::io::Result<()> {
        let from = at.under(&self.tree);
        if from.is_symlink() || !from.is_file() {
            return Ok(());
        }
        let shim = shim::shim(Arch::host(), &format!("{INSIDE}{at}"));
        let Some((program, shim)) = elf::with_loader(std::fs::read(&from)?, LOADER).zip(shim) else { return Ok(()) };
        write_program(&at.under(&self.programs()), &program)?;
        let place = at.under(&self.scratch.path().join("shims"));
        write_program(&place, &shim)?;
        self.shims.insert(at.clone(), place);
        Ok(())
    }

    /// Returns what starts the native builds of the tree's programs. A beginning that two programs share tells neither.
    fn emulators(&self, target: &Target, arch: Arch) -> std::io::Result<Vec<Emulator>> {
        let (magic, mask) = arch.elf_magic();
        let is_foreign = |head: &[u8]| {
            head.len() == HEAD
                && head.iter().zip(magic).zip(mask).all(|((byte, magic), mask)| byte & mask == magic & mask)
        };
        let mut by_head: HashMap<Vec<u8>, Vec<(GuestPath, u64)>> = HashMap::new();
        let folders: BTreeSet<GuestPath> = self.shims.keys().filter_map(GuestPath::parent).collect();
        for folder in folders {
            for beginning in target.beginnings(&folder, HEAD)? {
                if is_foreign(&beginning.bytes)
                    && let Ok(at) = folder.join(&beginning.name)
                {
                    by_head.entry(beginning.bytes).or_default().push((at, beginning.inode));
                }
            }
        }
        let perl = self.has_modules(target, arch)?;
        let mut emulators = vec![];
        for (head, programs) in by_head {
            if programs.iter().any(|(_, inode)| *inode != programs[0].1) {
                continue;
            }
            let known = programs.iter().find_map(|(at, _)| Some((at, self.shims.get(at)?)));
            let Some((at, shim)) = known.filter(|(at, _)| perl || at.name() != PERL.as_bytes()) else { continue };
            let name = format!("kiln{}", at.to_string().replace('/', "-"));
            emulators.push(Emulator { name, magic: head, mask: vec![], program: shim.clone() });
        }
        emulators.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(emulators)
    }

    /// Whether every library that Perl may load in the tree has its native twin.
    fn has_modules(&self, target: &Target, arch: Arch) -> std::io::Result<bool> {
        let mut folders: Vec<(GuestPath, PathBuf)> = vec![];
        let (theirs, ours) =
            (path(&format!("/usr/lib/{}", arch.multiarch())), self.tree.join("usr/lib").join(Arch::host().multiarch()));
        for name in target.names(&theirs)?.into_iter().filter(|name| name.starts_with(b"perl")) {
            if let Ok(folder) = theirs.join(&name) {
                folders.push((folder, ours.join(text(&name))));
            }
        }
        while let Some((folder, twin)) = folders.pop() {
            for name in target.names(&folder)? {
                let Ok(inside) = folder.join(&name) else { continue };
                let twin = twin.join(text(&name));
                let facts = target.facts(&inside)?;
                if facts.is_folder {
                    folders.push((inside, twin));
                } else if name.ends_with(b".so") && !twin.exists() {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

fn write_program(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(path.parent().unwrap_or(path))?;
    std::fs::write(path, bytes)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
}

fn text(name: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt as _;
    Path::new(std::ffi::OsStr::from_bytes(name))
}
