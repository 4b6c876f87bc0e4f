//! The store itself: its folder, its session, and what it noticed.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use kiln_model::Digest;
use rustix::fs::OFlags;

use crate::boot::{Boot, Durable, Stored};
use crate::files::make_folder;
use crate::index::Index;
use crate::session::{self, Session};
use crate::{Error, Result};

/// A folder of what kiln keeps between builds; safe to share between threads, and with other kilns.
pub struct Store {
    root: PathBuf,
    /// A store that is only read, for what this one does not have.
    beside: Option<PathBuf>,
    pub(crate) limit: Option<u64>,
    pub(crate) session: Session,
    pub(crate) index: Mutex<Index>,
    pub(crate) boot: Boot,
    pub(crate) durable: Mutex<Durable>,
    warnings: Mutex<Vec<String>>,
    /// The folder of a store that goes in the end, after all that is in it.
    _passing: Option<Passing>,
}

impl Store {
    /// Opens the store in `root`, making it when it is not there; `limit` (bytes) is what [`Store::gc`] keeps below.
    pub fn open(root: &Path, limit: Option<u64>) -> Result<Self> {
        make_folder(root)?;
        let root = fs::canonicalize(root).map_err(Error::io("open", root))?;
        make_folder(&root.join("blobs/sha256"))?;
        Ok(Self {
            limit,
            session: Session::begin(&root)?,
            index: Mutex::new(Index::new(root.join("blobs/index"))),
            boot: Boot::current(),
            durable: Mutex::new(Durable::load(&root)),
            warnings: Mutex::default(),
            beside: None,
            _passing: None,
            root,
        })
    }

    /// Opens a store that goes with this value, for where the one in `root` cannot be written; the documents of that one
    /// are read where they can be.
    pub fn open_beside(root: &Path) -> Result<Self> {
        let passing = Passing::make()?;
        let store = Self::open(&passing.path, None)?;
        Ok(Self { beside: Some(root.to_owned()), _passing: Some(passing), ..store })
    }

    /// Returns the store that is only read.
    pub(crate) fn beside(&self) -> Option<&Path> {
        self.beside.as_deref()
    }

    /// Returns the folder the store is in.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the folder that holds everything this `Store` is working on; whoever can see to it that the folder goes
    /// when the process is killed, should.
    pub fn session_folder(&self) -> &Path {
        self.session.scratch()
    }

    /// Makes a fresh folder in the store's filesystem. It goes with this `Store`; after a crash, when a store is next
    /// opened in the same place.
    pub fn scratch(&self, name: &str) -> Result<PathBuf> {
        let path = self.session.fresh(name);
        make_folder(&path)?;
        Ok(path)
    }

    /// Returns what went quietly wrong since the last call: entries found changed, which were dropped.
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.warnings.lock().expect("no panic while held"))
    }

    pub(crate) fn warn(&self, warning: String) {
        self.warnings.lock().expect("no panic while held").push(warning);
    }

    /// Leases the entry at `path` under its name if it is there.
    pub(crate) fn lease(&self, entry: &str, path: &Path) -> Result<bool> {
        let _store = session::shared(&self.root)?;
        let there = path.symlink_metadata().is_ok();
        if there {
            self.session.hold(entry.to_owned())?;
        }
        Ok(there)
    }

    /// Whether an entry may have lost bytes in a crash of the machine.
    pub(crate) fn doubts(&self, stored: Stored) -> bool {
        self.durable.lock().expect("no panic while held").doubts(stored, self.boot)
    }

    /// Takes a changed entry away for good, and says so.
    pub(crate) fn reject(&self, path: &Path, warning: String) -> Result<()> {
        let trash = self.session.trash(path)?;
        self.warn(warning);
        crate::files::remove_tree(&trash)
    }
}

/// A folder among the temporary ones; removed in the end. While it is in use it is locked, so that those of kilns that were
/// killed are told from those of others.
struct Passing {
    path: PathBuf,
    _lock: File,
}

/// What their names begin with.
const PASSING: &str = "kiln-passing-";
/// No folder that is younger is taken for left behind: its lock may be about to come.
const YOUNG: Duration = Duration::from_secs(60);

impl Passing {
    fn make() -> Result<Self> {
        let home = std::env::temp_dir();
        Self::sweep(&home);
        let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let path = home.join(format!("{PASSING}{}-{nanos}", std::process::id()));
        // Not one that is there already: it would be somebody else's.
        fs::DirBuilder::new().mode(0o700).create(&path).map_err(Error::io("make", &path))?;
        let lock = File::open(&path).map_err(Error::io("open", &path))?;
        lock.lock_shared().map_err(Error::io("lock", &path))?;
        Ok(Self { path, _lock: lock })
    }

    /// Removes what killed kilns of the same user left; what fails is for the next one.
    fn sweep(home: &Path) {
        let entries = fs::read_dir(home).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PASSING)) {
            // Temporary folders are everybody's: another user's pipe or link of this name is not to be opened.
            let flags = (OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::NONBLOCK).bits() as i32;
            if Self::may_be_left(&entry)
                && let Ok(folder) = OpenOptions::new().read(true).custom_flags(flags).open(entry.path())
                && folder.try_lock().is_ok()
            {
                let _ = crate::files::remove_tree(&entry.path());
            }
        }
    }

    fn may_be_left(entry: &fs::DirEntry) -> bool {
        let Ok(meta) = entry.metadata() else { return false };
        let age = meta.modified().ok().and_then(|time| time.elapsed().ok());
        let own = meta.uid() == rustix::process::geteuid().as_raw();
        meta.is_dir() && own && age.is_some_and(|age| age > YOUNG)
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        // What cannot be removed is for whoever cleans up temporary folders.
        let _ = crate::files::remove_tree(&self.path);
    }
}

/// Returns the folder name that stands for any text.
pub(crate) fn key_name(key: &str) -> String {
    Digest::of(key).to_string()
}
