//! Recipes from disk: the files around a recipe, the host's facts, and the completed spec.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use kiln_model::fault::OrFault as _;
use kiln_model::{Arch, Digest, Fault};
use kiln_recipe::spec::Family;
use kiln_recipe::{Completed, Diagnostic, Files, HostSource, Local, Options, Rejected, Severity, Sources, Written};

use crate::bundle;
use crate::config::Config;
use crate::local;
use crate::secrets::Secrets;
use crate::upon;

/// A recipe that was read and completed.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub completed: Completed,
    /// The recipe's file.
    pub path: PathBuf,
    /// The folder that relative paths in it start from.
    pub folder: PathBuf,
    /// Where its lock is kept.
    pub lock_path: PathBuf,
    /// The files and folders it named, itself included, under the paths they were read by.
    pub named: BTreeSet<PathBuf>,
    /// The one folder that may be read for it, where somebody else wrote it.
    pub within: Option<PathBuf>,
    /// The files it named that are still to come: of [`Choices::promised`].
    pub promised: BTreeSet<Promised>,
    /// Values of its secrets that are known already, by the environment variables they would come from.
    pub secrets: Secrets,
}

/// A file of a folder that is to come.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Promised {
    /// The folder's name.
    pub folder: String,
    /// Its path in there.
    pub file: PathBuf,
}

/// Why a recipe cannot be used.
#[derive(Debug)]
pub enum LoadError {
    /// It has mistakes.
    Rejected(Rejected),
    /// It could not be read at all.
    Fault(Fault),
}

impl From<LoadError> for Fault {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Rejected(rejected) => rejected.into(),
            LoadError::Fault(fault) => fault,
        }
    }
}

/// What the caller says about a recipe besides its text.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    /// Profiles to apply, in order.
    pub profiles: Vec<String>,
    /// Settings that win over the recipe: dotted key and value.
    pub overrides: Vec<(String, String)>,
    /// SOURCE_DATE_EPOCH, seconds since 1970.
    pub epoch: Option<i64>,
    /// The one folder that files named by the recipe may lie in, links followed; anywhere where it does not say.
    pub within: Option<PathBuf>,
    /// Folders beside the recipe that are to come: any file in them is taken to be there, whatever lies there now.
    pub promised: Vec<String>,
}

/// A recipe as far as it can be understood, and all that is to be said about it.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What it comes to without its mistakes; none where a mistake leaves open where its packages come from.
    pub loaded: Option<Loaded>,
    /// Mistakes and warnings, in the order of files and lines.
    pub diagnostics: Vec<Diagnostic>,
    pub files: Files,
}

impl Draft {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.loaded.is_some() && self.diagnostics.iter().all(|said| said.severity == Severity::Warning)
    }
}

/// Reads and completes the recipe at `recipe`.
pub fn load(config: &Config, recipe: &Path, choices: &Choices) -> Result<Loaded, LoadError> {
    let draft = draft(config, recipe, choices).map_err(LoadError::Fault)?;
    let sound = draft.is_sound();
    let rejected = Rejected { diagnostics: draft.diagnostics, files: draft.files };
    draft.loaded.filter(|_| sound).ok_or(LoadError::Rejected(rejected))
}

/// Reads and completes the recipe at `recipe` as far as it can be understood.
pub fn draft(config: &Config, recipe: &Path, choices: &Choices) -> Result<Draft, Fault> {
    let doing = || format!("read the recipe `{}`", recipe.display());
    let readable = fs::metadata(recipe).and_then(|meta| match meta.is_file() {
        true => Ok(()),
        false => Err(io::Error::other("it is no file")),
    });
    readable
        .fault(kiln_model::FaultKind::Recipe, doing)
        .map_err(|fault| fault.hint("`kiln new NAME` writes a recipe to start from"))?;
    let disk = Disk { promised: promised(recipe, &choices.promised), ..Disk::within(choices.within.as_deref())? };
    let draft = kiln_recipe::draft(&disk, &recipe.to_string_lossy(), &options(config, choices));
    let Disk { within, named, asked, .. } = disk;
    let (named, promised) = (named.into_inner().unwrap_or_default(), asked.into_inner().unwrap_or_default());
    let loaded = draft.completed.map(|completed| Loaded { within, named, promised, ..place(recipe, completed) });
    if let Some(loaded) = &loaded {
        keeps_within(config, loaded)?;
    }
    Ok(Draft { loaded, diagnostics: draft.diagnostics, files: draft.files })
}

