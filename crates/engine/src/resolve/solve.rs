//! The question to the solver, from the spec, and its answer, for the lock.

use kiln_family::deb::lock::{Lock, Locked, LockedRepository};
use kiln_family::deb::package::{Deb, Limits};
use kiln_family::deb::solve::{self, Base, Pin, Repository as Weight, Request, Source, Universe};
use kiln_family::deb::{Index, pin};
use kiln_model::fault::OrFault as _;
use kiln_model::{Arch, Digest, Fault, FaultKind};
use kiln_recipe::render::Look;
use kiln_recipe::spec::{BaseSet, LocalFile};
use kiln_recipe::{Diagnostic, Place, Spec};

use super::{Archive, Update};
use crate::load::Loaded;

/// Name of the recipe's own package files in a lock.
pub const LOCAL: &str = "local";

/// Returns the image's packages.
pub fn image(loaded: &Loaded, archives: &[Archive], old: Option<&Lock>, update: &Update) -> Result<Vec<Locked>, Fault> {
    let (universe, request) = question(loaded, archives, old, update)?;
    let solution = solve::solve(&universe, &request).map_err(|error| located(loaded, &error))?;
    solution.locked(&universe).fault(FaultKind::Upstream, || "read the package lists".into())
}

/// Returns what is wrong with the packages the recipe asks for, at their places.
pub fn mistakes(loaded: &Loaded, archives: &[Archive]) -> Result<Vec<Diagnostic>, Fault> {
    let (universe, request) = question(loaded, archives, None, &Update::All)?;
    Ok(solve::solve(&universe, &request).err().map(|error| diagnostics(loaded, &error)).unwrap_or_default())
}

fn question(
    loaded: &Loaded,
    archives: &[Archive],
    old: Option<&Lock>,
    update: &Update,
) -> Result<(Universe, Request), Fault> {
    let spec = &loaded.completed.spec;
    let (local, names) = local_source(loaded)?;
    let sources = archives.iter().flat_map(|archive| archive.sources.clone()).chain(local).collect();
    let request = Request {
        base: base(spec.packages.base),
        include: spec.packages.include.iter().map(|wanted| wanted.package.clone()).chain(names).collect(),
        exclude: spec.packages.exclude.clone(),
        recommends: spec.packages.recommends,
        installed: vec![],
        prefer: old.map(|lock| preferred(&lock.packages, update)).unwrap_or_default(),
    };
    Ok((Universe::new(spec.base.architecture, &spec.packages.foreign, sources), request))
}

/// Returns tools and what they need, without base and without recommendations.
pub fn tools(archives: &[Archive], wanted: &[&str], old: &[Locked]) -> Result<Vec<Locked>, Fault> {
    let sources = archives.iter().flat_map(|archive| archive.sources.clone()).collect();
    let universe = Universe::new(Arch::host(), &[], sources);
    let include = wanted.iter().map(|&name| name.to_owned()).collect();
    let request = Request { include, prefer: preferred(old, &Update::Keep), ..Request::default() };
    solve::solve(&universe, &request)?
        .locked(&universe)
        .fault(FaultKind::Upstream, || "read the tools' package lists".into())
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
fn preferred(old: &[Locked], update: &Update) -> Vec<Pin> {
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
fn located(loaded: &Loaded, error: &solve::Unsatisfiable) -> Fault {
    let detail = kiln_recipe::render(&diagnostics(loaded, error), &loaded.completed.files, Look::PLAIN);
    Fault::recipe(format!("resolve the packages of `{}`", loaded.path.display())).detail(detail)
}

/// Returns one diagnostic a reason, at the first package it names that the recipe names too.
fn diagnostics(loaded: &Loaded, error: &solve::Unsatisfiable) -> Vec<Diagnostic> {
    let diagnostic = |reason: &String| {
        let place = reason.split('`').skip(1).step_by(2).filter_map(|words| {
            let name = words.split([' ', '=', '/', ':']).next().unwrap_or(words);
            loaded.completed.locate(name)
        });
        let place = place.cloned().next().unwrap_or_else(|| start(loaded));
        kiln_recipe::diagnostic_at(&place, "unsatisfiable", reason, error.hint.clone())
    };
    error.reasons.iter().map(diagnostic).collect()
}

/// Returns the beginning of the recipe, for what no line of it says.
fn start(loaded: &Loaded) -> Place {
    Place { file: loaded.path.display().to_string(), line: 1, column: 1, offset: 0, len: 0 }
}

/// Returns the repository that stands for the recipe's own package files.
pub fn local_repository(spec: &Spec) -> Option<LockedRepository> {
    let repository =
        LockedRepository { name: LOCAL.into(), uri: "file:.".into(), suite: LOCAL.into(), ..Default::default() };
    (!spec.packages.files.is_empty()).then_some(repository)
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
