//! The same lock, two builds that share nothing, the same bytes or the name of what differs.

use std::path::{Path, PathBuf};

use kiln_family::Lock;
use kiln_model::fault::OrFault as _;
use kiln_model::{Digest, EventKind, Fault};
use kiln_sandbox::Scratch;
use rustix::fs::Mode;
use serde::Serialize;

use crate::build::BuildOptions;
use crate::config::Config;
use crate::events::Events;
use crate::kiln::Kiln;
use crate::load::Loaded;
use crate::resolve::Update;

/// How two builds compare.
#[derive(Clone, Debug, Serialize)]
pub struct TwiceOutcome {
    /// Whether every artifact and document has the same bytes.
    pub same: bool,
    pub files: Vec<Compared>,
    /// What differs first, in words: partition, file, offset.
    pub difference: Option<String>,
}

/// One file of both builds.
#[derive(Clone, Debug, Serialize)]
pub struct Compared {
    pub name: String,
    pub first: Digest,
    pub second: Option<Digest>,
}

/// How far the second build's clock is moved: 400 days and some, so that year, month, day and hour differ.
const LATER: i64 = 400 * 86_400 + 12_345;

impl Kiln {
    /// Builds twice under one lock: with emptied stage caches, and the second time under another path, umask, host name
    /// and time. Packages are shared, since they are known by digest.
    pub fn twice(&self, loaded: &Loaded, options: &BuildOptions, events: &Events) -> Result<TwiceOutcome, Fault> {
        let lock = self.lock(loaded, &Update::Keep, events);
        let lock = lock.inspect_err(|fault| events.tell(EventKind::failed(None, fault)))?;
        let scratch = Scratch::new(&self.config.cache.join("scratch"), "twice")?;
        let (one, two) = (scratch.path().join("1"), scratch.path().join("a-longer/path/2"));
        let first = self.config.clone();
        let second =
            Config { now: first.now, clock_offset: LATER, sandbox_hostname: "another-host".into(), ..first.clone() };
        let (out_one, out_two) = (options.out.clone(), two.join("out"));
        let once = |config, umask, out| {
            self.once(config, umask, BuildOptions { out, ..options.clone() }, &lock, loaded, events)
        };
        once(Config { cache: one.join("cache"), ..first }, 0o022, out_one.clone())?;
        once(Config { cache: two.join("cache"), ..second }, 0o077, out_two.clone())?;
        compare(loaded, &out_one, &out_two)
    }

    fn once(
        &self,
        config: Config,
        umask: u32,
        options: BuildOptions,
        lock: &Lock,
        loaded: &Loaded,
        events: &Events,
    ) -> Result<(), Fault> {
        let _umask = Umask::set(umask);
        let kiln = Kiln::open(config)?.with_sandbox(self.sandbox.clone());
        // What is known by digest need not be fetched twice.
        let packages = lock.packages.iter().chain(&lock.tools).map(|package| &package.sha256);
        for digest in packages.chain(lock.downloads.iter().map(|download| &download.sha256)) {
            self.store.copy_blob(digest, &kiln.store)?;
        }
        kiln.build(loaded, &BuildOptions { no_verify: true, force: true, ..options }, events).map(drop)
    }
}

/// The process's mask of permissions, set back in the end.
struct Umask(Mode);

impl Umask {
    fn set(umask: u32) -> Self {
        Self(rustix::process::umask(Mode::from_raw_mode(umask)))
    }
}

impl Drop for Umask {
    fn drop(&mut self) {
        rustix::process::umask(self.0);
    }
}

/// Compares every file that follows from the lock: all but the report, which tells how long things took, and the checksums,
/// which cover the report too.
fn compare(loaded: &Loaded, one: &Path, two: &Path) -> Result<TwiceOutcome, Fault> {
    let mut files = vec![];
    let mut difference = None;
    for name in names(loaded, one) {
        let (first, second) = (one.join(&name), two.join(&name));
        let digests = (digest(&first)?, second.exists().then(|| digest(&second)).transpose()?);
        if digests.1 != Some(digests.0) && difference.is_none() {
            difference = Some(words(&name, &first, &second));
        }
        files.push(Compared { name, first: digests.0, second: digests.1 });
    }
    Ok(TwiceOutcome { same: difference.is_none(), files, difference })
}

fn names(loaded: &Loaded, out: &Path) -> Vec<String> {
    let spec = &loaded.completed.spec;
    let outputs = spec.outputs.iter().flat_map(|output| [output.file.clone(), format!("{}.bmap", output.file)]);
    let outputs = outputs.filter(|name| !name.ends_with(".bmap") || out.join(name).exists());
    let documents = ["spdx.json", "cdx.json", "provenance.json"].map(|ending| format!("{}.{ending}", spec.name));
    outputs.chain(documents).collect()
}

fn words(name: &str, first: &Path, second: &Path) -> String {
    let found = crate::diff::first_difference(first, second);
    match found {
        Ok(Some(words)) => format!("{name}: {words}"),
        Ok(None) => format!("{name}: the bytes differ, what they hold does not"),
        Err(fault) => format!("{name}: the bytes differ ({})", fault.chain()),
    }
}

/// Returns the digest of a file, or of a folder's listing with all contents.
fn digest(path: &PathBuf) -> Result<Digest, Fault> {
    let doing = || format!("read `{}`", path.display());
    if path.is_dir() {
        return crate::local::digest_with_owners(path).farm(doing);
    }
    let mut file = std::fs::File::open(path).farm(doing)?;
    let mut hashing = crate::image::Hashing::new(std::io::sink());
    std::io::copy(&mut file, &mut hashing).farm(doing)?;
    Ok(hashing.finish().2)
}
