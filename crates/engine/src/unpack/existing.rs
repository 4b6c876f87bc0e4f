//! What the tree says about itself before packages are unpacked onto it: its packages, who owns which path, diversions,
//! overridden modes, names of users and groups.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use kiln_family::deb::install::database;
use kiln_family::deb::install::replaces::Claimant;
use kiln_family::deb::install::status::{self, Installed};
use kiln_family::deb::install::triggers;
use kiln_family::deb::package::Control;
use kiln_model::GuestPath;

use super::error::Error;

/// The tree as it was.
#[derive(Default)]
pub struct Existing {
    info: PathBuf,
    pub database: database::Existing,
    packages: Vec<Installed>,
    owners: OnceLock<HashMap<GuestPath, Arc<Claimant>>>,
    /// From a path to its diverted one and the package whose own files stay.
    diversions: HashMap<GuestPath, (GuestPath, String)>,
    overrides: HashMap<GuestPath, (u32, u32, u32)>,
    users: HashMap<Vec<u8>, u32>,
    groups: HashMap<Vec<u8>, u32>,
}

impl Existing {
    /// Reads the tree at `root`, whose files kiln or dpkg wrote; what is missing is empty.
    ///
    /// Names below `/var/lib/dpkg` are opened on the host without following links in the last place.
    pub fn read(root: &Path) -> Result<Self, Error> {
        let dpkg = root.join("var/lib/dpkg");
        let status = text(&dpkg.join("status"));
        let triggers = triggers::Existing {
            file: text(&dpkg.join("triggers/File")),
            named: named_triggers(&dpkg.join("triggers")),
            unincorp: text(&dpkg.join("triggers/Unincorp")),
        };
        let mut this = Self {
            packages: status::parse(&status)?,
            database: database::Existing { status, triggers, arch: text(&dpkg.join("arch")) },
            diversions: diversions(&text(&dpkg.join("diversions"))),
            users: ids(&bytes(&root.join("etc/passwd"))),
            groups: ids(&bytes(&root.join("etc/group"))),
            info: dpkg.join("info"),
            ..Self::default()
        };
        this.overrides = this.overrides(&text(&dpkg.join("statoverride")));
        Ok(this)
    }

    /// Whether dpkg knows of the package in any way, so that only dpkg can replace it.
    pub fn knows(&self, control: &Control) -> bool {
        self.packages.iter().any(|installed| {
            let instance = installed.architecture() == control.architecture() || !control.multi_arch_same();
            let gone = installed.stanza.get("Status").is_some_and(|status| status.ends_with(" not-installed"));
            installed.name() == control.name() && instance && !gone
        })
    }

    /// Returns the package that owns a path. The lists are read when this is asked for the first time.
    pub fn owner(&self, path: &GuestPath, canonical: impl Fn(&GuestPath) -> GuestPath) -> Option<Arc<Claimant>> {
        self.owners.get_or_init(|| self.read_owners(canonical)).get(path).cloned()
    }

    fn read_owners(&self, canonical: impl Fn(&GuestPath) -> GuestPath) -> HashMap<GuestPath, Arc<Claimant>> {
        let mut owners = HashMap::new();
        for installed in self.packages.iter().filter(|installed| installed.is_unpacked()) {
            let claimant = Arc::new(Claimant::from(installed));
            let paths = self.list(&claimant.filed_as);
            owners.extend(paths.iter().map(|path| (canonical(path), Arc::clone(&claimant))));
        }
        owners
    }

    /// Returns the file list of a package of the tree, as it is now.
    pub fn list(&self, filed_as: &str) -> Vec<GuestPath> {
        let list = bytes(&self.info.join(format!("{filed_as}.list")));
        let lines = list.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        lines.filter_map(|line| GuestPath::new(line).ok()).collect()
    }

    /// Returns where a package's file really goes.
    pub fn diverted<'a>(&'a self, path: &'a GuestPath, package: &str) -> &'a GuestPath {
        match self.diversions.get(path) {
            Some((to, by)) if by != package => to,
            _ => path,
        }
    }

    /// Returns owner, group and mode where the tree's administrator overrides them.
    pub fn overridden(&self, path: &GuestPath) -> Option<(u32, u32, u32)> {
        self.overrides.get(path).copied()
    }

    /// Returns the id a name has in the tree, or else the one in the archive, as dpkg does.
    pub fn user(&self, name: &[u8], id: u32) -> u32 {
        self.users.get(name).copied().unwrap_or(id)
    }

    pub fn group(&self, name: &[u8], id: u32) -> u32 {
        self.groups.get(name).copied().unwrap_or(id)
    }

    /// Reads lines of `user group mode path`; users may be written as `#1000`.
    fn overrides(&self, text: &str) -> HashMap<GuestPath, (u32, u32, u32)> {
        let id = |names: &HashMap<Vec<u8>, u32>, word: &str| match word.strip_prefix('#') {
            Some(number) => number.parse().ok(),
            None => names.get(word.as_bytes()).copied(),
        };
        let line = |line: &str| {
            let mut words = line.splitn(4, ' ');
            let (user, group) = (id(&self.users, words.next()?)?, id(&self.groups, words.next()?)?);
            let mode = u32::from_str_radix(words.next()?, 8).ok()?;
            Some((GuestPath::new(words.next()?).ok()?, (user, group, mode)))
        };
        text.lines().filter_map(line).collect()
    }
}

/// Reads a file of the tree that may be missing.
fn bytes(path: &Path) -> Vec<u8> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => fs::read(path).unwrap_or_default(),
        _ => Vec::new(),
    }
}

fn text(path: &Path) -> String {
    String::from_utf8_lossy(&bytes(path)).into_owned()
}

/// Reads every file of `triggers/` that is named after a trigger.
fn named_triggers(folder: &Path) -> BTreeMap<String, String> {
    let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let named = names.filter(|name| !["File", "Unincorp", "Lock"].iter().any(|other| name == OsStr::new(other)));
    named
        .filter_map(|name| Some((name.to_str()?.to_owned(), text(&folder.join(OsStr::from_bytes(name.as_bytes()))))))
        .collect()
}

/// Reads groups of three lines: path, diverted path, package (`:` for the administrator).
fn diversions(text: &str) -> HashMap<GuestPath, (GuestPath, String)> {
    let lines: Vec<&str> = text.lines().collect();
    let entry =
        |entry: &[&str]| Some((GuestPath::new(entry[0]).ok()?, (GuestPath::new(entry[1]).ok()?, entry[2].to_owned())));
    lines.chunks_exact(3).filter_map(entry).collect()
}

/// Reads `name:password:id:…` lines.
fn ids(text: &[u8]) -> HashMap<Vec<u8>, u32> {
    let line = |line: &[u8]| {
        let mut fields = line.split(|&byte| byte == b':');
        let name = fields.next()?.to_vec();
        let id = std::str::from_utf8(fields.nth(1)?).ok()?.parse().ok()?;
        (!name.is_empty()).then_some((name, id))
    };
    text.split(|&byte| byte == b'\n').filter_map(line).collect()
}
