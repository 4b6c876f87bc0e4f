//! Recipe → Spec: reads every file, checks it all, completes what is left open, tells everything that is wrong at once.

use std::collections::BTreeMap;

use kiln_model::Digest;
use kiln_model::action::TableKind;
use serde::{Deserialize, Serialize};

use crate::catalogue::release::Init;
use crate::desk::{Desk, Note};
use crate::diagnostic::{Diagnostic, Files, Place, Rejected, Severity};
use crate::keys::{BODY, EDITION};
use crate::language::pieman::sheets::Sheets;
use crate::load::{self, load};
use crate::needs::Needs;
use crate::node::{Entry, Span, Value};
use crate::options::{Options, Sources};
use crate::section::base::Ground;
use crate::section::secrets::Secrets;
use crate::shape::Needed;
use crate::spec::{Base, Disk, Spec, System};
use crate::view::View;
use crate::{catalogue, check, firm, path, section, write};

/// A recipe that can be built.
#[derive(Clone, Debug)]
pub struct Completed {
    pub spec: Spec,
    pub warnings: Vec<Diagnostic>,
    /// Every recipe file that was read, the first one first.
    pub sources: Vec<SourceFile>,
    /// The texts of those files, to render diagnostics with.
    pub files: Files,
    packages: BTreeMap<String, Place>,
}

/// A recipe file and what it held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    pub path: String,
    pub digest: Digest,
}

/// A recipe as far as it can be understood, and all that is to be said about it.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What it comes to without what is wrong; none where a mistake leaves open where its packages come from.
    pub completed: Option<Completed>,
    /// Mistakes and warnings, in the order of files and lines.
    pub diagnostics: Vec<Diagnostic>,
    pub files: Files,
}

impl Draft {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.completed.is_some() && self.diagnostics.iter().all(|said| said.severity == Severity::Warning)
    }

    /// Returns the recipe if nothing is wrong with it.
    pub fn finish(self) -> Result<Completed, Rejected> {
        let sound = self.is_sound();
        let rejected = Rejected { diagnostics: self.diagnostics, files: self.files };
        self.completed.filter(|_| sound).ok_or(rejected)
    }
}

/// Completes the recipe at `path`, or tells all that is wrong with it.
pub fn complete(sources: &dyn Sources, path: &str, options: &Options) -> Result<Completed, Rejected> {
    draft(sources, path, options).finish()
}

/// A recipe that no file of kiln's holds: the tree that another language was read into, and the texts that its values stand in.
#[derive(Clone, Debug)]
pub struct Written {
    /// The image's name.
    pub name: String,
    pub(crate) entries: Vec<Entry>,
    pub(crate) sheets: Sheets,
}

impl Written {
    /// Returns the same recipe in TOML.
    pub fn toml(&self) -> String {
        write::toml(&self.entries)
    }
}

/// Completes the recipe at `path` as far as it can be understood.
pub fn draft(sources: &dyn Sources, path: &str, options: &Options) -> Draft {
    let desk = Desk::new(sources, options, path::folder(path).to_owned());
    let recipe = load(&desk, path);
    finished(desk, &recipe, path)
}

/// Completes a recipe in memory as far as it can be understood; its paths are from the folders of its texts.
pub fn draft_written(sources: &dyn Sources, written: &Written, options: &Options) -> Draft {
    let desk = Desk::new(sources, options, String::new());
    let recipe = load::written(&desk, written);
    finished(desk, &recipe, &written.name)
}

fn finished(desk: Desk<'_>, recipe: &[Entry], path: &str) -> Draft {
    // What a text that is not TOML seems to say is not worth a word about its sense.
    let spec = if desk.broken() { None } else { spec(recipe, path, &desk) };
    let spec = spec.filter(|_| firm::is_firm(recipe, &desk));
    let diagnostics = desk.diagnostics();
    let warnings = diagnostics.iter().filter(|said| said.severity == Severity::Warning).cloned().collect();
    let (sources, files, packages) = (desk.source_files(), desk.files(), desk.packages());
    let completed = spec.map(|spec| Completed { spec, warnings, sources, files: files.clone(), packages });
    Draft { completed, diagnostics, files }
}

