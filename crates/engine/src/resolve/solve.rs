//! The question to the solver, from the spec, and its answer, for the lock.

use std::collections::{BTreeSet, HashSet};

use kiln_family::deb::package::{Deb, Limits};
use kiln_family::deb::solve::{
    self, Base, Kind, Pin, Reason, Repository as Weight, Request, Source, Universe, Unsatisfiable,
};
use kiln_family::deb::{Index, pin};
use kiln_family::lock::{Lock, Locked, LockedRepository};
use kiln_model::fault::OrFault as _;
use kiln_model::{Arch, Digest, Fault, FaultKind};
use kiln_recipe::render::Look;
use kiln_recipe::spec::{BaseSet, LocalFile};
use kiln_recipe::{Diagnostic, Place, Severity, Spec};

use super::elsewhere::Components;
use super::tree::{self, Existing};
use super::{Archive, Update};
use crate::events::Events;
use crate::load::Loaded;

/// Name of the recipe's own package files in a lock.
pub const LOCAL: &str = "local";
/// What their paths are relative to: the recipe's folder.
pub const LOCAL_URI: &str = "file:.";

/// Returns the image's packages; what is excluded in vain is told.
pub fn image(
    loaded: &Loaded,
    archives: &[Archive],
    tree: Option<&Existing>,
    old: Option<&Lock>,
    update: &Update,
    events: &Events,
    elsewhere: Elsewhere<'_>,
) -> Result<Vec<Locked>, Fault> {
    let (universe, request) = question(loaded, archives, tree, old, update)?;
    for Reason { text, hint, .. } in solve::vain(&universe, &request) {
        events.warn(format!(
            "`exclude` in `[packages]`: {text}{}",
            hint.map(|hint| format!("; {hint}")).unwrap_or_default()
        ));
    }
    let solution = solve::solve(&universe, &request);
    let mut solution =
        solution.map_err(|error| located(&Asked { loaded, archives, elsewhere }, &universe, &request, error))?;
    tree.iter().for_each(|tree| tree.tell_why(&mut solution, &loaded.completed.spec));
    let packages = solution.locked(&universe).fault(FaultKind::Upstream, || "read the package lists".into())?;
    Ok(match tree {
        Some(tree) => tree.mark(packages, &loaded.completed.spec),
        None => packages,
    })
}

/// Returns what is wrong with the packages the recipe asks for, at their places. Of a recipe that has other mistakes, only
/// names are judged: what goes together may change as those are mended.
pub fn mistakes(
    loaded: &Loaded,
    archives: &[Archive],
    tree: Option<&Existing>,
    sound: bool,
    elsewhere: Elsewhere<'_>,
) -> Result<Vec<Diagnostic>, Fault> {
    let (universe, request) = question(loaded, archives, tree, None, &Update::All)?;
    let mut found = warnings(loaded, &universe, &request);
    let (architecture, wrong) = (loaded.completed.spec.base.architecture, wrong(&universe, request.clone(), sound));
    found.extend(Asked { loaded, archives, elsewhere }.diagnostics(&wrong));
    if wrong.is_empty() && sound {
        let solution = solve::solve(&universe, &request)?;
        let packages = solution.locked(&universe).fault(FaultKind::Upstream, || "read the package lists".into())?;
        let lock = Lock::aside(architecture, vec![], packages, vec![]);
        found.extend(super::fits::diagnostics(loaded, &lock));
    }
    Ok(found)
}

/// Tells in which component, of those that are not enabled, names are.
pub type Elsewhere<'a> = &'a dyn Fn(&[&str]) -> Components;

/// What is known of the place where packages are looked for.
struct Asked<'a> {
    loaded: &'a Loaded,
    archives: &'a [Archive],
    elsewhere: Elsewhere<'a>,
}

