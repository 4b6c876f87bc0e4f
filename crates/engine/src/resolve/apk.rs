//! Alpine's side of a lock: signed package lists, apk's answer, and the SHA-256 of every package.
//!
//! A package list names its packages by the SHA-1 of their control streams, and those vouch for the data by SHA-256. A lock pins the
//! whole file, so each package is fetched once when it is locked and held against its list; the store keeps it for the build.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use kiln_family::apk::solve::{self, Chosen, Request, Solution, Why};
use kiln_family::apk::{Checksum, Entry, Index, Keys, Limits, Package};
use kiln_family::lock::{Lock, Locked, LockedIndex, LockedRepository};
use kiln_fetch::{Failure, shown};
use kiln_model::{Digest, Fault, FaultKind, Unit};
use kiln_recipe::render::Look;
use kiln_recipe::spec::{Repository, Trust};
use kiln_recipe::{Diagnostic, Spec};
use kiln_store::Doc;

use super::alpine_tree::Existing;
use super::solve::{preferred, start};
use super::{TREE, Update};
use crate::events::Events;
use crate::kiln::Kiln;
use crate::load::Loaded;

/// Bytes that no package list has as it is fetched; the largest of Alpine have three million.
const LIST: u64 = 256 << 20;
/// Packages that are fetched at once.
const LINES: usize = 6;

/// What the lists of all repositories say.
pub(super) struct Lists {
    pub locked: Vec<LockedRepository>,
    lists: Vec<solve::Repository>,
    /// By the name of its list.
    places: BTreeMap<String, Place>,
    /// What the recipe builds upon, whose packages are in the first list.
    tree: Option<Existing>,
}

impl Lists {
    fn world(&self, spec: &Spec) -> Vec<String> {
        self.tree.as_ref().map_or_else(|| kiln_plan::apk::world(spec), |tree| tree.world(spec))
    }

    /// Returns the digest of a package of the tree. There is no file: it is of what apk says.
    fn listed(&self, entry: &Entry<'_>) -> Digest {
        let listed = self.tree.as_ref().and_then(|tree| tree.listed(entry.name));
        Digest::of(listed.map_or_else(|| entry.full_name(), str::to_owned))
    }
}

/// Where the packages of a list are.
struct Place {
    /// Name of the repository in the lock.
    repository: String,
    /// Below the repository's address: `v3.22/main/x86_64`.
    folder: String,
    /// First the mirror that gave the list.
    mirrors: Vec<String>,
}

/// A list that may be believed.
struct Believed {
    index: Index,
    locked: LockedIndex,
    mirrors: Vec<String>,
}

impl Kiln {
    /// Reads the lists of all repositories.
    pub(super) fn apk_lists(&self, loaded: &Loaded) -> Result<Lists, Fault> {
        let spec = &loaded.completed.spec;
        // Before anything is downloaded: it may be one that cannot be built upon.
        let tree = Existing::of(loaded)?;
        // The first list that has a version is the one it is taken from.
        let lists = tree.iter().map(Existing::repository).collect();
        let mut all = Lists { locked: vec![], lists, places: BTreeMap::new(), tree };
        for repository in &spec.base.repositories {
            let mut locked = LockedRepository {
                name: repository.name.clone(),
                uri: repository.uri_in_image.clone(),
                suite: repository.suite.clone(),
                components: repository.components.clone(),
                ..Default::default()
            };
            for component in components(repository) {
                let folder = folder(repository, component, spec);
                let believed = self.apk_list(repository, &folder);
                let doing = || format!("read repository `{}`", repository.name);
                let Believed { index, locked: list, mirrors } = believed.map_err(|fault| fault.doing(doing()))?;
                let newest = index.entries().filter_map(|entry| entry.build_time).max();
                locked.date = locked.date.max(newest.and_then(|time| i64::try_from(time).ok()));
                locked.indexes.push(list);
                let name = format!("{} {folder}", repository.name);
                all.lists.push(solve::Repository { name: name.clone(), tag: None, index });
                all.places.insert(name, Place { repository: repository.name.clone(), folder, mirrors });
            }
            all.locked.push(locked);
        }
        Ok(all)
    }