/// Reads every section; the order is that of the spec, but for what others need to know first.
fn spec(recipe: &[Entry], path: &str, desk: &Desk<'_>) -> Option<Spec> {
    let root = View::new(&BODY, recipe, Span::default());
    check::needed(desk, &BODY, recipe, Span::default(), Needed::InTheEnd);
    let base = root.section("base");
    if let Some(Value::Table(entries)) = root.node("base").map(|node| &node.value) {
        check::needed(desk, &section::base::KEYS, entries, base.span, Needed::InTheEnd);
    }
    let (secrets, needs) = (Secrets::new(root), Needs::default());
    let name = root.string("name").unwrap_or_else(|| stem(path));
    let found = section::base::ground(base, desk);
    // Without a release the rest is still read for its own mistakes, as if it were any.
    let ground = found.unwrap_or(section::base::Ground {
        release: catalogue::release::of_tools(),
        architecture: desk.options.host_arch,
        board: None,
        span: base.span,
    });
    let board = section::boot::board(root, &ground, &needs, desk);
    let outputs = section::outputs::read(root, &name, &ground, desk);
    let disk_wanted = outputs.iter().any(|output| output.format.is_divided());
    disk_without_board(root, &ground, disk_wanted, desk);
    let disk = section::disk::read(root, disk_wanted, &ground, board.as_ref(), &needs, desk);
    let system = System {
        grow: grows(root.section("system"), disk.as_ref(), &ground, &needs, desk),
        ..section::system::read(root.section("system"), &name, &ground, &needs, desk)
    };
    let users = section::users::read(root, &ground, &secrets, &needs, desk);
    let network = section::network::read(root, &ground, &secrets, &needs, desk);
    let cloud_init = section::cloud_init::read(root, &ground, disk.as_ref(), &network, &needs, desk);
    let mender = section::mender::read(root, &ground, board.as_ref(), disk.as_ref(), &secrets, &needs, desk);
    let files = section::files::read(root, &secrets, desk);
    let scripts = section::scripts::read(root, &ground, &secrets, desk);
    let services = section::services::read(root.section("services"), desk);
    let verify = section::verify::read(root, board.as_ref(), &outputs, desk);
    let foreign = section::packages::foreign(root.section("packages"), &ground, desk);
    let repositories = section::repository::all(base, &ground, &foreign, desk);
    section::repository::check_snapshot(base, &ground, desk);
    section::repository::check_keyrings(base, &ground, desk);
    // Last, when everything that needs a package has said so.
    let packages = section::packages::read(root.section("packages"), &ground, &needs, desk);
    let secrets = secrets.read(desk);
    found?;
    let release = ground.release;
    let runlevels = || match ground.board {
        Some(board) => board.value.runlevels_in(release),
        None => release.runlevels.clone(),
    };
    let base = Base {
        family: release.family,
        distribution: release.distribution.clone(),
        release: release.release.clone(),
        codename: release.codename.clone(),
        architecture: ground.architecture,
        board,
        repositories,
        tools: section::repository::tools(base, &ground, desk),
        epoch: base.integer("epoch").map(|said| said.value).or(desk.options.epoch),
        tree: section::base::tree(base, &ground, desk),
        merged_usr: release.merged_usr(ground.architecture),
        runlevels: runlevels(),
    };
    let edition = u32::try_from(EDITION).ok()?;
    Some(Spec {
        edition,
        name,
        base,
        packages,
        system,
        users,
        network,
        cloud_init,
        mender,
        files,
        scripts,
        services,
        disk,
        outputs,
        verify,
        secrets,
    })
}

/// `examples/edge.toml` is `edge`.
fn stem(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = file.strip_suffix(".toml").unwrap_or(file);
    let clean = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
    let name: String = stem.chars().map(clean).collect();
    let name = name.trim_start_matches(['.', '-']);
    if name.is_empty() { "image".into() } else { name.to_owned() }
}

fn disk_without_board(root: View<'_>, ground: &Ground, disk: bool, desk: &Desk<'_>) {
    let said = root.section("base").has("board");
    if disk && ground.board.is_none() && !said {
        let mut formats = root.tables("output").into_iter().filter_map(|output| output.text("format"));
        let span = formats.find(|said| matches!(said.value, "raw" | "qcow2")).map_or(ground.span, |said| said.span);
        let note = Note::warning(span, "without-effect", "this disk starts nowhere: `[base]` names no board");
        desk.say(note.hint("for example: board = \"generic-x86_64\""));
    }
}

/// The last partition grows when it and the root are writable, and the release has what grows it; `grow = true` insists.
fn grows(system: View<'_>, disk: Option<&Disk>, ground: &Ground, needs: &Needs, desk: &Desk<'_>) -> bool {
    let writable = disk.and_then(Disk::root).is_some_and(|root| !root.filesystem.is_read_only());
    let last = disk.and_then(Disk::last_to_grow).filter(|_| writable);
    let openrc = ground.release.init == Init::Openrc;
    let able = openrc || ground.release.feature("repart").is_some();
    let able = able && last.is_some() && ground.board.is_some();
    let asked = system.bool("grow");
    let grows = asked.unwrap_or(able) && last.is_some();
    if asked == Some(true) && disk.is_some() && last.is_none() {
        let span = system.key_span("grow").unwrap_or(ground.span);
        let note = Note::error(span, "contradiction", "the last partition of the disk cannot grow");
        desk.say(note.hint("put one of ext4 or btrfs last, and have a root that can be written"));
    }
    if grows {
        let table = disk.map_or(TableKind::Gpt, |disk| disk.table);
        let feature = if table == TableKind::Mbr || openrc { "sfdisk" } else { "repart" };
        needs.feature(feature, "`system.grow`", system.key_span("grow").unwrap_or(ground.span));
    }
    grows
}

/// Where the size of the disk is said, for [`Completed::locate`]. No package is called like this.
pub const SIZE_OF_DISK: &str = "size of the disk";

/// Returns the same for a partition.
pub fn size_of(partition: &str) -> String {
    format!("size of partition {partition}")
}

impl Completed {
    /// Returns where the recipe asks for a package (or excludes it), by its name or by the whole word, as in `vim/sid`; or
    /// where it says a size.
    pub fn locate(&self, package: &str) -> Option<&Place> {
        self.packages.get(package)
    }
}

/// Puts diagnostics in the order of files and lines.
pub fn sort(diagnostics: &mut [Diagnostic], files: &Files) {
    let number = |place: &Place| files.0.iter().position(|file| file.path == place.file);
    diagnostics.sort_by_cached_key(|said| (number(&said.place), said.place.offset, said.place.len));
}

/// Returns an error at `place`, for faults that are found later than here: a package that no index has.
pub fn diagnostic_at(place: &Place, code: &str, message: &str, hint: Option<String>) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        code: code.to_owned(),
        message: message.to_owned(),
        place: place.clone(),
        label: None,
        hint,
        also: Vec::new(),
    }
}
