//! Packages on their way: fetched in the background while stages already use those that are there.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex};

use kiln_family::{Lock, Locked};
use kiln_fetch::Request;
use kiln_model::action::{Download, PackageRef, file_name};
use kiln_model::{Action, Digest, Fault, Stage, Unit};

use super::Run;
use crate::events::Events;
use crate::kiln::Kiln;
use crate::load::Loaded;

/// What has arrived, and whether more will.
#[derive(Default)]
pub(crate) struct Downloads {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Default)]
struct State {
    /// In the order of arrival.
    arrived: Vec<(Digest, PathBuf)>,
    fault: Option<Fault>,
    /// How many sets are under way: a tree's packages, and those of the tools it turns out to need.
    under_way: usize,
}

impl Downloads {
    fn arrive(&self, digest: Digest, path: PathBuf) {
        self.state.lock().expect("no holder panics").arrived.push((digest, path));
        self.news.notify_all();
    }

    fn begin(&self) {
        self.state.lock().expect("no holder panics").under_way += 1;
    }

    fn end(&self, result: Result<(), Fault>) {
        let mut state = self.state.lock().expect("no holder panics");
        state.under_way -= 1;
        state.fault = state.fault.take().or(result.err());
        self.news.notify_all();
    }

    /// Returns the fault that ended the downloads, once.
    pub fn fault(&self) -> Option<Fault> {
        self.state.lock().expect("no holder panics").fault.take()
    }

    /// Returns the wanted packages as they arrive; ends early when the downloads end without all of them.
    pub fn of<'a>(&'a self, packages: &'a [PackageRef]) -> Arrivals<'a> {
        let mut wanted: HashMap<Digest, VecDeque<&PackageRef>> = HashMap::new();
        packages.iter().for_each(|package| wanted.entry(package.sha256).or_default().push_back(package));
        Arrivals { downloads: self, wanted, seen: 0 }
    }
}

/// An iterator over packages that waits for each.
pub(crate) struct Arrivals<'a> {
    downloads: &'a Downloads,
    wanted: HashMap<Digest, VecDeque<&'a PackageRef>>,
    seen: usize,
}

impl Iterator for Arrivals<'_> {
    type Item = (PackageRef, PathBuf);

    fn next(&mut self) -> Option<Self::Item> {
        let mut state = self.downloads.state.lock().expect("no holder panics");
        while !self.wanted.is_empty() {
            while let Some((digest, path)) = state.arrived.get(self.seen) {
                self.seen += 1;
                if let Some(package) = self.wanted.remove(digest).and_then(|mut refs| refs.pop_front()) {
                    return Some((package.clone(), path.clone()));
                }
            }
            if state.under_way == 0 || state.fault.is_some() {
                return None;
            }
            state = self.downloads.news.wait(state).expect("no holder panics");
        }
        None
    }
}

/// The package that takes longest to unpack shall not come last, when every other thread is idle.
fn large_first(packages: &[PackageRef]) -> Vec<&PackageRef> {
    let mut sorted: Vec<_> = packages.iter().collect();
    sorted.sort_by_key(|package| std::cmp::Reverse(package.size));
    sorted
}

