//! What the tree says about itself before packages are unpacked onto it: its packages, who owns which path, diversions,
//! overridden modes, names of users and groups.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use kiln_family::deb::install::database;
use kiln_family::deb::install::replaces::Claimant;
use kiln_family::deb::install::status::{self, Installed};
use kiln_family::deb::install::triggers;
use kiln_family::deb::package::Control;
use kiln_model::GuestPath;

use super::error::Error;
use crate::target::Target;

/// Where dpkg keeps what it knows.
const DPKG: &str = "/var/lib/dpkg";

/// The tree as it was.
#[derive(Default)]
pub struct Existing {
    tree: Option<Target>,
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
    /// Reads the tree at `root`; what is missing is empty. Scripts of packages may have put links anywhere, so every
    /// path is resolved inside the tree.
    pub fn read(root: &Path) -> Result<Self, Error> {
        let tree = Target::open(root).map_err(|source| unread(&GuestPath::root(), source))?;
        let dpkg = |name: &str| text(&tree, &path(DPKG, name)?);
        let status = dpkg("status")?;
        let triggers = triggers::Existing {
            file: dpkg("triggers/File")?,
            named: named_triggers(&tree)?,
            unincorp: dpkg("triggers/Unincorp")?,
        };
        let mut this = Self {
            packages: status::parse(&status)?,
            database: database::Existing { status, triggers, arch: dpkg("arch")? },
            diversions: diversions(&dpkg("diversions")?),
            users: ids(&bytes(&tree, &path("/etc", "passwd")?)?),
            groups: ids(&bytes(&tree, &path("/etc", "group")?)?),
            ..Self::default()
        };
        this.overrides = this.overrides(&dpkg("statoverride")?);
        this.tree = Some(tree);
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
    pub fn owner(
        &self,
        path: &GuestPath,
        canonical: impl Fn(&GuestPath) -> GuestPath,
    ) -> Result<Option<Arc<Claimant>>, Error> {
        if self.owners.get().is_none() {
            // Another thread may have been faster; both read the same.
            let _ = self.owners.set(self.read_owners(canonical)?);
        }
        Ok(self.owners.get().and_then(|owners| owners.get(path)).cloned())
    }

    fn read_owners(
        &self,
        canonical: impl Fn(&GuestPath) -> GuestPath,
    ) -> Result<HashMap<GuestPath, Arc<Claimant>>, Error> {
        let mut owners = HashMap::new();
        for installed in self.packages.iter().filter(|installed| installed.is_unpacked()) {
            let claimant = Arc::new(Claimant::from(installed));
            let paths = self.list(&claimant.filed_as)?;
            owners.extend(paths.iter().map(|path| (canonical(path), Arc::clone(&claimant))));
        }
        Ok(owners)
    }

    /// Returns the file list of a package of the tree, as it is now.
    pub fn list(&self, filed_as: &str) -> Result<Vec<GuestPath>, Error> {
        let Some(tree) = &self.tree else { return Ok(vec![]) };
        let list = bytes(tree, &path(DPKG, &format!("info/{filed_as}.list"))?)?;
        let lines = list.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        Ok(lines.filter_map(|line| GuestPath::new(line).ok()).collect())
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

fn unread(path: &GuestPath, source: std::io::Error) -> Error {
    Error::Tree { doing: "read", path: path.clone(), source }
}

/// Returns a path in the tree; part of the name may come from the tree's own database.
fn path(folder: &str, name: &str) -> Result<GuestPath, Error> {
    GuestPath::new(format!("{folder}/{name}")).map_err(|error| Error::Package(error.into()))
}

/// Reads a file of the tree that may be missing.
fn bytes(tree: &Target, path: &GuestPath) -> Result<Vec<u8>, Error> {
    Ok(tree.read(path).map_err(|source| unread(path, source))?.unwrap_or_default())
}

fn text(tree: &Target, path: &GuestPath) -> Result<String, Error> {
    tree.text(path).map_err(|source| unread(path, source))
}

/// Reads every file of `triggers/` that is named after a trigger.
fn named_triggers(tree: &Target) -> Result<BTreeMap<String, String>, Error> {
    let folder = path(DPKG, "triggers")?;
    let names = tree.names(&folder).map_err(|source| unread(&folder, source))?;
    let names = names.into_iter().filter_map(|name| String::from_utf8(name).ok());
    let named = names.filter(|name| !["File", "Unincorp", "Lock"].contains(&name.as_str()));
    named
        .map(|name| {
            let text = text(tree, &path(DPKG, &format!("triggers/{name}"))?)?;
            Ok((name, text))
        })
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
