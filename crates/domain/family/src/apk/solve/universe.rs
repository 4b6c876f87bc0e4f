//! All packages of all repositories, by what they are called and what they provide.

use super::{Map, Repository, Request, Set};
use crate::apk::index::Entry;
use crate::apk::relation::{self, Atom, NotARelation, Wanted};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PackageId(u32);

/// A package with its lists read.
#[derive(Clone, Debug)]
pub(super) struct Package<'a> {
    pub entry: Entry<'a>,
    /// Those that have it, in their order.
    pub repositories: Vec<&'a Repository>,
    pub depends: Vec<Atom<'a>>,
    /// Its own name and version, then what it provides.
    pub provides: Vec<(&'a str, Option<&'a str>)>,
    pub install_if: Vec<Atom<'a>>,
    /// Why it can never be installed.
    pub dead: Option<Dead>,
    /// Whether it is one to keep.
    pub is_kept: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Dead {
    Arch,
    Broken(NotARelation),
    /// It provides this name in two ways.
    Itself(String),
    /// Nothing meets this atom.
    Missing(String),
}

/// A provider of a name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Provider<'a> {
    pub package: PackageId,
    pub version: Option<&'a str>,
}

pub(super) struct Universe<'a> {
    packages: Vec<Package<'a>>,
    names: Map<&'a str, Vec<Provider<'a>>>,
    /// Packages with `install_if`.
    pub conditional: Vec<PackageId>,
}

impl<'a> Universe<'a> {
    pub fn new(repositories: &'a [Repository], request: &Request<'_>) -> Self {
        let keep: Set<(&str, &str)> =
            request.keep.iter().map(|(name, version)| (name.as_str(), version.as_str())).collect();
        let mut universe = Self { packages: Vec::new(), names: Map::default(), conditional: Vec::new() };
        let mut seen: Map<_, usize> = Map::default();
        for repository in repositories {
            for entry in repository.index.entries() {
                let key = entry.checksum.map(|sum| (entry.name, entry.version, sum));
                if let Some(&same) = key.as_ref().and_then(|key| seen.get(key)) {
                    universe.packages[same].repositories.push(repository);
                    continue;
                }
                key.map(|key| seen.insert(key, universe.packages.len()));
                let is_kept = keep.contains(&(entry.name, entry.version));
                universe.packages.push(Package { is_kept, ..Package::new(entry, repository, request.arch) });
            }
        }
        universe.name_all();
        universe.bury();
        universe
    }

    fn name_all(&mut self) {
        for (at, package) in self.packages.iter().enumerate() {
            let id = PackageId(at as u32);
            for &(name, version) in &package.provides {
                self.names.entry(name).or_default().push(Provider { package: id, version });
            }
            if !package.install_if.is_empty() {
                self.conditional.push(id);
            }
        }
    }

    /// Marks packages with an atom that no living package meets, until there is no further one.
    fn bury(&mut self) {
        loop {
            let missing = |package: &Package<'a>| {
                let mut needs = package.depends.iter().filter(|atom| !atom.conflict && package.dead.is_none());
                needs.find(|atom| !self.providers(atom.name).iter().any(|one| self.lives(*one, atom))).copied()
            };
            let dead: Vec<_> = self
                .packages
                .iter()
                .enumerate()
                .filter_map(|(at, one)| Some((at, missing(one)?.to_string())))
                .collect();
            if dead.is_empty() {
                return;
            }
            for (at, atom) in dead {
                self.packages[at].dead = Some(Dead::Missing(atom));
            }
        }
    }

    fn lives(&self, provider: Provider<'a>, atom: &Atom<'_>) -> bool {
        self.package(provider.package).dead.is_none() && self.fits(provider, atom)
    }

    pub fn package(&self, id: PackageId) -> &Package<'a> {
        &self.packages[id.0 as usize]
    }

    /// Returns who provides a name, in the repositories' order.
    pub fn providers(&self, name: &str) -> &[Provider<'a>] {
        self.names.get(name).map_or(&[], Vec::as_slice)
    }

    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.names.keys().copied()
    }

    /// Whether a provider of an atom's name is what the atom speaks of.
    pub fn fits(&self, provider: Provider<'_>, atom: &Atom<'_>) -> bool {
        match atom.wanted {
            Wanted::Checksum(sum) => {
                self.package(provider.package).entry.checksum.is_some_and(|own| sum.parse() == Ok(own))
            }
            _ => atom.accepts(provider.version),
        }
    }

    /// Whether a package meets an atom in any of its names.
    pub fn meets(&self, package: PackageId, atom: &Atom<'_>) -> bool {
        let provides = self.package(package).provides.iter().filter(|(name, _)| *name == atom.name);
        provides.into_iter().any(|&(_, version)| self.fits(Provider { package, version }, atom))
    }

    /// Whether a provider is chosen where only the name is asked for.
    pub fn is_selectable(&self, provider: Provider<'_>) -> bool {
        provider.version.is_some() || self.package(provider.package).entry.provider_priority.is_some()
    }

    /// Whether a name is only ever provided without a version.
    pub fn is_virtual(&self, name: &str) -> bool {
        self.providers(name).iter().all(|one| one.version.is_none())
    }
}

impl<'a> Package<'a> {
    fn new(entry: Entry<'a>, repository: &'a Repository, arch: &str) -> Self {
        let mut dead = (!entry.arch.is_empty() && entry.arch != arch && entry.arch != "noarch").then_some(Dead::Arch);
        let mut atoms = |words: &[&'a str]| {
            let mut atoms = Vec::new();
            for atom in words.iter().map(|word| Atom::parse(word)) {
                match atom {
                    Ok(atom) => atoms.push(atom),
                    Err(error) => dead = Some(Dead::Broken(error)),
                }
            }
            atoms
        };
        let depends = atoms(&entry.depends);
        let install_if = atoms(&entry.install_if);
        let provides = atoms(&entry.provides);
        let provides = [(entry.name, Some(entry.version))].into_iter().chain(provides.iter().map(provided)).collect();
        let mut package =
            Self { entry, repositories: vec![repository], depends, provides, install_if, dead, is_kept: false };
        package.tidy();
        package
    }

    /// Drops what is provided twice in the same way; a name provided in two ways speaks against itself.
    fn tidy(&mut self) {
        let mut seen: Vec<(&str, Option<&str>)> = Vec::new();
        self.provides.retain(|one| {
            !seen.contains(one) && {
                seen.push(*one);
                true
            }
        });
        let twice =
            self.provides.iter().enumerate().find(|(at, one)| self.provides[..*at].iter().any(|two| two.0 == one.0));
        if let Some((_, (name, _))) = twice {
            self.dead.get_or_insert_with(|| Dead::Itself((*name).to_owned()));
        }
    }

    pub fn shown(&self) -> String {
        self.entry.full_name()
    }
}

fn provided<'a>(atom: &Atom<'a>) -> (&'a str, Option<&'a str>) {
    match atom.wanted {
        Wanted::Version(_, version) => (atom.name, Some(version)),
        _ => (atom.name, None),
    }
}

/// Whether a repository may serve names with these tags.
pub(super) fn allows(repository: &Repository, tags: &[&str]) -> bool {
    debug_assert!(tags.iter().all(|tag| relation::is_tag(tag)), "tags were read as tags");
    repository.tag.as_deref().is_none_or(|tag| tags.contains(&tag))
}