impl Run<'_> {
    /// Fetches the packages of `stages` in the background while `work` runs; when that fails, the rest is not fetched.
    ///
    /// The fault of a download reaches whoever waits for its package; another fault of `work` stays what it is.
    pub fn with_downloads<T>(&self, stages: &[Stage], work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
        let requests = self.requests(stages)?;
        if requests.is_empty() {
            return work();
        }
        self.state.downloads.begin();
        std::thread::scope(|scope| {
            scope.spawn(|| self.state.downloads.end(self.fetch(&requests)));
            let result = work();
            if result.is_err() {
                self.kiln.cancel.store(true, Ordering::Relaxed);
            }
            result
        })
    }

    fn fetch(&self, requests: &[Request]) -> Result<(), Fault> {
        let arrived = |index: usize, path| self.state.downloads.arrive(requests[index].digest, path);
        let progress = |progress: kiln_fetch::Progress| {
            if kiln_sandbox::interrupted() {
                self.kiln.cancel.store(true, Ordering::Relaxed);
            }
            self.events.progress(None, "download", Unit::Bytes, progress.done, Some(progress.total));
        };
        self.kiln.fetcher.fetch_all(&self.kiln.store, requests, &arrived, &progress).map_err(outdated)
    }

    /// Returns what to fetch, in the order the stages need it.
    fn requests(&self, stages: &[Stage]) -> Result<Vec<Request>, Fault> {
        let mut seen = HashSet::new();
        let packages = stages.iter().flat_map(|stage| &stage.actions).filter_map(|action| match action {
            Action::Unpack { packages, .. } | Action::Install { packages, .. } | Action::Upgrade { packages, .. } => {
                Some(large_first(packages))
            }
            _ => None,
        });
        let fresh = packages.flatten().filter(|package| seen.insert(package.sha256));
        fresh.map(|package| self.request(package)).collect()
    }

    fn request(&self, package: &PackageRef) -> Result<Request, Fault> {
        let listed = self.lock.packages.iter().chain(&self.lock.tools);
        let locked = listed.into_iter().find(|locked| locked.sha256 == package.sha256);
        let locked = locked.ok_or_else(|| Fault::farm(format!("the lock does not list `{}`", package.name)))?;
        Ok(request(self.loaded, self.lock, locked))
    }

    /// Brings a file of the network into the cache and returns its path there.
    pub fn download(&self, from: &Download) -> Result<PathBuf, Fault> {
        let request = download_request(&from.url, from.sha256, Some(from.size));
        let progress = |written| self.events.progress(None, "download", Unit::Bytes, written, Some(from.size));
        self.kiln.fetcher.fetch_blob(&self.kiln.store, &request, &progress).map_err(outdated)
    }
}

impl Kiln {
    /// Fetches every package that a lock names into the cache, those of kiln's own tools too, and what else a build on this machine
    /// takes: it then needs no network. Returns their sizes together, in bytes.
    pub fn fetch(&self, loaded: &Loaded, lock: &Lock, events: &Events) -> Result<u64, Fault> {
        let helpers = self.helper_locks(loaded, lock, events)?;
        self.fetch_all([lock].into_iter().chain(&helpers), loaded, events)
    }

    /// Fetches what a build on this machine takes besides its own packages.
    pub(crate) fn fetch_helpers(&self, loaded: &Loaded, lock: &Lock, events: &Events) -> Result<(), Fault> {
        self.fetch_all(&self.helper_locks(loaded, lock, events)?, loaded, events).map(drop)
    }

    fn fetch_all<'l>(
        &self,
        listed: impl IntoIterator<Item = &'l Lock>,
        loaded: &Loaded,
        events: &Events,
    ) -> Result<u64, Fault> {
        let mut seen = HashSet::new();
        let listed: Vec<&Lock> = listed.into_iter().collect();
        let packages =
            listed.iter().flat_map(|lock| lock.packages.iter().chain(&lock.tools).map(move |locked| (*lock, locked)));
        let fresh = packages.filter(|(_, locked)| !locked.in_tree && seen.insert(locked.sha256));
        let packages: Vec<_> = fresh.map(|(lock, locked)| request(loaded, lock, locked)).collect();
        let files = listed.iter().flat_map(|lock| &lock.downloads);
        let files = files.map(|file| download_request(&file.url, file.sha256, Some(file.size)));
        let requests: Vec<_> = packages.into_iter().chain(files).collect();
        let progress = |progress: kiln_fetch::Progress| {
            events.progress(None, "download", Unit::Bytes, progress.done, Some(progress.total));
        };
        self.fetcher.fetch_all(&self.store, &requests, &|_, _| (), &progress).map_err(outdated)?;
        Ok(requests.iter().filter_map(|request| request.size).sum())
    }
}