/// Refuses archives that lie on this machine, but for those its owner names, where a recipe may read one folder only.
fn keeps_within(config: &Config, loaded: &Loaded) -> Result<(), Fault> {
    let own = |uri: &String| config.mirrors.values().flatten().any(|mirror| mirror == uri);
    let archives = loaded.completed.spec.base.repositories.iter().filter(|_| loaded.within.is_some());
    let mut local = archives.filter(|archive| archive.uris.iter().any(|uri| uri.starts_with("file:") && !own(uri)));
    match local.next() {
        None => Ok(()),
        Some(archive) => Err(Fault::recipe(format!("archive `{}` lies on the machine that builds", archive.name))
            .hint("name one by `http://` or `https://`; whoever runs the machine can name it in KILN_MIRROR_…")),
    }
}

fn place(recipe: &Path, completed: Completed) -> Loaded {
    let folder = recipe.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
    let lock_path = recipe.with_extension("lock");
    Loaded {
        completed,
        path: recipe.to_owned(),
        folder,
        lock_path,
        named: BTreeSet::new(),
        within: None,
        promised: BTreeSet::new(),
        secrets: Secrets::default(),
    }
}

/// Returns folders beside a recipe by their names and paths.
fn promised(recipe: &Path, names: &[String]) -> Vec<(String, PathBuf)> {
    let folder = recipe.parent().unwrap_or(Path::new(""));
    names.iter().map(|name| (name.clone(), whole(&folder.join(name)))).collect()
}

/// Returns a path from the root on, without `.` and `..`.
fn whole(path: &Path) -> PathBuf {
    bundle::tidy(&std::path::absolute(path).unwrap_or_else(|_| path.to_owned()))
}

/// Returns a recipe that asks for nothing, for work that has none: booting an image that came from elsewhere.
pub fn empty(config: &Config) -> Result<Loaded, Fault> {
    let completed = kiln_recipe::complete(&Empty, "kiln.toml", &options(config, &Choices::default()))?;
    Ok(place(Path::new("kiln.toml"), completed))
}

/// Completes a recipe of another language, which lies in memory; `path` is where it would lie, its lock beside it.
pub fn written(
    config: &Config,
    recipe: &Written,
    secrets: BTreeMap<String, String>,
    choices: &Choices,
    path: &Path,
) -> Result<Loaded, Rejected> {
    let draft = kiln_recipe::draft_written(&Disk::default(), recipe, &options(config, choices));
    let loaded = draft.finish().map(|completed| place(path, completed))?;
    Ok(Loaded { folder: PathBuf::from("."), secrets: Secrets::known(secrets), ..loaded })
}

/// One recipe in memory.
struct Empty;

impl Sources for Empty {
    fn read(&self, _: &str) -> io::Result<String> {
        Ok("edition = 1\nname = \"none\"\n\n[base]\ndistribution = \"debian\"\nrelease = \"13\"\n\n[[output]]\nformat = \"dir\"\n".into())
    }

    fn digest(&self, path: &str) -> io::Result<Local> {
        Disk::default().digest(path)
    }
}

/// Returns what completes a recipe on this machine besides its own text.
fn options(config: &Config, choices: &Choices) -> Options {
    Options {
        profiles: choices.profiles.clone(),
        overrides: choices.overrides.clone(),
        host_arch: Arch::host(),
        mirrors: config.mirrors.clone(),
        host_sources: host_sources(),
        epoch: choices.epoch,
    }
}

/// Returns the archives the host's own distribution comes from; a host without apt has none.
pub fn host_sources() -> Vec<HostSource> {
    let host = kiln_fetch::apt_sources::host_sources();
    let entry = |(uri, suite): (&str, &str)| HostSource {
        distribution: host.distribution.clone(),
        uri: uri.to_owned(),
        suite: suite.to_owned(),
    };
    host.own().into_iter().map(entry).collect()
}

/// The real files around a recipe.
#[derive(Default)]
pub(crate) struct Disk {
    /// The one folder they may lie in, without links.
    within: Option<PathBuf>,
    /// What was read.
    named: Mutex<BTreeSet<PathBuf>>,
    /// Folders that are to come.
    promised: Vec<(String, PathBuf)>,
    /// What of them was asked for.
    asked: Mutex<BTreeSet<Promised>>,
}