    /// Returns a package list from the first mirror whose answer is believed.
    fn apk_list(&self, repository: &Repository, folder: &str) -> Result<Believed, Fault> {
        let (path, keys) = (format!("{folder}/APKINDEX.tar.gz"), keys(repository)?);
        let mut first: Option<Fault> = None;
        for (at, uri) in repository.uris.iter().enumerate() {
            match self.apk_list_from(&format!("{uri}/{path}"), keys.as_ref()) {
                Ok((index, bytes)) => {
                    let mut mirrors = repository.uris.clone();
                    mirrors[..=at].rotate_right(1);
                    let locked = LockedIndex { path, size: bytes.len() as u64, sha256: Digest::of(&bytes) };
                    return Ok(Believed { index, locked, mirrors });
                }
                Err(fault) if matches!(fault.kind(), FaultKind::Interrupted | FaultKind::Farm) => return Err(fault),
                Err(fault) => drop(first.get_or_insert(fault.doing(format!("`{}`", shown(uri))))),
            }
        }
        Err(first.unwrap_or_else(|| Fault::recipe("it has no address")))
    }

    fn apk_list_from(&self, url: &str, keys: Option<&Keys>) -> Result<(Index, Vec<u8>), Fault> {
        let ask = |known: bool| {
            let urls = [url.to_owned()];
            self.fetcher.fetch_small(known.then_some(&*self.store), &urls, LIST).map_err(elsewhere)
        };
        let read = |bytes: &[u8]| match keys {
            Some(keys) => Index::verified(bytes, keys).map(|(index, _)| index),
            None => Index::unsigned(bytes),
        };
        let mut answer = ask(true)?;
        let mut index = read(&answer.bytes);
        // What was remembered was believed once, perhaps under other keys.
        if index.is_err() && answer.unchanged && !self.config.offline {
            answer = ask(false)?;
            index = read(&answer.bytes);
        }
        let index = index?;
        self.fetcher.remember(&self.store, &answer)?;
        Ok((index, answer.bytes))
    }