impl Asked<'_> {
    fn diagnostics(&self, reasons: &[Reason]) -> Vec<Diagnostic> {
        let unknown = reasons.iter().filter(|reason| reason.kind == Kind::Unknown);
        let names: Vec<&str> = unknown.filter_map(|reason| reason.word.as_deref().map(bare)).collect();
        let components = if names.is_empty() { Components::new() } else { (self.elsewhere)(&names) };
        reasons.iter().map(|reason| diagnostic(self.loaded, &self.enriched(reason, &components))).collect()
    }

    /// Returns a reason with the way out that only the archive knows.
    fn enriched(&self, reason: &Reason, components: &Components) -> Reason {
        let name = reason.word.as_deref().map(bare).filter(|_| reason.kind == Kind::Unknown);
        let Some(name) = name else { return reason.clone() };
        if let Some(component) = components.get(name) {
            let main = self.loaded.completed.spec.base.repositories.first();
            let enabled = main.map(|main| main.components.clone()).unwrap_or_default();
            let all: Vec<_> = enabled.iter().chain([component]).map(|name| format!("\"{name}\"")).collect();
            let text = format!("package `{name}` is in component `{component}`, which is not enabled");
            let hint = format!("say under `[base]`: components = [{}]", all.join(", "));
            return Reason { text, hint: Some(hint), ..reason.clone() };
        }
        let kernels = if name.starts_with(KERNEL) { self.kernels() } else { vec![] };
        if kernels.is_empty() {
            return reason.clone();
        }
        let near = reason.hint.as_ref().map(|hint| format!("{hint} ")).unwrap_or_default();
        Reason { hint: Some(format!("{near}kernels here: {}", kernels.join(", "))), ..reason.clone() }
    }

    /// Returns the packages that stand for the newest kernel of their kind.
    fn kernels(&self) -> Vec<String> {
        let sources = self.archives.iter().flat_map(|archive| &archive.sources);
        let names = sources.flat_map(|source| source.index.stanzas().map(|stanza| stanza.name()));
        let of_a_kind = |name: &&str| {
            let kind = name.strip_prefix(KERNEL);
            kind.is_some_and(|kind| !kind.contains('.') && !kind.ends_with("-dbg") && !kind.ends_with("-template"))
        };
        let kinds: BTreeSet<&str> = names.filter(of_a_kind).collect();
        kinds.into_iter().take(MANY).map(|name| format!("`{name}`")).collect()
    }
}

/// What names of kernels begin with, and how many of them are told.
const KERNEL: &str = "linux-image-";
const MANY: usize = 8;

/// Returns warnings of what is excluded in vain.
pub fn vain(loaded: &Loaded, archives: &[Archive], tree: Option<&Existing>) -> Result<Vec<Diagnostic>, Fault> {
    let (universe, request) = question(loaded, archives, tree, None, &Update::All)?;
    Ok(warnings(loaded, &universe, &request))
}

fn warnings(loaded: &Loaded, universe: &Universe, request: &Request) -> Vec<Diagnostic> {
    solve::vain(universe, request).iter().map(|reason| warning(loaded, reason)).collect()
}

/// Returns what is wrong with each word of a request, and with what is left without those words.
fn wrong(universe: &Universe, mut request: Request, sound: bool) -> Vec<Reason> {
    request.prefer.clear();
    let mut found = solve::misnamed(universe, &request);
    let words: HashSet<&str> = found.iter().filter_map(|reason| reason.word.as_deref()).collect();
    request.include.retain(|word| !words.contains(word.as_str()));
    // That a package is both included and excluded was told where the recipe was read.
    found.retain(|reason| {
        !reason.word.as_deref().is_some_and(|word| request.exclude.iter().any(|name| *name == bare(word)))
    });
    if sound && let Err(error) = solve::solve(universe, &request) {
        found.extend(error.reasons);
    }
    found
}

/// Returns the name in a word, as `vim` in `vim/sid`.
pub fn bare(word: &str) -> &str {
    word.split([' ', '=', '/', ':', '^']).next().unwrap_or(word)
}