impl Disk {
    fn within(folder: Option<&Path>) -> Result<Self, Fault> {
        let real = folder.map(fs::canonicalize).transpose();
        let within = real.farm(|| "find the folder that the recipe may read".into())?;
        Ok(Self { within, ..Self::default() })
    }

    /// Returns the file that a path means among those to come, if it is one.
    fn promised(&self, path: &str) -> Option<Promised> {
        // One from the root on is no path beside a recipe, wherever it leads.
        let path = Some(path).filter(|path| !path.starts_with('/')).map(|path| whole(Path::new(path)))?;
        self.promised.iter().find_map(|(name, folder)| {
            let file = path.strip_prefix(folder).ok().filter(|file| !file.as_os_str().is_empty())?;
            Some(Promised { folder: name.clone(), file: file.to_owned() })
        })
    }

    /// Refuses what cannot be read before it has come: content of files, and folders that such files will be in.
    fn is_there(&self, path: &str) -> io::Result<()> {
        let at = whole(Path::new(path));
        let holds = self.promised.iter().any(|(_, folder)| folder.starts_with(&at));
        if holds || self.promised(path).is_some() {
            let why = "it is made by a task that comes first: of that, packages and other files can be taken, one by one and unread";
            return Err(io::Error::other(why));
        }
        Ok(())
    }

    /// Refuses what lies outside of the folder, or leads out of it; keeps in mind what does not.
    fn allows(&self, path: &Path) -> io::Result<()> {
        allows(self.within.as_deref(), path)?;
        self.named.lock().map(|mut named| named.insert(path.to_owned())).ok();
        Ok(())
    }
}

/// Refuses a path outside of `within`, also one that gets there by a link.
pub(crate) fn allows(within: Option<&Path>, path: &Path) -> io::Result<()> {
    let Some(within) = within else { return Ok(()) };
    if fs::canonicalize(path)?.starts_with(within) {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, "it lies outside of what this kiln may read"))
}

impl Sources for Disk {
    fn read(&self, path: &str) -> io::Result<String> {
        self.is_there(path)?;
        self.allows(path.as_ref())?;
        fs::read_to_string(path)
    }

    fn read_bytes(&self, path: &str) -> io::Result<Vec<u8>> {
        self.is_there(path)?;
        self.allows(path.as_ref())?;
        fs::read(path)
    }

    fn digest(&self, path: &str) -> io::Result<Local> {
        if let (Some(file), Ok(mut asked)) = (self.promised(path), self.asked.lock()) {
            asked.insert(file);
            return Ok(Local { digest: Digest::of(""), folder: false, executable: false });
        }
        self.is_there(path)?;
        self.allows(path.as_ref())?;
        let meta = fs::metadata(path)?;
        let executable = local::mode(&meta.permissions()) & 0o100 != 0;
        let digest = local::take(Path::new(path), &mut local::Nobody)?;
        Ok(Local { digest, folder: meta.is_dir(), executable })
    }

    fn tree(&self, path: &str, family: Family) -> io::Result<Digest> {
        self.is_there(path)?;
        self.allows(path.as_ref())?;
        upon::digest(&upon::read(Path::new(path), family)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kiln_that_is_kept_within_a_folder_reads_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        fs::create_dir(at("bundle")).unwrap();
        fs::write(at("secret"), "x").unwrap();
        fs::write(at("bundle/file"), "x").unwrap();
        std::os::unix::fs::symlink("../secret", at("bundle/out")).unwrap();
        std::os::unix::fs::symlink("file", at("bundle/in")).unwrap();
        let disk = Disk::within(Some(&at("bundle"))).unwrap();
        let reads = |name: &str| {
            let path = at(name).display().to_string();
            let read = [disk.read(&path).is_ok(), disk.read_bytes(&path).is_ok(), disk.digest(&path).is_ok()];
            assert!(read.iter().all(|one| *one == read[0]), "{name}");
            read[0]
        };
        let names = ["bundle/file", "bundle/in", "bundle/../bundle/file", "bundle/out", "bundle/../secret", "secret"];
        assert_eq!(names.map(reads), [true, true, true, false, false, false]);
        assert!(Disk::default().read(&at("secret").display().to_string()).is_ok());
    }
}