fn request(loaded: &Loaded, lock: &Lock, locked: &Locked) -> Request {
    let name = format!("{} {}", locked.name, locked.version);
    Request { urls: urls(loaded, lock, locked), digest: locked.sha256, size: Some(locked.size), name }
}

/// Returns what to ask for a file of the network.
pub(crate) fn download_request(url: &str, digest: Digest, size: Option<u64>) -> Request {
    Request { urls: vec![url.to_owned()], digest, size, name: file_name(url).to_owned() }
}

/// Returns where a package is: on the mirrors of its repository, which are the spec's and then the one the lock was made with, or
/// beside the recipe.
fn urls(loaded: &Loaded, lock: &Lock, locked: &Locked) -> Vec<String> {
    let base = &loaded.completed.spec.base;
    if locked.repository == crate::resolve::LOCAL {
        let folder = loaded.folder.canonicalize().unwrap_or_else(|_| loaded.folder.clone());
        return vec![kiln_fetch::file_url(&folder.join(&locked.filename))];
    }
    let tools = (locked.repository == crate::resolve::TOOLS).then_some(&base.tools);
    let repository = base.repositories.iter().find(|repository| repository.name == locked.repository).or(tools);
    let mut uris = repository.map(|repository| repository.uris.clone()).unwrap_or_default();
    let made_with = lock.repository(&locked.repository).map(|repository| repository.uri.clone());
    uris.extend(made_with.filter(|uri| !uris.contains(uri)));
    uris.iter().map(|uri| format!("{uri}/{}", locked.filename)).collect()
}

/// Says what to do where no mirror has what the lock names.
fn outdated(error: kiln_fetch::Error) -> Fault {
    use kiln_fetch::Failure::{NotFound, WrongDigest, WrongSize};
    let gone = matches!(*error.failure, NotFound { .. } | WrongDigest { .. } | WrongSize { .. });
    let fault = Fault::from(error);
    let hint = "what is there may have changed since the lock was written: `kiln lock --update` pins what is there now";
    if gone { fault.hint(hint) } else { fault }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str) -> PackageRef {
        let [version, architecture] = ["1", "all"].map(str::to_owned);
        PackageRef { name: name.into(), version, architecture, sha256: Digest::of(name), size: 1, automatic: false }
    }

    fn names(arrivals: Arrivals<'_>) -> Vec<String> {
        arrivals.map(|(package, _)| package.name).collect()
    }

    /// A tree's packages came long ago; those of the tools are only on their way.
    #[test]
    fn a_later_set_is_waited_for() {
        let downloads = Downloads::default();
        downloads.begin();
        downloads.arrive(Digest::of("tree"), "tree".into());
        downloads.end(Ok(()));
        downloads.begin();
        let packages = [package("tools"), package("tree")];
        let seen = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| names(downloads.of(&packages)));
            std::thread::sleep(std::time::Duration::from_millis(20));
            downloads.arrive(Digest::of("tools"), "tools".into());
            downloads.end(Ok(()));
            waiting.join().unwrap()
        });
        assert_eq!(seen, ["tree", "tools"]);
    }

    /// The tools came while the tree's packages are still on their way.
    #[test]
    fn the_end_of_an_inner_set_is_not_the_end() {
        let downloads = Downloads::default();
        downloads.begin();
        downloads.begin();
        downloads.end(Ok(()));
        downloads.arrive(Digest::of("tree"), "tree".into());
        let packages = [package("tree")];
        assert_eq!(names(downloads.of(&packages)), ["tree"]);
        downloads.end(Err(Fault::upstream("fetch")));
        let packages = [package("missing")];
        assert_eq!(names(downloads.of(&packages)), Vec::<String>::new());
        assert!(downloads.fault().is_some());
    }
}