fn question(
    loaded: &Loaded,
    archives: &[Archive],
    tree: Option<&Existing>,
    old: Option<&Lock>,
    update: &Update,
) -> Result<(Universe, Request), Fault> {
    let spec = &loaded.completed.spec;
    let (local, names) = local_source(loaded)?;
    let existing = tree.map(Existing::source).transpose()?;
    let existing_names = tree.map(|tree| tree.words(spec)).transpose()?.unwrap_or_default();
    let names = names.into_iter().chain(existing_names);
    let prefer = old.map(|lock| preferred(&lock.packages, update)).unwrap_or_default();
    let sources = archives.iter().flat_map(|archive| archive.sources.clone()).chain(local).chain(existing).collect();
    let request = Request {
        base: base(spec.packages.base),
        include: spec.packages.include.iter().map(|wanted| wanted.package.clone()).chain(names).collect(),
        exclude: spec.packages.exclude.clone(),
        recommends: spec.packages.recommends,
        installed: vec![],
        prefer: prefer.into_iter().filter(|pin| tree.is_none_or(|tree| tree.leads_forward(pin))).collect(),
    };
    Ok((Universe::new(spec.base.architecture, &spec.packages.foreign, sources), request))
}

/// Returns tools and what they need, without base and without recommendations.
pub fn tools(archives: &[Archive], wanted: &[&str], old: &[Locked]) -> Result<Vec<Locked>, Fault> {
    let sources = archives.iter().flat_map(|archive| archive.sources.clone()).collect();
    let universe = Universe::new(Arch::host(), &foreign(wanted), sources);
    let include = wanted.iter().map(|&name| name.to_owned()).collect();
    let request = Request { include, prefer: preferred(old, &Update::Keep), ..Request::default() };
    solve::solve(&universe, &request)?
        .locked(&universe)
        .fault(FaultKind::Upstream, || "read the tools' package lists".into())
}

