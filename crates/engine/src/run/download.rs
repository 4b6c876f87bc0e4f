//! Packages on their way: fetched in the background while stages already use those that are there.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex};

use kiln_family::deb::Locked;
use kiln_fetch::Request;
use kiln_model::action::PackageRef;
use kiln_model::{Action, Digest, Fault, Stage, Unit};

use super::Run;

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
    over: bool,
}

impl Downloads {
    fn arrive(&self, digest: Digest, path: PathBuf) {
        self.state.lock().expect("no holder panics").arrived.push((digest, path));
        self.news.notify_all();
    }

    fn end(&self, result: Result<(), Fault>) {
        let mut state = self.state.lock().expect("no holder panics");
        state.over = true;
        state.fault = result.err();
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
            if state.over {
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
        std::thread::scope(|scope| {
            scope.spawn(|| self.downloads.end(self.fetch(&requests)));
            let result = work();
            if result.is_err() {
                self.kiln.cancel.store(true, Ordering::Relaxed);
            }
            result
        })
    }

    fn fetch(&self, requests: &[Request]) -> Result<(), Fault> {
        let arrived = |index: usize, path| self.downloads.arrive(requests[index].digest, path);
        let progress = |progress: kiln_fetch::Progress| {
            if kiln_sandbox::interrupted() {
                self.kiln.cancel.store(true, Ordering::Relaxed);
            }
            self.events.progress(None, "download", Unit::Bytes, progress.done, Some(progress.total));
        };
        Ok(self.kiln.fetcher.fetch_all(&self.kiln.store, requests, &arrived, &progress)?)
    }

    /// Returns what to fetch, in the order the stages need it.
    fn requests(&self, stages: &[Stage]) -> Result<Vec<Request>, Fault> {
        let mut seen = HashSet::new();
        let packages = stages.iter().flat_map(|stage| &stage.actions).filter_map(|action| match action {
            Action::Unpack { packages, .. } => Some(large_first(packages)),
            _ => None,
        });
        let fresh = packages.flatten().filter(|package| seen.insert(package.sha256));
        fresh.map(|package| self.request(package)).collect()
    }

    fn request(&self, package: &PackageRef) -> Result<Request, Fault> {
        let listed = self.lock.packages.iter().chain(&self.lock.tools);
        let locked = listed.into_iter().find(|locked| locked.sha256 == package.sha256);
        let locked = locked.ok_or_else(|| Fault::farm(format!("the lock does not list `{}`", package.name)))?;
        let urls = self.mirrors(locked).iter().map(|uri| format!("{uri}/{}", locked.filename)).collect();
        let name = format!("{} {}", package.name, package.version);
        Ok(Request { urls, digest: package.sha256, size: Some(package.size), name })
    }

    /// Returns the mirrors of a package's repository: the spec's, then the one the lock was made with.
    fn mirrors(&self, locked: &Locked) -> Vec<String> {
        let base = &self.loaded.completed.spec.base;
        if locked.repository == "local" {
            let folder = self.loaded.folder.canonicalize().unwrap_or_else(|_| self.loaded.folder.clone());
            return vec![format!("file://{}", folder.display())];
        }
        let tools = (locked.repository == crate::resolve::TOOLS).then_some(&base.tools);
        let repository = base.repositories.iter().find(|repository| repository.name == locked.repository).or(tools);
        let mut uris = repository.map(|repository| repository.uris.clone()).unwrap_or_default();
        let made_with = self.lock.repository(&locked.repository).map(|repository| repository.uri.clone());
        uris.extend(made_with.filter(|uri| !uris.contains(uri)));
        uris
    }
}