    /// Returns apk's answer to a recipe, every package pinned, in the order of their installation; versions of the old lock are kept
    /// as `update` says.
    pub(super) fn apk_packages(
        &self,
        loaded: &Loaded,
        lists: &Lists,
        (old, update): (Option<&Lock>, &Update),
        events: &Events,
    ) -> Result<Vec<Locked>, Fault> {
        let spec = &loaded.completed.spec;
        let (world, own) = (lists.world(spec), kiln_plan::apk::world(spec));
        let keep = old.map(|lock| preferred(&lock.packages, update)).unwrap_or_default();
        let keep = keep.into_iter().filter(|pin| lists.tree.as_ref().is_none_or(|tree| tree.leads_forward(pin)));
        let keep: Vec<_> = keep.map(|pin| (pin.name, pin.version)).collect();
        let request = Request { world: &world, keep: &keep, arch: spec.base.architecture.alpine() };
        let solution = solve::solve(&lists.lists, &request).map_err(|error| refused(loaded, error))?;
        let base = solution.closure(&spec.packages.set);
        let pinned = self.apk_pinned(lists, &solution, events)?;
        let lock = |(at, (chosen, sha256)): (usize, (&Chosen<'_>, Digest))| {
            let (entry, place) = (&chosen.entry, lists.places.get(chosen.repository));
            Locked {
                in_tree: place.is_none(),
                promoted: false,
                name: entry.name.to_owned(),
                version: entry.version.to_owned(),
                architecture: entry.arch.to_owned(),
                repository: place.map_or(TREE, |place| place.repository.as_str()).to_owned(),
                filename: place.map_or_else(|| TREE.into(), |place| format!("{}/{}", place.folder, entry.file_name())),
                size: place.map_or(0, |_| entry.size),
                installed: Some(entry.installed_size),
                sha256,
                base: base.contains(&at),
                essential: false,
                manual: matches!(chosen.why, Why::World(_)),
                why: match &chosen.why {
                    Why::World(atom) if !own.contains(atom) => "installed".into(),
                    why => why.to_string(),
                },
                source: Some(entry.origin.to_owned()).filter(|origin| !origin.is_empty() && origin != entry.name),
                source_version: None,
            }
        };
        Ok(solution.packages.iter().zip(pinned).enumerate().map(lock).collect())
    }

    /// Returns the digests of the answer's packages: those that are not known are fetched, several at once.
    fn apk_pinned(&self, lists: &Lists, solution: &Solution<'_>, events: &Events) -> Result<Vec<Digest>, Fault> {
        let (packages, next, done) = (&solution.packages, AtomicUsize::new(0), AtomicUsize::new(0));
        let (found, fault) = (Mutex::new(vec![None; packages.len()]), Mutex::new(None));
        let total = packages.len() as u64;
        let work = || {
            while fault.lock().expect("no holder panics").is_none() {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(chosen) = packages.get(at) else { break };
                let pinned = match lists.places.get(chosen.repository) {
                    Some(place) => self.apk_pin(place, chosen),
                    None => Ok(lists.listed(&chosen.entry)),
                };
                match pinned {
                    Ok(digest) => found.lock().expect("no holder panics")[at] = Some(digest),
                    Err(met) => drop(fault.lock().expect("no holder panics").get_or_insert(met)),
                }
                let done = done.fetch_add(1, Ordering::Relaxed) as u64 + 1;
                events.progress(None, "lock", Unit::Packages, done, Some(total));
            }
        };
        std::thread::scope(|scope| (0..LINES).for_each(|_| drop(scope.spawn(work))));
        match fault.into_inner().expect("no holder panics") {
            Some(fault) => Err(fault),
            None => Ok(found.into_inner().expect("no holder panics").into_iter().flatten().collect()),
        }
    }

    /// Returns the SHA-256 of the package that a list names. What was held against its identity once need not be fetched again.
    fn apk_pin(&self, place: &Place, chosen: &Chosen<'_>) -> Result<Digest, Fault> {
        let entry = &chosen.entry;
        let doing = || format!("lock `{}` of repository `{}`", entry.full_name(), place.repository);
        let Some(identity) = entry.checksum else {
            return Err(Fault::upstream(doing()).because("its package list says no checksum of it"));
        };
        let key = format!("apk {identity} {}", entry.size);
        let known = self.store.document(Doc::Index, &key)?;
        if let Some(digest) = known.and_then(|text| String::from_utf8(text).ok()?.trim().parse().ok()) {
            return Ok(digest);
        }
        if kiln_sandbox::interrupted() {
            return Err(Fault::interrupted());
        }
        let urls: Vec<String> =
            place.mirrors.iter().map(|uri| format!("{uri}/{}/{}", place.folder, entry.file_name())).collect();
        let answer = self.fetcher.fetch_small(None, &urls, entry.size.max(1)).map_err(|error| {
            let fault = Fault::from(error).doing(doing());
            fault.hint("the mirror may be in the middle of an update: try again a little later, or another mirror")
        })?;
        vouched(&answer.bytes, chosen, &identity).map_err(|fault| fault.doing(doing()))?;
        let (digest, _) = self.store.put(&answer.bytes)?;
        self.store.put_document(Doc::Index, &key, digest.to_string().as_bytes())?;
        Ok(digest)
    }
}

/// Holds a package against what its list says of it.
fn vouched(bytes: &[u8], chosen: &Chosen<'_>, identity: &Checksum) -> Result<(), Fault> {
    let entry = &chosen.entry;
    let update = "the mirror may be in the middle of an update: try again a little later, or another mirror";
    if bytes.len() as u64 != entry.size {
        let text = format!("it has {} bytes, and its package list says {}", bytes.len(), entry.size);
        return Err(Fault::upstream(text).hint(update));
    }
    let package = Package::open(bytes, Limits::default())?;
    if !package.is(identity) {
        let text = format!("it is `{}`, and its package list says `{identity}`", package.identity);
        return Err(Fault::upstream(text).hint(update));
    }
    if (package.info.name.as_str(), package.info.version.as_str()) != (entry.name, entry.version) {
        let text =
            format!("it calls itself `{}`, and its package list `{}`", package.info.full_name(), entry.full_name());
        return Err(Fault::upstream(text));
    }
    Ok(())
}

/// Returns what is wrong with the packages that a recipe asks for.
pub(super) fn mistakes(loaded: &Loaded, lists: &Lists) -> Vec<Diagnostic> {
    let spec = &loaded.completed.spec;
    let world = lists.world(spec);
    let request = Request { world: &world, keep: &[], arch: spec.base.architecture.alpine() };
    match solve::solve(&lists.lists, &request) {
        Ok(_) => vec![],
        Err(error) => diagnostics(loaded, error),
    }
}

fn diagnostics(loaded: &Loaded, error: solve::Error) -> Vec<Diagnostic> {
    let completed = &loaded.completed;
    let problems = match error {
        solve::Error::World(error) => vec![solve::Problem { text: error.to_string(), hint: None }],
        solve::Error::Unsatisfiable(error) => error.problems,
    };
    let told = problems.into_iter().map(|problem| {
        // A package is named with its version at times, which no recipe does.
        let words = problem.text.split('`').skip(1).step_by(2);
        let mut place =
            words.flat_map(|word| [Some(word), bare(word)]).flatten().filter_map(|word| completed.locate(word));
        let place = place.next().cloned().unwrap_or_else(|| start(loaded));
        let unknown = problem.text.starts_with("there is no package");
        let code = if unknown { "unknown-package" } else { "unsatisfiable" };
        kiln_recipe::diagnostic_at(&place, code, &problem.text, problem.hint)
    });
    let mut told: Vec<_> = told.collect();
    kiln_recipe::sort(&mut told, &completed.files);
    told
}

/// Returns the name in an atom, as `vim` in `!vim` and `vim=1`.
fn bare(word: &str) -> Option<&str> {
    word.trim_start_matches('!').split(['=', '<', '>', '~', '@']).next().filter(|name| *name != word)
}

fn refused(loaded: &Loaded, error: solve::Error) -> Fault {
    let found = diagnostics(loaded, error);
    let detail = kiln_recipe::render(&found, &loaded.completed.files, Look::PLAIN);
    Fault::recipe(format!("resolve the packages of `{}`", loaded.path.display())).detail(detail)
}

/// A repository without components is one list.
fn components(repository: &Repository) -> Vec<&str> {
    match repository.components.as_slice() {
        [] => vec![""],
        all => all.iter().map(String::as_str).collect(),
    }
}

/// `v3.22/main/x86_64`.
fn folder(repository: &Repository, component: &str, spec: &Spec) -> String {
    let parts = [repository.suite.trim_matches('/'), component, spec.base.architecture.alpine()];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

/// Returns the keys a repository is signed with; none where the recipe said that nobody signs.
fn keys(repository: &Repository) -> Result<Option<Keys>, Fault> {
    let armored = match &repository.trust {
        Trust::Unsigned => return Ok(None),
        Trust::Keys { armored, .. } => armored,
        Trust::Keyring(name) => return Err(Fault::recipe(format!("kiln does not bring the keys `{name}`"))),
    };
    let file = repository.signed_by.as_deref().unwrap_or_default();
    let mut keys = Keys::default();
    keys.add(file.rsplit('/').next().unwrap_or(file), armored)?;
    Ok(Some(keys))
}

/// Says where a package list should be, where it is not.
fn elsewhere(error: kiln_fetch::Error) -> Fault {
    let missing = matches!(*error.failure, Failure::NotFound { .. });
    let fault = Fault::from(error);
    let hint = "is the mirror's address right, and does it keep this release and this architecture?";
    if missing { fault.hint(hint) } else { fault }
}