/// Returns the architectures that tools are asked of by name, as in `grub-pc-bin:amd64`, besides this machine's.
pub fn foreign(wanted: &[&str]) -> Vec<Arch> {
    let named = wanted.iter().filter_map(|name| name.split_once(':')?.1.parse().ok());
    let mut all: Vec<Arch> = named.filter(|arch| *arch != Arch::host()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn base(set: BaseSet) -> Base {
    match set {
        BaseSet::Essential => Base::Essential,
        BaseSet::Minbase => Base::Minbase,
        BaseSet::Important => Base::Important,
        BaseSet::Standard => Base::Standard,
    }
}

/// Returns the versions to keep where they still exist.
pub fn preferred(old: &[Locked], update: &Update) -> Vec<Pin> {
    let stays = |locked: &&Locked| match update {
        Update::Keep => true,
        Update::All => false,
        Update::Only(names) => !names.contains(&locked.name),
    };
    let pin = |locked: &Locked| Pin {
        name: locked.name.clone(),
        architecture: locked.architecture.clone(),
        version: locked.version.clone(),
    };
    old.iter().filter(stays).map(pin).collect()
}

/// Underlines the packages in the recipe where the recipe names them.
fn located(asked: &Asked<'_>, universe: &Universe, request: &Request, error: Unsatisfiable) -> Fault {
    let loaded = asked.loaded;
    let all = wrong(universe, request.clone(), true);
    let reasons = if all.is_empty() { error.reasons } else { all };
    let mut found = asked.diagnostics(&reasons);
    kiln_recipe::sort(&mut found, &loaded.completed.files);
    let detail = kiln_recipe::render(&found, &loaded.completed.files, Look::PLAIN);
    Fault::recipe(format!("resolve the packages of `{}`", loaded.path.display())).detail(detail)
}

/// Returns a reason at the word of the recipe that it is about, else at the first package it names that the recipe names.
fn diagnostic(loaded: &Loaded, reason: &Reason) -> Diagnostic {
    let completed = &loaded.completed;
    let named = || reason.text.split('`').skip(1).step_by(2);
    let place = match &reason.word {
        Some(word) => completed.locate(word).or_else(|| completed.locate(bare(word))),
        None => named().find_map(|words| completed.locate(bare(words))),
    };
    let code = if reason.kind == Kind::Unknown { "unknown-package" } else { "unsatisfiable" };
    let text = match (&reason.word, place) {
        (Some(word), None) => format!("{}{}", reason.text, wanted_by(&completed.spec, word)),
        _ => reason.text.clone(),
    };
    kiln_recipe::diagnostic_at(&place.cloned().unwrap_or_else(|| start(loaded)), code, &text, reason.hint.clone())
}

/// Returns the same for what is excluded in vain.
fn warning(loaded: &Loaded, reason: &Reason) -> Diagnostic {
    let said = diagnostic(loaded, reason);
    let code = if reason.kind == Kind::Unknown { said.code } else { "without-effect".into() };
    Diagnostic { severity: Severity::Warning, code, ..said }
}

/// Says what wants a package that the recipe itself does not name.
fn wanted_by(spec: &Spec, word: &str) -> String {
    let wanted = spec.packages.include.iter().find(|wanted| wanted.package == word);
    wanted.map(|wanted| format!(", which {} needs", wanted.why)).unwrap_or_default()
}

/// Returns the beginning of the recipe, for what no line of it says.
pub fn start(loaded: &Loaded) -> Place {
    Place { file: loaded.path.display().to_string(), line: 1, column: 1, offset: 0, len: 0 }
}

/// Returns the repositories that stand for the recipe's own package files and for the tree that it builds upon.
pub fn local_repositories(spec: &Spec) -> impl Iterator<Item = LockedRepository> {
    let repository = |name: &str| LockedRepository {
        name: name.into(),
        uri: LOCAL_URI.into(),
        suite: name.into(),
        ..Default::default()
    };
    let files = (!spec.packages.files.is_empty()).then(|| repository(LOCAL));
    files.into_iter().chain(spec.base.tree.is_some().then(|| repository(tree::NAME)))
}

/// Makes an index of the recipe's own package files, and asks for every one of them.
fn local_source(loaded: &Loaded) -> Result<(Option<Source>, Vec<String>), Fault> {
    let files = &loaded.completed.spec.packages.files;
    if files.is_empty() {
        return Ok((None, vec![]));
    }
    let stanzas: Vec<_> = files.iter().map(|file| stanza(loaded, file)).collect::<Result<_, _>>()?;
    let text = stanzas.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>().join("\n");
    let index = Index::parse(text).fault(FaultKind::Recipe, || "read the recipe's package files".into())?;
    let repository = Weight { name: LOCAL.into(), suite: LOCAL.into(), codename: LOCAL.into(), priority: pin::LOCAL };
    let names = stanzas.into_iter().map(|(_, name)| name).collect();
    Ok((Some(Source { repository, index }), names))
}

/// Returns a package file's stanza as an index has it, and what asks for exactly this package.
fn stanza(loaded: &Loaded, file: &LocalFile) -> Result<(String, String), Fault> {
    let path = loaded.folder.join(&file.path);
    let doing = || format!("read the package file `{}`", path.display());
    let bytes = std::fs::read(&path).map_err(|error| Fault::recipe(doing()).because(error))?;
    let bad = |error: kiln_family::deb::package::BadPackage| Fault::recipe(doing()).because(error);
    let deb = Deb::open(bytes.as_slice(), Limits::default()).map_err(bad)?;
    let control = deb.control();
    let fields: String = control.stanza.0.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    let (size, digest) = (bytes.len(), Digest::of(&bytes));
    let asked = format!("{}={}", control.name(), control.version());
    Ok((format!("{fields}Filename: {}\nSize: {size}\nSHA256: {digest}\n", file.path), asked))
}
